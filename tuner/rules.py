"""The optimizer of a trial, from its configuration."""

from typing import Any

import optimizers
from optimizers.schedules import Chosen
from tuner.space import Configuration


def rule(configuration: Configuration, steps: int) -> Any:
    """The optimizer of a trial of so many steps."""
    rate: Any = configuration.learning_rate
    if configuration.schedule is not None:
        rate = Chosen(rate, steps, **_schedule(configuration))
    return optimizers.load(configuration.optimizer)(rate, **_hyper(configuration, steps))


def numbers(configuration: Configuration, steps: int) -> dict[str, float]:
    """What a trial sets in a rule of its signature, by the names of `Rule.set_hyper`."""
    scheduled = {f"schedule.{name}": value for name, value in _schedule(configuration).items()}
    return {**_hyper(configuration, steps), "learning_rate": configuration.learning_rate, **scheduled}


def _hyper(configuration: Configuration, steps: int) -> dict[str, float]:
    horizon = optimizers.find(configuration.optimizer).horizon
    return {**({horizon: float(steps)} if horizon else {}), **configuration.hyper}


def _schedule(configuration: Configuration) -> dict[str, float]:
    """The numbers of `optimizers.schedules.Chosen` but rate and steps."""
    if (chosen := configuration.schedule) is None:
        return {}
    return {"kind": list(optimizers.SCHEDULES).index(chosen.name), "warmup": chosen.warmup, **chosen.numbers}
