"""A study's progress as metrics of its run, from the tables alone: shown late, or anew, it is the same.

The step of a point is how many trials had ended, its time that of the last of these ends.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

from tuner.store import Lifetime
from tuner.track.door import Point
from tuner.trial import State

POINTS = 200  # for the budget of a study; each new best value has one besides


def points(lifetimes: Sequence[Lifetime], trials: int, shown: int, *, maximise: bool) -> list[Point]:
    """What `trials` trials have come to since `shown` of them had ended.

    `trials/complete`, `trials/pruned`, `trials/failed` and `trials/running` count, `trials/per_hour` is the mean since the first
    start, `best_value` the best of the complete ones.
    """
    over = sorted((one for one in lifetimes if one.ended is not None), key=lambda one: (one.ended, one.number))
    starts = sorted(one.started for one in lifetimes if one.started is not None and one.started != one.ended)
    every, counts, best, stops = max(1, trials // POINTS), Counter[State](), None, 0
    found: list[Point] = []
    for step, one in enumerate(over, 1):
        assert one.ended is not None
        counts[one.state] += 1
        stops += one.started not in (None, one.ended)
        better = _better(one, best, maximise=maximise)
        best = one.value if better else best
        if step > shown and (better or step % every == 0 or step == len(over)):
            values = _values(counts, bisect_left(starts, one.ended) - stops, best, one.ended - starts[0] if starts else 0.0)
            found += [Point(key, value, round(one.ended * 1000), step) for key, value in values]
    return found


def _better(one: Lifetime, best: float | None, *, maximise: bool) -> bool:
    if one.state is not State.COMPLETE or one.value is None:
        return False
    return best is None or (one.value > best if maximise else one.value < best)


def _values(counts: Counter[State], running: int, best: float | None, seconds: float) -> Iterator[tuple[str, float]]:
    states = (State.COMPLETE, State.PRUNED, State.FAILED)
    yield from ((f"trials/{state}", counts[state]) for state in states)
    yield "trials/running", running
    if seconds > 0:
        yield "trials/per_hour", 3600 * sum(counts[state] for state in states) / seconds
    if best is not None:
        yield "best_value", best
