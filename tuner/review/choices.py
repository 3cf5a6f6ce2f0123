"""The values of a choice side by side: what the trials came to that chose each of them, above all each optimizer.

A trial counts with its value, that of its best epoch, whether it was complete or pruned; a failed one has none.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from tuner.owners import short
from tuner.review.results import Review
from tuner.spec import Choice, owned, owner_of
from tuner.store import Row
from tuner.trial import State, Value


@dataclass(frozen=True)
class Reached:
    """A trial that has a value."""

    value: float
    row: Row


@dataclass(frozen=True)
class Tally:
    """The trials that chose one value of a parameter.

    `reached` are those that have a value, best first. `seconds` is the mean of their epochs without each trial's first, which may
    include the compilation of a graph; None when there is no second one.
    """

    choice: str
    states: Mapping[State, int]
    reached: Sequence[Reached]
    seconds: float | None

    @property
    def trials(self) -> int:
        """How many trials chose it, however they ended."""
        return sum(self.states.values())

    @property
    def best(self) -> Reached | None:
        """The trial that reached the best value."""
        return self.reached[0] if self.reached else None

    @property
    def median(self) -> float | None:
        """The median of the values reached."""
        return median(entry.value for entry in self.reached) if self.reached else None


def compared(review: Review) -> list[str]:
    """The parameters whose values are put side by side: choices between two words or more, and the one that is ranked."""
    choices = {d.name: d.parameter for d in review.space.dimensions if isinstance(d.parameter, Choice)}
    return [name for name, parameter in choices.items() if _words(parameter) or name == review.study.spec.rank]


def _words(parameter: Choice) -> bool:
    return len(parameter.choice) >= 2 and isinstance(parameter.choice[0], str)


def tallies(review: Review, name: str) -> list[Tally]:
    """A tally per value of the parameter: the best value reached first, then those without any, last those never tried."""
    sign = -1 if review.study.spec.objective.maximise else 1
    rows: dict[Value, list[Row]] = {choice: [] for choice in _choices(review, name)}
    for row in review.rows:
        if row.params is not None and name in row.params:
            rows[row.params[name]].append(row)

    def place(tally: Tally) -> tuple[bool, bool, float, int]:
        best = tally.best
        return (best is None, not tally.trials, *((sign * best.value, best.row.number) if best else (0.0, 0)))

    return sorted((_tally(review, str(choice), mine, sign) for choice, mine in rows.items()), key=place)


def _choices(review: Review, name: str) -> Sequence[Value]:
    (parameter,) = (d.parameter for d in review.space.dimensions if d.name == name)
    return parameter.choice if isinstance(parameter, Choice) else ()


def _tally(review: Review, choice: str, rows: Sequence[Row], sign: int) -> Tally:
    seconds = [e.seconds for row in rows for e in review.epochs.get(row.number, ()) if e.epoch > 1]
    ranked = sorted(reached(rows), key=lambda entry: (sign * entry.value, entry.row.number))
    return Tally(choice, Counter(row.state for row in rows), ranked, fmean(seconds) if seconds else None)


def reached(rows: Sequence[Row]) -> Iterator[Reached]:
    """The trials that have a value."""
    for row in rows:
        if row.state in (State.COMPLETE, State.PRUNED) and row.value is not None:
            yield Reached(row.value, row)


def own(review: Review, name: str, row: Row) -> dict[str, Value]:
    """The parameters that a trial has because of its choice, under short names.

    They are those that its optimizer or schedule takes, whether they are searched for it alone or for all, and those with a
    condition on the parameter.
    """
    params = row.params or {}
    chosen = str(params[name])
    takes = owned(chosen) if owner_of(f"{chosen}.")[0] == name else {}
    conditional = {d.name for d in review.varied if name in d.when}
    mine = [n for n in params if n in conditional or _takes(chosen, takes, n)]
    return {label: params[n] for n, label in short(mine).items()}


def _takes(chosen: str, takes: Mapping[str, object], name: str) -> bool:
    return name.rpartition(".")[2] in takes and owner_of(name)[1] in ("", chosen)
