"""What a study suggests to search next, each with its evidence in numbers. Pure.

A suggestion has to be beyond chance: the risk of a wrong one about bounds, ranges and choices is at most `RISK` for all tests of
a study together (Bonferroni). The best trials are compared with the other ones that have the parameter, pruned ones among them,
and not with an even spread: samplers gather where it was good early, whether it is or not. With n trials, k of them the best:

    widen    most of the best lie in the outermost tenth of a range, where m of all lie: hypergeometric tail. The new end lies
             half the range farther on its scale, or as near to that as is allowed. A list of numbers gets one more at its end.
    narrow   the best lie within a part of a range that holds m of all. Of all ways to choose k of n in their order, so many lie
             within m neighbours: (n - m + 1) C(m-1, k-1) + C(m-1, k). The new ends are one mean gap of the best farther out.
    drop     the trials with a value of a choice rank below the others: Mann and Whitney 1947. None of the best has it.
    fix      the parameter explains at most `LITTLE` of the order of the complete trials, and of that of their better half: upper
             limit for η² of an analysis of variance of ranks, Steiger 2004, "Beyond the F test"; ranges are cut into thirds.
    epochs   more: the best still rise within the last quarter (sign test), and gained more there than luck makes.
             less: all of the best had their best epoch in the first half.
    trials   more: the last quarter brought more of the best trials than chance does (hypergeometric tail), and gained more than
             luck makes. `patience`: the second half brought nothing.

Luck is the standard deviation between seeds of the race's finalists; without a race, that of the best trials' values.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import median

import numpy as np
from scipy import stats
from scipy.special import ncfdtrinc

from tuner import toml
from tuner.errors import BadInput
from tuner.review.results import Review
from tuner.review.versus import curve
from tuner.spec import MAX_TRIALS, Choice, Fixed, FloatRange, IntRange, Parameter, StudySpec, parse
from tuner.store import Row
from tuner.trial import Params, State, Value

LEAST = 20  # complete trials that keep to the constraints, or have a parameter, below which nothing is said
BEST = (6, 12)  # a tenth of them, within these limits, are the best
RISK = 0.05
EDGE = 0.1  # of a range
FARTHER = (1 / 2, 1 / 4, 1 / 8)  # of a range, by which it is widened: the first that is allowed
WORTH = 2 / 3  # of a range, from which on a narrower one is not worth a change
LITTLE = 0.15  # of the order of trials
GROUP = 5  # trials with a value before it is compared
QUARTER = 4  # epochs that a quarter has at least, where quarters are looked at

Numeric = IntRange | FloatRange


@dataclass(frozen=True)
class Suggestion:
    """A change of the study file at `key`, as in `search.width` or `train.epochs`, and why."""

    key: str
    says: str
    evidence: str
    change: Parameter | int


@dataclass(frozen=True)
class Advice:
    """What is suggested after so many complete trials; `notes` say what was not looked at, and why."""

    complete: int
    suggestions: Sequence[Suggestion]
    notes: Sequence[str]


def advise(review: Review) -> Advice:
    """What to search next."""
    complete = len(review.ranked)
    kept = sum(not entry.broken for entry in review.ranked)
    if kept < LEAST:
        which = (
            f"{kept} of {complete} complete trials keep to the constraints: these"
            if kept < complete
            else f"{complete} complete trials"
        )
        return Advice(complete, [], [f"{which} are too few; it takes {LEAST}"])
    found = _Findings(review)
    suggestions = [*found.of_parameters(), *found.of_epochs(), *found.of_trials()]
    return Advice(complete, suggestions, found.notes)


def chosen(review: Review) -> Params:
    """The configuration to begin with: the race's winner, else the best of the search. Raises `BadInput` when there is none."""
    winner = review.race.winner if review.race is not None else None
    return winner.params if winner is not None else review.best.row.params or {}


class _Findings:
    """What is found while a study is looked through."""

    def __init__(self, review: Review) -> None:
        self.review, self.spec = review, review.study.spec
        self.notes: list[str] = []
        if further := self.spec.objective.further:
            self.notes.append(f"what is suggested is for {self.spec.objective.metric} alone, not for {', '.join(further)}")
        self._sign = 1 if self.spec.objective.maximise else -1
        pruned = (row for row in review.rows if row.state is State.PRUNED and row.value is not None)
        self._complete = [entry.row for entry in review.ranked]
        self._others = sorted(pruned, key=lambda row: -self._sign * float(row.value or 0.0))

    # Parameters ------------------------------------------------------------

    def of_parameters(self) -> Iterator[Suggestion]:
        """At most one each; parameters of single layers are left alone, and the one that is ranked."""
        free = [name for name in self.review.space.free if name in self.spec.search and name != self.spec.rank]
        names = [name for name in free if len(self._with(name, self._complete)) >= LEAST]
        if few := [name for name in free if name not in names]:
            self.notes.append(f"fewer than {LEAST} complete trials have {', '.join(few)}: nothing is said of them")
        if layers := [name for name in self.review.space.free if name not in self.spec.search]:
            self.notes.append(f"parameters of single layers are not looked at: {', '.join(layers)}")
        tests = sum(_tests(self.spec.search[name]) for name in names)
        for name in names:
            parameter = self.spec.search[name]
            if found := self._changed(name, parameter, RISK / tests) or self._fix(name, parameter):
                yield found

    def _changed(self, name: str, parameter: Parameter, risk: float) -> Suggestion | None:
        match parameter:
            case Choice():
                return self._lengthen(name, parameter, risk) or self._drop(name, parameter, risk)
            case IntRange() | FloatRange():
                return self._widen(name, parameter, risk) or self._narrow(name, parameter, risk)
        return None

    def _with(self, name: str, rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if name in (row.params or {})]

    def _values(self, name: str, rows: Sequence[Row]) -> list[Value]:
        return [row.params[name] for row in rows if row.params is not None and name in row.params]

    def _places(self, name: str, parameter: Numeric) -> tuple[list[float], int]:
        """Where all trials with the parameter lie in its range, best first, and how many of them are the best."""
        values = self._values(name, [*self._complete, *self._others])
        return [_place(parameter, float(value)) for value in values], _best(len(self._with(name, self._complete)))

    def _widen(self, name: str, parameter: Numeric, risk: float) -> Suggestion | None:
        places, k = self._places(name, parameter)
        for upper, side, end in ((True, "upper", _ends(parameter)[1]), (False, "lower", _ends(parameter)[0])):
            near = [place >= 1 - EDGE if upper else place <= EDGE for place in places]
            if lie := _gathered(near, k, f"lie in the {side} tenth", risk):
                return self._beyond(name, f"{side} end", end, lie, _wider(parameter, upper=upper))
        return None

    def _lengthen(self, name: str, parameter: Choice, risk: float) -> Suggestion | None:
        """The same for a list of numbers: one more beyond its end."""
        if not _is_list_of_numbers(parameter):
            return None
        values = self._values(name, [*self._complete, *self._others])
        ordered, k = sorted(map(float, parameter.choice)), _best(len(self._with(name, self._complete)))
        for upper, line in ((True, ordered), (False, ordered[::-1])):
            end = line[-1]
            if lie := _gathered([value == end for value in values], k, f"have {end:g}", risk):
                return self._beyond(name, "largest" if upper else "smallest", end, lie, _longer(parameter, line))
        return None

    def _beyond(self, name: str, side: str, end: float, lie: str, wider: Iterator[Parameter]) -> Suggestion | None:
        """The first that is allowed; a note when there is none."""
        for parameter in wider:
            if _allowed(self.spec, name, parameter):
                says = f"widen {name} to {toml.entry(parameter)}: its {side} was hit"
                return Suggestion(f"search.{name}", says, lie, parameter)
        self.notes.append(f"{name}: {lie}, but nothing beyond {end:g} is allowed")
        return None

    def _narrow(self, name: str, parameter: Numeric, risk: float) -> Suggestion | None:
        places, k = self._places(name, parameter)
        low, high = min(places[:k]), max(places[:k])
        m, n = sum(low <= place <= high for place in places), len(places)
        p = ((n - m + 1) * math.comb(m - 1, k - 1) + math.comb(m - 1, k)) / math.comb(n, k)
        gap = (high - low) / (k - 1)
        begin = chosen(self.review).get(name)
        kept = [low - gap, high + gap, *([_place(parameter, float(begin))] if begin is not None else [])]
        narrower = _between(parameter, max(0.0, min(kept)), min(1.0, max(kept)))
        if p > risk or narrower is None or _part(parameter, narrower) > WORTH:
            return None
        values = [float(value) for value in self._values(name, self._complete)[:k]]
        lie = f"the best {k} lie from {min(values):.3g} to {max(values):.3g}, as do {m - k} of the other {n - k} (p = {p:.1g})"
        return Suggestion(f"search.{name}", f"narrow {name} to {toml.entry(narrower)}", lie, narrower)

    def _drop(self, name: str, parameter: Choice, risk: float) -> Suggestion | None:
        values = self._values(name, [*self._complete, *self._others])
        best, begin = values[: _best(len(self._with(name, self._complete)))], chosen(self.review).get(name)
        worse = {}
        for choice in parameter.choice:
            mine = [place for place, value in enumerate(values) if value == choice]
            others = [place for place, value in enumerate(values) if value != choice]
            if min(len(mine), len(others)) >= GROUP and choice not in best and choice != begin:
                p = float(stats.mannwhitneyu(mine, others, alternative="greater").pvalue)
                worse.update({choice: (p, median(mine) + 1, len(mine))} if p <= risk else {})
        if not worse:
            return None
        left = parameter.model_copy(update={"choice": tuple(c for c in parameter.choice if c not in worse)})
        lie = "; ".join(
            f"{toml.value(choice)}: median place {at:g} of {len(values)} in {m} trials (p = {p:.1g})"
            for choice, (p, at, m) in worse.items()
        )
        says = f"drop {', '.join(map(toml.value, worse))} from {name}"
        return Suggestion(f"search.{name}", says, f"none among the best {len(best)}; {lie}", left)

    def _fix(self, name: str, parameter: Parameter) -> Suggestion | None:
        rows = self._with(name, self._complete)
        begin = chosen(self.review).get(name)
        every, half = (_explained(parameter, self._values(name, some)) for some in (rows, rows[: len(rows) // 2]))
        if begin is None or every is None or half is None or max(every, half) > LITTLE:
            return None
        share = self.review.importance.get(name)
        told = f"it explains at most {every:.0%} of the order of {len(rows)} trials, {half:.0%} of that of the better half (95 %)"
        more = f"; its importance is {share:.2f} of 1" if share is not None else ""
        fixed = Fixed(value=begin, when=parameter.when, per_layer=parameter.per_layer)
        return Suggestion(f"search.{name}", f"fix {name} at {_short(begin)}", told + more, fixed)

    # The budget ------------------------------------------------------------

    @cached_property
    def _top(self) -> list[Row]:
        return self._complete[: _best(len(self._complete))]

    @cached_property
    def _luck(self) -> tuple[float, str]:
        """How far apart equally good trials are, and by what that is known."""
        raced = [one.values for one in (self.review.race.finalists if self.review.race else []) if len(one.values) > 1]
        if raced:
            return float(np.mean([np.var(values, ddof=1) for values in raced]) ** 0.5), "that two seeds of the race differ by"
        return float(np.std([row.value or 0.0 for row in self._top], ddof=1)), f"that the best {len(self._top)} differ by"

    def _courses(self) -> list[list[float]]:
        """The objective of the best trials by epochs, higher is better."""
        metric = self.spec.objective.metric
        return [[self._sign * e.metrics[metric] for e in self.review.epochs.get(row.number, ())] for row in self._top]

    def of_epochs(self) -> Iterator[Suggestion]:
        """Too few or too many of them."""
        epochs, courses = self.spec.train.epochs, self._courses()
        last = epochs // 4
        if last < QUARTER or any(len(course) < epochs or not np.isfinite(course).all() for course in courses):
            return
        k, at = len(courses), [course.index(max(course)) + 1 for course in courses]
        if max(at) <= epochs // 2:
            fewer = math.ceil(1.25 * max(at))
            lie = f"the best {k} had their best epoch by epoch {max(at)} of {epochs}"
            yield Suggestion("train.epochs", f"train for {fewer} epochs instead of {epochs}", lie, fewer)
            return
        rising = sum(np.mean(c[-(last // 2) :]) > np.mean(c[-last : -(last // 2)]) for c in courses)
        gain = median(max(course) - max(course[:-last]) for course in courses)
        p, (luck, known) = float(stats.binom.sf(rising - 1, k, 0.5)), self._luck
        if p <= RISK and gain > luck:
            lie = (
                f"{rising} of the best {k} still rise in the last {last} epochs (p = {p:.1g}), which gained {gain:.2g}; "
                f"more than the {luck:.2g} {known}"
            )
            yield Suggestion("train.epochs", f"train for {2 * epochs} epochs instead of {epochs}", lie, 2 * epochs)

    def of_trials(self) -> Iterator[Suggestion]:
        """Too few or too many of them."""
        bests = [-math.inf if step.best is None else self._sign * step.best for step in curve(self.review)]
        n, last = len(bests), len(bests) // 4
        if n < len(self.review.rows):
            self.notes.append(f"{n} of {len(self.review.rows)} trials have come to their end: their number is not judged")
            return
        (late, p), (luck, known) = self._late(), self._luck
        gain, k = bests[-1] - bests[-last - 1], len(self._top)
        better = [i for i in range(n) if bests[i] > (bests[i - 1] if i else -math.inf)]
        longest = max((b - a for a, b in pairwise([-1, *better])), default=0)  # before the first nothing was good
        enough = max(last, 2 * longest)
        if p <= RISK and math.inf > gain > luck and 2 * n <= MAX_TRIALS:
            lie = (
                f"of the best {k} trials {late} came in the last quarter (p = {p:.1g}), which gained {gain:.2g}; "
                f"more than the {luck:.2g} {known}"
            )
            yield Suggestion("budget.trials", f"search {2 * n} trials instead of {n}", lie, 2 * n)
        elif better[-1] < n // 2 and better[-1] + enough < n and self.spec.budget.patience is None:
            lie = f"the best came as trial {better[-1] + 1} of {n}; before it at most {longest} went by without a better one"
            yield Suggestion("budget.patience", f"end after {enough} trials without a better one", lie, enough)

    def _late(self) -> tuple[int, float]:
        """How many of the best came in the last quarter of the complete trials, and how probable so many are by chance."""
        order = sorted(self._complete, key=lambda row: (row.ended or 0.0, row.number))
        quarter = {row.number for row in order[-(len(order) // 4) :]}
        late = sum(row.number in quarter for row in self._top)
        return late, float(stats.hypergeom.sf(late - 1, len(order), len(quarter), len(self._top)))


def _tests(parameter: Parameter) -> int:
    """How many ways there are to be wrong about it."""
    return len(parameter.choice) + 2 * _is_list_of_numbers(parameter) if isinstance(parameter, Choice) else 3


def _gathered(near: Sequence[bool], k: int, where: str, risk: float) -> str:
    """In words that most of the best `k` are near, if that is more than chance; empty if not."""
    hits, m, n = sum(near[:k]), sum(near), len(near)
    p = float(stats.hypergeom.sf(hits - 1, n, m, k))
    if 2 * hits <= k or p > risk:
        return ""
    return f"{hits} of the best {k} {where}, of the other {n - k} trials {m - hits} (p = {p:.1g})"


def _short(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else toml.value(value)


def _best(count: int) -> int:
    return min(BEST[1], max(BEST[0], count // 10))


# Ranges ------------------------------------------------------------


def _ends(parameter: Numeric) -> tuple[float, float]:
    return parameter.int if isinstance(parameter, IntRange) else parameter.float


def _place(parameter: Numeric, value: float) -> float:
    """Where in its range a value lies, from 0 to 1 on its scale."""
    low, high = _ends(parameter)
    return math.log(value / low) / math.log(high / low) if parameter.log else (value - low) / (high - low)


def _at(parameter: Numeric, place: float) -> float:
    low, high = _ends(parameter)
    return low * (high / low) ** place if parameter.log else low + place * (high - low)


def _part(parameter: Numeric, narrower: Numeric) -> float:
    """Which part of a range a narrower one is."""
    low, high = _ends(narrower)
    return _place(parameter, high) - _place(parameter, low)


def _wider(parameter: Numeric, *, upper: bool) -> Iterator[Numeric]:
    """Wider ranges, the widest first."""
    for share in FARTHER:
        found = _between(parameter, 0.0, 1 + share) if upper else _between(parameter, -share, 1.0)
        if found is not None and _ends(found) != _ends(parameter):
            yield found


def _is_list_of_numbers(parameter: Choice) -> bool:
    return len(parameter.choice) > 2 and all(type(choice) in (int, float) for choice in parameter.choice)


def _longer(parameter: Choice, line: Sequence[float]) -> Iterator[Choice]:
    """The choice with a number more behind the end of `line`, its numbers in order: by their ratio, else by their distance.

    Where their distance leads to what is not allowed, as below 0, the ratio of the last two is next.
    """
    ratio = line[-1] / line[-2] if line[-2] else 0.0
    even = all(math.isclose(b, a * ratio) for a, b in pairwise(line))
    by_ratio, by_distance = line[-1] * ratio, 2 * line[-1] - line[-2]
    whole = all(type(choice) is int for choice in parameter.choice)
    ways = (by_ratio,) if even else (by_distance, float(f"{by_ratio:.4g}"))
    for further in (float(f"{way:.12g}") for way in ways):  # 0.4 and not 0.39999999999999997
        if further not in line and (not whole or further == int(further)):
            choices = (*parameter.choice, int(further) if whole else further)
            yield parameter.model_copy(update={"choice": tuple(sorted(choices, key=float))})


def _between(parameter: Numeric, low: float, high: float) -> Numeric | None:
    """The range between two places of this one, rounded outwards; its own ends stay as they are. None for a single value."""
    own, ends = _ends(parameter), (_at(parameter, low), _at(parameter, high))
    if (step := parameter.step) is not None:
        down, up = (math.floor((ends[0] - own[0]) / step + 1e-9), math.ceil((ends[1] - own[0]) / step - 1e-9))
        ends = own[0] + down * step, own[0] + up * step
    else:
        ends = _rounded(ends[0], math.floor), _rounded(ends[1], math.ceil)
    begin, end = (own[0] if low == 0 else ends[0]), (own[1] if high == 1 else ends[1])
    begin, end = (max(begin, own[0]) if low >= 0 else begin), (min(end, own[1]) if high <= 1 else end)
    if begin >= end or (parameter.log and begin <= 0):
        return None
    if isinstance(parameter, IntRange):
        return parameter.model_copy(update={"int": (int(begin), int(end))})
    return parameter.model_copy(update={"float": (float(begin), float(end))})


def _rounded(value: float, outwards: Callable[[float], int]) -> float:
    """To two digits."""
    if not value:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return float(f"{outwards(value / unit) * unit:.3g}")


def _allowed(spec: StudySpec, name: str, parameter: Parameter) -> bool:
    """Whether the study may search this."""
    raw = spec.model_dump(mode="json")
    try:
        parse({**raw, "search": {**raw["search"], name: parameter.model_dump(mode="json")}})
    except BadInput:
        return False
    return True


# What a parameter explains ------------------------------------------------------------


def _explained(parameter: Parameter, values: Sequence[Value]) -> float | None:
    """The most of the order of these trials, best first, that their values explain; None when too few say anything."""
    if isinstance(parameter, Numeric):
        cuts = np.quantile(np.array(values, float), [1 / 3, 2 / 3])
        labels = np.searchsorted(cuts, np.array(values, float), side="left")
    else:
        labels = np.unique([str(value) for value in values], return_inverse=True)[1]
    counts = np.bincount(labels)
    kept = np.isin(labels, np.flatnonzero(counts >= GROUP))
    ranks, labels = np.flatnonzero(kept).astype(float), labels[kept]
    groups = [ranks[labels == label] for label in np.unique(labels)]
    within = float(sum(((group - group.mean()) ** 2).sum() for group in groups))
    if len(groups) < 2 or not within:
        return None
    between = float(((ranks - ranks.mean()) ** 2).sum()) - within
    df, n = (len(groups) - 1, len(ranks) - len(groups)), len(ranks)
    f = (between / df[0]) / (within / df[1])
    apart = float(ncfdtrinc(*df, RISK, f)) if stats.f.cdf(f, *df) > RISK else 0.0
    return apart / (apart + n)
