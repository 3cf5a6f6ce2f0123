"""Two studies of one question side by side: how good the best of each is, whether that is more than chance, what they differ in.

Chance is judged twice, where there is something to judge by:

    race   the difference of the winners' means on fresh seeds. Studies of one seed and the same shares have the same rows for
           validation; of others the rows differ, which moves a mean by more than seeds do, and nothing is said.
    test   the difference of the winners' scores, whose intervals know of the rows but not of the seeds: each is one training.

A search itself is one draw: its curve says how fast the best came, not whether it would come as fast again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tuner import interval, toml
from tuner.errors import BadInput
from tuner.interval import Interval
from tuner.pareto import feasible
from tuner.race import Finalist, Score
from tuner.review.results import Ranked, Review
from tuner.spec import StudySpec
from tuner.trial import State

SHARES = (0.25, 0.5, 1.0)  # of the smaller study, at which the best so far are set side by side
FACTS = ("rows", "input_shape", "classes")  # of the data, by which other data of the same name are told


@dataclass(frozen=True)
class Step:
    """A study after so many ended trials: the seconds that their epochs took, the best value so far if there is one."""

    trials: int
    seconds: float
    best: float | None


@dataclass(frozen=True)
class Side:
    """One of the two: `best` is of its search, `winner` of its race, `score` that of the winner; `curve` has a step a trial."""

    review: Review
    best: Ranked
    curve: Sequence[Step]

    @property
    def name(self) -> str:
        """The study's name."""
        return self.review.study.name

    @property
    def winner(self) -> Finalist | None:
        """None while there is none."""
        return self.review.race.winner if self.review.race is not None else None

    @property
    def finalists(self) -> int:
        """How many were in its race."""
        return len(self.review.race.finalists) if self.review.race is not None else 0

    @property
    def score(self) -> Score | None:
        """None without a value on the test split."""
        found = self.review.race.score if self.review.race is not None else None
        return found if found is not None and found.value is not None else None

    def after(self, *, trials: int | None = None, seconds: float | None = None) -> float | None:
        """The best value when so many trials had ended, or when they had taken so long."""
        past = [s for s in self.curve if (trials is None or s.trials <= trials) and (seconds is None or s.seconds <= seconds)]
        return past[-1].best if past else None


@dataclass(frozen=True)
class Equal:
    """The best so far of both after the same effort: so many `of` trials or seconds."""

    amount: float
    of: str
    values: tuple[float | None, float | None]


@dataclass(frozen=True)
class Difference:
    """What the first is worth more than the second, in the units of `metric`; `interval` is None where nothing varied."""

    by: str
    metric: str
    value: float
    interval: Interval | None

    @property
    def beyond_chance(self) -> bool:
        """Whether both ends of the interval lie on one side of 0."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


@dataclass(frozen=True)
class Comparison:
    """Two studies of one question."""

    sides: tuple[Side, Side]

    @property
    def metric(self) -> str:
        """What both are searched for."""
        return self._spec.objective.metric

    @property
    def maximise(self) -> bool:
        """Whether more of it is better."""
        return self._spec.objective.maximise

    @property
    def question(self) -> str:
        """In words."""
        return f"{self._spec.objective.direction} {self.metric} on {self._spec.data.source}"

    @property
    def _spec(self) -> StudySpec:
        return self.sides[0].review.study.spec

    @cached_property
    def settings(self) -> Mapping[str, tuple[str | None, str | None]]:
        """What the files say otherwise: key → what stands in each, None for nothing."""
        a, b = (_settings(side.review.study.spec) for side in self.sides)
        return {key: (a.get(key), b.get(key)) for key in {**a, **b} if a.get(key) != b.get(key)}

    @cached_property
    def equal(self) -> list[Equal]:
        """The best so far after the same numbers of trials, and after the same seconds of training."""
        a, b = self.sides
        trials = min(a.curve[-1].trials, b.curve[-1].trials)
        seconds = min(a.curve[-1].seconds, b.curve[-1].seconds)
        counts = sorted({max(1, round(share * trials)) for share in SHARES})
        by_trials = [Equal(count, "trials", (a.after(trials=count), b.after(trials=count))) for count in counts]
        times = [share * seconds for share in SHARES]
        return by_trials + [Equal(t, "seconds", (a.after(seconds=t), b.after(seconds=t))) for t in times]

    @property
    def same_rows(self) -> bool:
        """Whether both have the same rows in each split."""
        first, second = (side.review.study.spec for side in self.sides)
        return (first.seed, first.data.validation, first.data.test) == (second.seed, second.data.validation, second.data.test)

    @cached_property
    def differences(self) -> list[Difference]:
        """By the race and by the test split, as far as chance can be judged."""
        return [*self._by_race(), *self._by_test()]

    def _by_race(self) -> Iterator[Difference]:
        a, b = (side.winner for side in self.sides)
        if a is None or b is None or not self.same_rows or min(len(a.values), len(b.values)) < 2:
            return
        x, y = np.array(a.values), np.array(b.values)
        counts = self.sides[0].finalists, self.sides[1].finalists
        around = interval.of_difference(x, y, counts, maximise=self.maximise)
        yield Difference("race", self.metric, float(x.mean() - y.mean()), around)

    def _by_test(self) -> Iterator[Difference]:
        a, b = (side.score for side in self.sides)
        if a is None or b is None or a.value is None or b.value is None or a.interval is None or b.interval is None:
            return
        around = interval.of_scores(a.value, a.interval, b.value, b.interval)
        yield Difference("test", a.metric, a.value - b.value, around)

    @cached_property
    def cautions(self) -> list[str]:
        """What to keep in mind."""
        return list(self._cautions())

    def _cautions(self) -> Iterator[str]:
        for side in self.sides:
            rows = side.review.rows
            ended = sum(row.state.ended for row in rows)
            if ended < len(rows):
                yield f"{side.name} is not over: {ended} of {len(rows)} trials have ended"
        unraced = [side.name for side in self.sides if side.winner is None]
        if unraced:
            yield f"{' and '.join(unraced)} had no final race: values of a search are too good, and say nothing of chance"
        if not self.same_rows:
            yield "the seeds or shares differ, and with them the rows of validation and test"
        yield "each search is one draw: another seed would draw another curve"

    def lead(self, difference: Difference) -> str:
        """Who is ahead, in words."""
        a, b = (side.name for side in self.sides)
        ahead, behind = (a, b) if (difference.value > 0) is self.maximise else (b, a)
        if difference.interval is None:
            return f"{difference.by}: {difference.value:+.4g} {difference.metric}; nothing varied, so chance cannot be judged"
        low, high = difference.interval
        verdict = f"{ahead} is better than {behind}" if difference.beyond_chance else "no more than chance can make"
        return f"{difference.by}: {difference.value:+.4g} {difference.metric} (95 %: {low:+.4g} to {high:+.4g}); {verdict}"


def compare(first: Review, second: Review) -> Comparison:
    """Two studies of one question. Raises `BadInput` when the questions differ, or one has no complete trial."""
    for problem in _problems(first, second):
        raise BadInput(f"{first.study.name} and {second.study.name}: {problem}")
    return Comparison((_side(first), _side(second)))


def _problems(first: Review, second: Review) -> Iterator[str]:
    """Why the two do not ask the same."""
    if first.study.name == second.study.name:
        yield "a study is not compared with itself; name two"
    a, b = (_question(review) for review in (first, second))
    for key in {**a, **b}:
        if a.get(key) != b.get(key):
            yield f"these ask different questions: {key} is {_word(a.get(key))} in one and {_word(b.get(key))} in the other"


def _question(review: Review) -> dict[str, Any]:
    spec, facts = review.study.spec, review.study.facts
    data = spec.data.model_dump(mode="json", include={"source", "target", "weight", "task"})
    asked = {f"objective.{key}": entry for key, entry in spec.objective.model_dump(mode="json").items()}
    asked |= {"constraints": ", ".join(map(str, spec.constraints))} if spec.constraints else {}
    return asked | {f"data.{key}": entry for key, entry in data.items()} | {f"data, {key}": facts.get(key) for key in FACTS}


def _word(content: Any) -> str:
    return "none" if content is None else str(content)


def _side(review: Review) -> Side:
    return Side(review, review.best, curve(review))


def curve(review: Review) -> list[Step]:
    """A step for each trial that ended by itself, in the order of their ends."""
    sign = -1 if review.study.spec.objective.maximise else 1
    spent = [row for row in review.rows if row.state in (State.COMPLETE, State.PRUNED, State.FAILED)]
    steps: list[Step] = []
    seconds, best = 0.0, None
    for row in sorted(spent, key=lambda row: (row.ended or 0.0, row.number)):
        seconds += sum(epoch.seconds for epoch in review.epochs.get(row.number, ()))
        if feasible(review.study.spec, row) and row.value is not None and (best is None or sign * row.value < sign * best):
            best = row.value
        steps.append(Step(len(steps) + 1, seconds, best))
    return steps


def _settings(spec: StudySpec) -> dict[str, str]:
    raw = spec.model_dump(mode="json", exclude={"name", "search"})
    found = {}
    for key, content in raw.items():
        entries = {f"{key}.{name}": entry for name, entry in content.items()} if isinstance(content, dict) else {key: content}
        found.update({name: toml.value(entry) for name, entry in entries.items() if entry not in (None, [])})
    return found | {f"search.{name}": toml.entry(parameter) for name, parameter in spec.search.items()}
