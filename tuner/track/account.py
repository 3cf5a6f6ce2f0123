"""What a study asked and found, for its run in MLflow: a description, and the best configurations as a table."""

import json
from collections.abc import Mapping, Sequence

from tuner import verdict
from tuner.race import Result
from tuner.spec import Fixed
from tuner.spec.aims import amounts
from tuner.store import Row, Study
from tuner.trial import State

BEST = 100  # configurations in the table


def description(study: Study, counts: Mapping[State, int], leaders: Sequence[Row], found: Result | None) -> str:
    """Markdown: the question, what came of the trials, the winner with its intervals."""
    spec = study.spec
    beside = "".join(f", minimises `{name}`" for name in spec.objective.further)
    bounds = f", with {' and '.join(f'`{constraint}`' for constraint in spec.constraints)}" if spec.constraints else ""
    searched = [f"`{name}`" for name, parameter in spec.search.items() if not isinstance(parameter, Fixed)]
    ended = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    lines = [
        f"**Asked:** which {', '.join(searched) or 'configuration'} of `{spec.model.name}` on `{spec.data.source}` "
        f"{spec.objective.direction}s `{spec.objective.metric}`{beside}{bounds}, "
        f"in {study.trials} trials of {spec.train.epochs} epochs.",
        f"**Trials:** {ended}{f'; {study.stopped}' if study.stopped else ''}",
        *(f"**Best in the search:** trial {best.number}, {verdict.number(best.value or 0.0)}" for best in leaders[:1]),
        *(f"**Found:** {line}" for line in verdict.lines(found)),
    ]
    return "\n\n".join(lines) + "\n"


def of_front(study: Study, front: Sequence[Row]) -> str:
    """Markdown: the ends of the Pareto front."""
    if not front:
        return "\n**Pareto front:** nobody is on it\n"
    ends = (f"trial {row.number}, {verdict.number(row.value or 0.0)} ({amounts(row.costs)})" for row in (front[0], front[-1]))
    return f"\n**Pareto front:** {len(front)} trials of {', '.join(study.spec.objective.names)}, {' to '.join(ends)}\n"


def leaderboard(study: Study, leaders: Sequence[Row]) -> str:
    """JSON in the form of MLflow's tables: these complete trials, best first."""
    costs = study.spec.other_costs
    names = list(dict.fromkeys(name for row in leaders for name in row.params or {}))
    own = ([row.number, row.value, row.epoch, row.parameters, *(row.costs.get(name) for name in costs)] for row in leaders)
    data = [[*first, *((row.params or {}).get(name) for name in names)] for first, row in zip(own, leaders, strict=True)]
    return json.dumps({"columns": ["trial", "objective", "epochs", "parameters", *costs, *names], "data": data})
