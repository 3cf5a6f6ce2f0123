"""The best trials of a study for people: those with the best values, or a Pareto front."""

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from tuner.cli.shell import number

if TYPE_CHECKING:
    from tuner.store import Row, Store, Study


def leaders(tables: "Store", study: "Study", limit: int | None) -> "list[Row]":
    """The first trials of the Pareto front of a study with several objectives, else those with the best values."""
    from tuner.pareto import front
    from tuner.trial import State

    if not study.spec.objective.further:
        return tables.leaders(study, limit or 1)
    return front(study.spec, tables.trials(study, states=[State.COMPLETE]))[:limit]


def none_yet(study: "Study", complete: int) -> str:
    """Why there is no best trial."""
    if complete and study.spec.constraints:
        return f"none of {complete} complete trials keeps to {' and '.join(map(str, study.spec.constraints))}"
    return "no trial has completed yet"


def aims(tables: "Store", study: "Study") -> dict[str, Any]:
    """The trials on the Pareto front, and how many break each constraint; empty for a study that has neither."""
    from tuner.pareto import breaking, front
    from tuner.trial import State

    spec = study.spec
    rows = tables.trials(study, states=[State.COMPLETE, State.PRUNED]) if spec.costs else []
    found: dict[str, Any] = {"pareto_front": [row.number for row in front(spec, rows)]} if spec.objective.further else {}
    return {**found, **({"breaking": breaking(spec, rows)} if spec.constraints else {})}


def table(study: "Study", rows: "list[Row]") -> Table:
    """A line for each trial: value, what it costs, parameters."""
    from tuner.screen import parameters
    from tuner.spec.aims import amount

    beside = [name for name in study.spec.costs if name != "parameters"]
    made = Table(box=None, header_style="dim", padding=(0, 1), expand=True)
    for name in ("trial", study.spec.objective.metric, "weights", *beside):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("parameters", ratio=1, overflow="fold")
    for row in rows:
        costs = [amount(name, row.costs[name]) for name in beside]
        made.add_row(str(row.number), number(row.value), f"{row.parameters:,}", *costs, Text(parameters(row.params)))
    return made
