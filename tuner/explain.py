"""What a study file means, and what may stand in one, in words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from optimizers import ALIASES, COMMON, FAMILIES, OPTIMIZERS, SCHEDULES, WARMUP, WRAPPERS, Range
from optimizers import Row as OptimizerRow
from tuner.data import Facts, training_rows
from tuner.dimension import Dimension
from tuner.family import Family
from tuner.owners import Folded, folded, short
from tuner.packing import Packing, abreast, planned
from tuner.space import Space
from tuner.spec import Choice, Fixed, FloatRange, IntRange, StudySpec, chosen, has_hidden_layers, owner_of


def meaning(spec: StudySpec, facts: Facts, trials: int) -> dict[str, Any]:
    """What `tuner validate` prints: the question, the data, the space, the budget, the smallest and the largest network."""
    space = Space(spec)
    rows = training_rows(facts.rows, spec.data)
    family = Family(space, facts.input_shape, facts.outputs, rows)
    low, high = family.smallest, family.largest
    budget = spec.budget
    limits = [f"{trials} trials of {spec.train.epochs} epochs"]
    limits += [f"{budget.hours:g} hours"] if budget.hours else []
    limits += [f"{spec.objective.metric} {budget.target:g}"] if budget.target is not None else []
    limits += [f"{budget.patience} trials without a better one"] if budget.patience else []
    shape = "×".join(str(n) for n in facts.input_shape)
    what = f"{facts.classes} classes" if facts.classes else "one number"
    meaning = {
        "study": spec.name,
        "question": f"{_question(spec)} of {spec.model.name}{f', and rank each {spec.rank}' if spec.rank else ''}",
        "data": f"{spec.data.source}: {facts.rows:,} rows of {shape}, {what}; "
        f"{spec.data.validation:g} for validation, {spec.data.test:g} for the test",
        "space": [_describe(d) for d in space.dimensions],
        "size": "infinite" if space.size == float("inf") else f"{int(space.size):,} configurations",
        "sampler": spec.sampler.name,
        "pruner": spec.pruner.name if spec.pruner.name == "none" else f"{spec.pruner.name} from epoch {spec.pruner.from_epoch}",
        "budget": ", or ".join(limits),
    }
    if told := cautions(spec):
        meaning["caution"] = "; ".join(told)
    packing = Packing(space)
    if spec.final.finalists:
        last = "trained on train and validation" if spec.final.refit else "trained once more"
        meaning["final race"] = f"{spec.final.finalists} finalists on {spec.final.seeds} new seeds, the winner {last} and scored"
    meaning["training"] = _training(packing)
    if low is not None and high is not None:
        meaning["smallest network"] = f"{low.parameters:,} weights, about {_bytes(low.bytes)} in training"
        meaning["largest network"] = f"{high.parameters:,} weights, about {_bytes(high.bytes)} in training"
    return meaning


def _training(packing: Packing) -> str:
    if lanes := planned(packing):
        return f"up to {lanes} trials at a time in one graph"
    if (most := abreast(packing)) > 1:
        return f"a trial on each processor of a CPU, up to {most} at a time"
    return f"one trial at a time{_because(packing.refusal)}"


def _question(spec: StudySpec) -> str:
    asked = f"{spec.objective.direction} {spec.objective.metric}"
    asked += f", minimise {' and '.join(spec.objective.further)}" if spec.objective.further else ""
    return asked + (f", with {' and '.join(map(str, spec.constraints))}," if spec.constraints else "")


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def cautions(spec: StudySpec) -> list[str]:
    """What speaks against methods of the study, a line each."""
    return [f"{row.name} {row.caution}" for row in chosen(spec) if row.caution and has_hidden_layers(spec)]


def space_lines(spec: StudySpec) -> list[str]:
    """The space for a person: the parameters of one optimizer or schedule share a line below what chooses it."""
    return [line for entry in folded(Space(spec).dimensions) for line in _lines(entry)]


def _lines(entry: Folded) -> Iterator[str]:
    yield _describe(entry.dimension)
    for owner, dimensions in entry.owners.items():
        names = short(d.name for d in dimensions)
        yield f"  {owner}: {'; '.join(f'{names[d.name]} {_values(d)}{_condition(d)}' for d in dimensions)}"


def _describe(dimension: Dimension) -> str:
    """One dimension of a space in a line."""
    return f"{dimension.name}: {_values(dimension)}{_condition(dimension)}"


def _values(dimension: Dimension) -> str:
    match dimension.parameter:
        case IntRange(int=(low, high), log=log, step=step):
            return f"{low} to {high}{', log' if log else ''}{f', step {step}' if step > 1 else ''}"
        case FloatRange(float=(low, high), log=log, step=step):
            return f"{low:g} to {high:g}{', log' if log else ''}{f', step {step:g}' if step else ''}"
        case Choice(choice=choices):
            return ", ".join(str(choice) for choice in choices)
        case Fixed(value=value):
            return f"{value} (fixed)"


def _condition(dimension: Dimension) -> str:
    told = owner_of(dimension.name)[0]  # the name says so
    conditions = [f"{other} is {wanted}" for other, wanted in dimension.conditions(str).items() if other != told]
    return f" when {' and '.join(conditions)}" if conditions else ""


# The methods ------------------------------------------------------------


def optimizers() -> dict[str, Any]:
    """What `tuner optimizers` prints: all methods, wrappers, other systems' versions and schedules, and words for many of them.

    `searched` are the ranges that a study takes over when it leaves the sub-space to the method, `others` those that it must
    name, `common` what every method takes beside its own.
    """
    return {
        "optimizers": [_method(row) for row in OPTIMIZERS.values()],
        "wrappers": [
            {
                "optimizer": f"{wrapper.name}:<method>",
                "numbers": _ranges(wrapper.hyper),
                "requires": sorted(wrapper.requires),
                "source": wrapper.source,
            }
            for wrapper in WRAPPERS.values()
        ],
        "aliases": {
            alias.name: {
                "method": alias.method,
                "learning_rate": alias.learning_rate,
                **alias.hyper,
                **alias.settled,
                **({"caution": alias.caution} if alias.caution else {}),
            }
            for alias in ALIASES.values()
        },
        "common": _ranges(COMMON),
        "families": {name: list(methods) for name, methods in FAMILIES.items()},
        "schedules": [
            {"schedule": row.name, "numbers": _ranges(row.numbers), "source": row.source} for row in SCHEDULES.values()
        ],
        "warmup": _range(WARMUP),
    }


def _method(row: OptimizerRow) -> dict[str, Any]:
    ranges = {"learning_rate": row.learning_rate, **row.hyper}
    return {
        "optimizer": row.name,
        "family": row.family,
        "searched": _ranges({name: span for name, span in ranges.items() if span.main}),
        "others": _ranges({name: span for name, span in ranges.items() if not span.main}),
        "requires": sorted(row.requires),
        "source": row.source,
    }


def _ranges(ranges: Mapping[str, Range]) -> dict[str, dict[str, Any]]:
    return {name: _range(span) for name, span in ranges.items()}


def _range(span: Range) -> dict[str, Any]:
    return {"low": span.low, "high": span.high, "log": span.log, "default": span.default}


def listing(known: dict[str, Any]) -> RenderableType:
    """What `optimizers` gives, for a terminal."""
    methods = [(_named(row), _spans(row["searched"]), _spans(row["others"]), row["source"]) for row in known["optimizers"]]
    wrappers = [(_named(row), _spans(row["numbers"]), row["source"]) for row in known["wrappers"]]
    versions = [(name, alias["method"], _settings(alias)) for name, alias in known["aliases"].items()]
    words = [(name, ", ".join(members)) for name, members in known["families"].items()]
    schedules = [(row["schedule"], _spans(row["numbers"]), row["source"]) for row in known["schedules"]]
    warmup = known["warmup"]
    return Group(
        _table(("optimizer", "searched by default", "others, when named", "source"), methods),
        Text("\nAll of them take these too, when named, and at most one of the three clips:"),
        Padding(_spans(known["common"]), (0, 1)),
        Text("\nAround any method that needs gradients only:"),
        _table(("wrapper", "searched when named", "source"), wrappers),
        Text("\nAs other systems have them:"),
        _table(("version", "method", "defaults"), versions),
        Text('\nIn place of a list of methods, as in optimizer = "all":'),
        _table(("word", "methods"), words),
        Text(
            f"\nSchedules of the learning rate, behind a linear rise for the share warmup, {warmup['low']:g}–{warmup['high']:g}:"
        ),
        _table(("schedule", "numbers", "source"), schedules),
    )


def _named(row: Mapping[str, Any]) -> Text:
    """A method's name; below it the family, and what the rule needs beside the gradient of a batch."""
    needs = [need for need in row["requires"] if need != "gradient"]
    parts = [*([row["family"]] if "family" in row else []), *([f"needs {', '.join(needs)}"] if needs else [])]
    return Text.assemble(row["optimizer"], *((f"\n {part}", "dim") for part in parts))


def _settings(alias: Mapping[str, Any]) -> str:
    """The defaults and settled options of another system's version, and what speaks against it."""
    settings = ", ".join(f"{name} {value}" for name, value in alias.items() if name not in ("method", "caution"))
    return f"{settings}; {alias['caution']}" if "caution" in alias else settings


def _spans(ranges: Mapping[str, Mapping[str, Any]]) -> str:
    """Ranges one below the other."""
    return "\n".join(f"{name} {span['low']:g}–{span['high']:g}{' log' if span['log'] else ''}" for name, span in ranges.items())


def _table(head: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 1))
    for index, name in enumerate(head):
        table.add_column(name, no_wrap=index == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
