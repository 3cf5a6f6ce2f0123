"""The Pareto front of a study with several objectives: the trials of which no other one is as good in all and better in one.

On the front are complete trials that keep to the study's constraints, never pruned, failed or infeasible ones. Trials that are
equal in every objective stand there together. Pure. Shapes: N trials, M objectives.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tuner.spec import StudySpec
from tuner.spec.aims import violated
from tuner.store import Row
from tuner.trial import State


def feasible(spec: StudySpec, row: Row) -> bool:
    """Whether a trial is complete, with a value, and keeps to the constraints."""
    return row.state is State.COMPLETE and row.value is not None and not violated(spec.constraints, row.costs)


def front(spec: StudySpec, rows: Iterable[Row]) -> list[Row]:
    """The trials on the front, the best by the metric first; with one objective those that share the best value."""
    sign = -1 if spec.objective.maximise else 1
    able = [row for row in rows if feasible(spec, row)]
    points = [[sign * (row.value or 0.0), *(row.costs[name] for name in spec.objective.further)] for row in able]
    return [able[place] for place in undominated(np.array(points).reshape(len(able), len(spec.objective.names)))]


def distinct(spec: StudySpec, rows: Iterable[Row]) -> list[Row]:
    """The first of those that are equal in every objective."""
    found: dict[tuple[float | None, ...], Row] = {}
    for row in rows:
        found.setdefault((row.value, *(row.costs[name] for name in spec.objective.further)), row)
    return list(found.values())


def undominated(points: NDArray[np.float64]) -> Sequence[int]:
    """The places of the points [N, M] that no other one dominates, where less is better; in ascending order of their numbers.

    In that order a point can only be dominated by one before it, so that each is compared with the front as far as it is known.
    """
    order = sorted(range(len(points)), key=lambda place: (*points[place], place))
    found: list[int] = []
    for place in order:
        known = points[found]
        better = np.all(known <= points[place], axis=1) & np.any(known < points[place], axis=1)
        if not better.any():
            found.append(place)
    return found


def breaking(spec: StudySpec, rows: Iterable[Row]) -> dict[str, int]:
    """How many trials break each constraint, among those whose costs are known; some of these were not trained."""
    found = {str(constraint): 0 for constraint in spec.constraints}
    for row in rows if found else ():
        for constraint in violated(spec.constraints, row.costs):
            found[str(constraint)] += 1
    return found
