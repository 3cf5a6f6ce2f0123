"""What a study file means, and what may stand in one, in words."""

from typing import Any

from optimizers import OPTIMIZERS, WRAPPERS
from tuner.data import Facts
from tuner.space import Dimension, Space
from tuner.spec import Choice, Fixed, FloatRange, IntRange, StudySpec, owner_of


def meaning(spec: StudySpec, facts: Facts, trials: int) -> dict[str, Any]:
    """What `tuner validate` prints: the question, the data, the space, the budget, the smallest and the largest network."""
    space = Space(spec)
    rows = round(facts.rows * (1 - spec.data.validation - spec.data.test))
    low, high = (space.network_size(params, facts.input_shape, facts.outputs, rows) for params in space.extremes())
    budget = spec.budget
    limits = [f"{trials} trials of {spec.train.epochs} epochs"]
    limits += [f"{budget.hours:g} hours"] if budget.hours else []
    limits += [f"{spec.objective.metric} {budget.target:g}"] if budget.target is not None else []
    limits += [f"{budget.patience} trials without a better one"] if budget.patience else []
    shape = "×".join(str(n) for n in facts.input_shape)
    what = f"{facts.classes} classes" if facts.classes else "one number"
    meaning = {
        "study": spec.name,
        "question": f"{spec.objective.direction} {spec.objective.metric} of {spec.model.name}",
        "data": f"{spec.data.source}: {facts.rows:,} rows of {shape}, {what}; "
        f"{spec.data.validation:g} for validation, {spec.data.test:g} for the test",
        "space": [_describe(d) for d in space.dimensions],
        "size": "infinite" if space.size == float("inf") else f"{int(space.size):,} configurations",
        "sampler": spec.sampler.name,
        "pruner": spec.pruner.name if spec.pruner.name == "none" else f"{spec.pruner.name} from epoch {spec.pruner.from_epoch}",
        "budget": ", or ".join(limits),
    }
    if low is not None and high is not None:
        meaning["smallest network"] = f"{low.parameters:,} weights"
        meaning["largest network"] = f"{high.parameters:,} weights, about {_bytes(high.bytes)} in training"
    return meaning


def _describe(dimension: Dimension) -> str:
    """One dimension of a space in a line."""
    match dimension.parameter:
        case IntRange(int=(low, high), log=log, step=step):
            text = f"{low} to {high}{', log' if log else ''}{f', step {step}' if step > 1 else ''}"
        case FloatRange(float=(low, high), log=log, step=step):
            text = f"{low:g} to {high:g}{', log' if log else ''}{f', step {step:g}' if step else ''}"
        case Choice(choice=choices):
            text = ", ".join(str(choice) for choice in choices)
        case Fixed(value=value):
            text = f"{value} (fixed)"
    told = owner_of(dimension.name)[0]  # the name says so
    conditions = [f"{other} is {' or '.join(map(str, wanted))}" for other, wanted in dimension.when.items() if other != told]
    return f"{dimension.name}: {text}{' when ' + ' and '.join(conditions) if conditions else ''}"


def optimizers() -> list[dict[str, Any]]:
    """What `tuner optimizers` prints: each method with the ranges of its hyper-parameters, what it requires, and its source.

    A wrapper stands there with what it adds to the method inside.
    """
    methods = [(row.name, {"learning_rate": row.learning_rate, **row.hyper}, row) for row in OPTIMIZERS.values()]
    wrappers = [(f"{wrapper.name}:<method>", wrapper.hyper, wrapper) for wrapper in WRAPPERS.values()]
    return [
        {
            "optimizer": name,
            "searched": {key: {"low": span.low, "high": span.high, "log": span.log} for key, span in spans.items()},
            "requires": sorted(entry.requires),
            "source": entry.source,
        }
        for name, spans, entry in (*methods, *wrappers)
    ]


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
