"""What a study is after: a metric of training, costs beside it, and the bounds that these must keep to.

A *cost* is what a network costs where it is used. Of each, less is better; `COSTS` says what they are.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_serializer, model_validator

from tuner.metrics import METRICS

COSTS: Mapping[str, str] = {
    "parameters": "trainable weights, by formula",
    "model_bytes": "bytes of the weights and of the statistics of batch normalisation in float32, by formula",
    "latency_ms": "the median time of 50 predictions of one row on one core, in ms, measured after training (tuner/costs.py)",
}
ONE_AIM_SAMPLERS = ("gp", "cmaes")  # these know neither further objectives nor constraints
ONE_AIM_PRUNERS = ("hyperband",)

Tuple = BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)
OneLine = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f\u2028\u2029]+$")]


class Frozen(BaseModel):
    """Unknown keys are refused, nothing is coerced, nothing can be changed later."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def left_out_when_empty() -> Any:
    """A list of which a study without it says nothing, so that its identity is the same as before there was such a list."""
    return Field(default=(), exclude_if=lambda entries: not entries)


def _cost(name: str) -> str:
    if name not in COSTS:
        raise ValueError(f"{name!r} is no cost; allowed: {', '.join(COSTS)}")
    return name


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a cost stands here twice")
    return names


class ObjectiveSpec(Frozen):
    """`objective = "val_accuracy"`: the metric of an epoch that is searched; a trial's value is its best epoch's.

    `objective = ["val_accuracy", "parameters"]` names further objectives behind it: costs, of which less is better. What such a
    study finds is a Pareto front (`tuner.pareto`).
    """

    metric: OneLine
    direction: Literal["maximise", "minimise"]
    further: Annotated[tuple[Annotated[str, AfterValidator(_cost)], ...], Tuple, AfterValidator(_each_once)] = (
        left_out_when_empty()
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and isinstance(raw.get("metric"), list | tuple) and raw["metric"]:
            first, *further = raw["metric"]
            raw = {**raw, "metric": first, "further": [*further, *raw.get("further", ())]}
        if isinstance(raw, dict) and "direction" not in raw and isinstance(raw.get("metric"), str):
            row = METRICS.get(raw["metric"].removeprefix("val_"))
            return {**raw, "direction": "maximise" if row and row.maximise else "minimise"}
        return raw

    @property
    def maximise(self) -> bool:
        """Whether more is better."""
        return self.direction == "maximise"

    @property
    def alone(self) -> "ObjectiveSpec":
        """The metric without the further objectives."""
        return self.model_copy(update={"further": ()})

    @property
    def names(self) -> tuple[str, ...]:
        """The metric and the further objectives."""
        return (self.metric, *self.further)


class Constraint(Frozen):
    """`"parameters <= 5000"`: a cost, and the most that it may be for a trial to count.

    A trial that breaks it by formula is not trained. One of which only training tells ends like any other, but is no winner and
    not on the front, and the sampler learns by how much it broke it.
    """

    cost: str
    most: float

    @model_validator(mode="before")
    @classmethod
    def _read(cls, raw: Any) -> Any:
        found = re.fullmatch(r"\s*(\w+)\s*<=\s*([\d._+e-]+)\s*", raw, re.ASCII | re.IGNORECASE) if isinstance(raw, str) else None
        if found is None:
            raise ValueError(f'write "COST <= NUMBER"; costs are {", ".join(COSTS)}')
        try:
            most = float(found[2])
        except ValueError:
            raise ValueError(f"{found[2]!r} is not a number") from None
        if not 0 < most < math.inf:
            raise ValueError(f"{found[2]} is not a number above 0")
        return {"cost": _cost(found[1]), "most": most}

    @model_serializer
    def _written(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"{self.cost} <= {int(self.most) if self.most.is_integer() else self.most}"

    def excess(self, costs: Mapping[str, float]) -> float:
        """By which part of the bound a cost lies above it; 0 or less when it keeps to it."""
        return costs[self.cost] / self.most - 1


def violated(constraints: Iterable[Constraint], costs: Mapping[str, float]) -> list[Constraint]:
    """The constraints that known costs do not keep to."""
    return [constraint for constraint in constraints if constraint.cost in costs and constraint.excess(costs) > 0]


def amount(name: str, value: float) -> str:
    """A cost for people: whole numbers whole, times with three digits."""
    return f"{value:,.0f}" if name != "latency_ms" else f"{value:.3g}"


def amounts(costs: Mapping[str, float]) -> str:
    """Costs with their names, in a line."""
    return ", ".join(f"{name} {amount(name, value)}" for name, value in costs.items())


def bad_aims(objective: ObjectiveSpec, constraints: Sequence[Constraint], sampler: str, pruner: str) -> Iterator[str]:
    """What of a study does not go with several objectives or with constraints."""
    if len({constraint.cost for constraint in constraints}) < len(constraints):
        yield "constraints: a cost has two bounds"
    if (objective.further or constraints) and sampler in ONE_AIM_SAMPLERS:
        allowed = "tpe, nsga2, random, qmc, grid"
        yield f"sampler.name: {sampler} is for one objective without constraints; allowed: {allowed}"
    if objective.further and pruner in ONE_AIM_PRUNERS:
        yield f"pruner.name: {pruner} is for one objective; allowed: asha, median, none"
