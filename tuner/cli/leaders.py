"""The best trials of a study for people: those with the best values, or a Pareto front."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from tuner.cli.shell import number

if TYPE_CHECKING:
    from tuner.store import Row, Store, Study


def front(tables: "Store", study: "Study") -> "list[Row]":
    """The Pareto front, the best by the metric first."""
    from tuner import pareto
    from tuner.trial import State

    return pareto.front(study.spec, tables.trials(study, states=[State.COMPLETE]))


def leaders(tables: "Store", study: "Study", limit: int) -> "list[Row]":
    """The first points of the Pareto front of a study with several objectives, else the trials with the best values."""
    from tuner.pareto import distinct

    if study.spec.objective.further:
        return distinct(study.spec, front(tables, study))[:limit]
    return tables.leaders(study, limit)


def none_yet(study: "Study", complete: int) -> str:
    """Why there is no best trial."""
    if complete and study.spec.constraints:
        return f"none of {complete} complete trials keeps to {' and '.join(map(str, study.spec.constraints))}"
    return "no trial has completed yet"


def aims(tables: "Store", study: "Study") -> dict[str, Any]:
    """The trials on the Pareto front, and how many break each constraint; empty for a study that has neither."""
    from tuner.pareto import breaking
    from tuner.trial import State

    spec = study.spec
    found: dict[str, Any] = {"pareto_front": [row.number for row in front(tables, study)]} if spec.objective.further else {}
    rows = tables.trials(study, states=[State.COMPLETE, State.PRUNED]) if spec.constraints else []
    return {**found, **({"breaking": breaking(spec, rows)} if spec.constraints else {})}


def lines(told: Mapping[str, Any]) -> list[str]:
    """What `aims` told, before the front is shown."""
    broken = [f"trials that break {constraint}: {count}" for constraint, count in told.get("breaking", {}).items()]
    size = len(told.get("pareto_front", ()))
    return [
        *broken,
        *([f"trials on the Pareto front: {size}; of those that are equal in every objective the first:"] if size else []),
    ]


def costs(study: "Study", row: "Row") -> list[str]:
    """What a trial costs beside its weights, with names."""
    from tuner.spec.aims import amounts

    return [amounts({name: row.costs[name]}) for name in study.spec.other_costs]


def table(study: "Study", rows: "list[Row]") -> Table:
    """A line for each trial: value, what it costs, parameters."""
    from tuner.screen import parameters
    from tuner.spec.aims import amount

    beside = study.spec.other_costs
    made = Table(box=None, header_style="dim", padding=(0, 1), expand=True)
    for name in ("trial", study.spec.objective.metric, "weights", *beside):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("parameters", ratio=1, overflow="fold")
    for row in rows:
        costs = [amount(name, row.costs[name]) for name in beside]
        made.add_row(str(row.number), number(row.value), f"{row.parameters:,}", *costs, Text(parameters(row.params)))
    return made
