"""What a race found, in words."""

from tuner.race import Finalist, Result, Score
from tuner.spec.aims import amounts


def lines(found: Result | None) -> list[str]:
    """What a race has found, a line each; empty when there is none."""
    if found is None:
        return []
    if found.winner is None:
        said = "nobody is left" if found.ended == found.runs else f"{found.ended} of {found.runs} trainings have ended"
        return [f"final race: {said}"]
    costs = f" ({amounts(found.winner.costs)})" if found.winner.costs else ""
    told = [f"winner: {found.winner.label}{costs}, {found.metric} {reached(found.winner)}"]
    if found.ties:
        others = ", ".join(map(_briefly, found.ties))
        what = "" if found.ranked else "trial "
        told.append(f"it is a tie: {len(found.winner.values)} seeds do not tell it from {what}{others}")
    if found.absent:
        told.append(f"not in the race, as no trial of it was complete: {', '.join(map(str, found.absent))}")
    return [*told, *([f"test: {scored(found.score, found.looks)}"] if found.score is not None else [])]


def _briefly(one: Finalist) -> str:
    name = str(one.trial if one.value is None else one.value)
    return f"{name} ({amounts(one.costs)})" if one.costs else name


def ranking(found: Result | None) -> list[str]:
    """The values that are ranked, a line each, the best first; empty when none are, or the race is on."""
    if found is None or not found.ranked or found.winner is None:
        return []
    return [f"{place:>3}  {_ranked(one)}" for place, one in enumerate(found.finalists, 1)]


def _ranked(one: Finalist) -> str:
    if one.mean is None or one.interval is None or one.places is None:
        return f"{one.value}  {one.fate} {one.reason}".rstrip()
    low, high = one.interval
    return f"{one.value}  {number(one.mean)} ({number(low)} to {number(high)})  place {span(one.places)}  {one.fate}"


def span(places: tuple[int, int]) -> str:
    """From one place to another, which may be the same."""
    best, worst = places
    return f"{best}" if best == worst else f"{best} to {worst}"


def reached(one: Finalist) -> str:
    """How a finalist did in the race and in the search."""
    if one.mean is None or one.interval is None:
        return f"{number(one.searched)} in the search{f', {one.reason} in the race' if one.reason else ''}"
    low, high = one.interval
    around = f"{number(one.mean)} (95 %: {number(low)} to {number(high)})"
    return f"{around}, the mean of {len(one.values)} seeds; {number(one.searched)} in the search"


def scored(score: Score, looks: int) -> str:
    """What the winner reached on the test split, which was scored on so often."""
    if score.value is None or score.interval is None:
        return f"no score: {score.failure}"
    low, high = score.interval
    seen = "rows that nobody had seen before" if looks == 1 else f"rows that {looks} races were scored on"
    return f"{score.metric} {number(score.value)} (95 %: {number(low)} to {number(high)}) on {seen}, after {score.epochs} epochs"


def number(value: float) -> str:
    """Four digits, as in tables."""
    return f"{value:.4g}"
