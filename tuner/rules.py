"""The optimizer of a trial, from its configuration."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import optimizers
from optimizers.schedules import Chosen
from optimizers.several import CHOSEN, several
from tuner.space import Configuration


def rule(configuration: Configuration, steps: int) -> Any:
    """The optimizer of a trial of so many steps."""
    return optimizers.load(configuration.optimizer)(_rate(configuration, steps), **_hyper(configuration, steps))


def check(configuration: Configuration) -> None:
    """Raise ValueError, as `rule` does, for a number that the method does not take: the variable of a lane would take it."""
    numbers = optimizers.find(configuration.optimizer).numbers
    for name, value in {"learning_rate": configuration.learning_rate, **configuration.hyper}.items():
        if not (allowed := numbers[name].allowed).holds(np.float32(value)):
            raise ValueError(f"{name} must be a number in {allowed} (as float32); got {value!r}")
    _rate(configuration, 1)


def numbers(configuration: Configuration, steps: int) -> dict[str, float]:
    """What a trial sets in a rule of its signature, by the names of `Rule.set_hyper`."""
    scheduled = {f"schedule.{name}": value for name, value in _schedule(configuration).items()}
    return {**_hyper(configuration, steps), "learning_rate": configuration.learning_rate, **scheduled}


def lane_rule(configuration: Configuration, methods: Sequence[str], steps: int, lanes: int, common: Sequence[str]) -> Any:
    """The optimizer of K lanes that follow `methods`; `common` names those of `optimizers.COMMON` that a lane may want."""
    method = several(tuple(methods)) if len(methods) > 1 else optimizers.load(methods[0])
    return method(_rate(configuration, steps), lanes=lanes, **{name: _absent(name) for name in common})


def lane_numbers(configuration: Configuration, methods: Sequence[str], steps: int, common: Sequence[str]) -> dict[str, float]:
    """What a trial sets in its lane of `lane_rule`; whatever it does not name has the method's default."""
    row = optimizers.find(configuration.optimizer)
    defaults = {name: span.default for name, span in row.hyper.items() if span.default is not None}
    given = {**defaults, **numbers(configuration, steps)}
    found = {name: given.get(name, _absent(name)) for name in common}
    for name, value in given.items():
        alone = name in ("learning_rate", *optimizers.COMMON) or name.startswith("schedule.") or len(methods) == 1
        found[name if alone else f"{row.name}.{name}"] = value
    return found if len(methods) == 1 else {**found, CHOSEN: methods.index(row.name)}


def _rate(configuration: Configuration, steps: int) -> Any:
    rate = configuration.learning_rate
    return rate if configuration.schedule is None else Chosen(rate, steps, **_schedule(configuration))


def _absent(name: str) -> float:
    """The value of a common hyper-parameter that changes nothing."""
    return 0.0 if name == "weight_decay" else math.inf


def _hyper(configuration: Configuration, steps: int) -> dict[str, float]:
    horizon = optimizers.find(configuration.optimizer).horizon
    return {**({horizon: float(steps)} if horizon else {}), **configuration.hyper}


def _schedule(configuration: Configuration) -> dict[str, float]:
    """The numbers of `optimizers.schedules.Chosen` but rate and steps."""
    if (chosen := configuration.schedule) is None:
        return {}
    return {"kind": list(optimizers.SCHEDULES).index(chosen.name), "warmup": chosen.warmup, **chosen.numbers}
