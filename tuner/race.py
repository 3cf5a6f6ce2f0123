"""The final race: which configuration is best, how good it is, and how much of the search's best value was luck.

A search shows many configurations to one validation split, each with one seed, and keeps the best: that value is too good. So
when its trials have ended, two stages follow, each a row of `study` with trials of its own (`tuner.store.stages`); whatever holds
of trials, budget, leases and checkpoints, holds of theirs, and none is counted among the trials of the search::

    search ──▶ race ──▶ test

    race    the best distinct configurations, the finalists, are trained to the last epoch on fresh seeds, common to all of them,
            so that they are compared in pairs. Trial s F + f of F finalists is finalist f on seed s: trained one after the other,
            every finalist has been tried once before one is tried twice. Who cannot win any more is dropped (`tuner.interval`),
            and who fails on a seed is out. A run's value is its best epoch's, as in the search.
            In a study with several objectives the finalists are the first of the Pareto front, those that are best by the metric,
            which is what they race for; one that ties with the winner and costs less is as good an answer. None is dropped, so
            that the metric of each is known as well as the winner's. Only trials that keep to the constraints are finalists.
            Where the values of a parameter are ranked (`rank` in the study file), the finalists are the best configuration of
            each value that has one, and nobody is dropped for being worse, so that the interval of the last rests on as many
            seeds as the first's. What is ranked is what the search made of each value in its share of the trials: the intervals
            know the luck of seeds, not that of the search.
    test    the winner, which has the best mean, is trained once more, on a seed of its own and for as many epochs as were best in
            the race (their median), and scored on the test split. Nobody has seen these rows before: a training process is given
            them in this stage alone (`tuner.final`).

A new seed means other initial weights, dropout masks and augmentations. The split stays, and with it the order of the rows: any
one of the sources of randomness gives about the spread of all (Summers and Dinneen 2021, "Nondeterminism and instability in
neural network optimization").

A study that is extended gets another race when it has ended again; `Result.looks` says how often the test split was scored.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median_low
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner import interval
from tuner.interval import Interval
from tuner.packing import Packing, abreast, planned
from tuner.pareto import distinct, feasible, front
from tuner.space import Space
from tuner.spec import MAX_TRIALS, BudgetSpec, PrunerSpec, SamplerSpec, StudySpec, values
from tuner.store import Plan, Row, Stage, Store, Study
from tuner.trial import Checkpoint, Epoch, Params, State, Value, ended, trial_seed

DROPPED = "cannot win the race any more"


@dataclass(frozen=True)
class Finalist:
    """A configuration in the race: its trial of the search with its value there, and how it did on fresh seeds.

    `fate` is `winner`, `tie`, `behind`, `dropped`, `failed`, or `racing` while it is not known; `reason` is what is known of a
    failure. `interval` is for 95 %, and None for fewer than two results. `costs` are those of its trial. `value` is the one that
    it stands for where values are ranked, `places` the best and the worst place that it may truly have among those that are not
    out.
    """

    trial: int
    searched: float
    params: Params
    values: Sequence[float]
    fate: str
    reason: str
    interval: Interval | None
    costs: Mapping[str, float] = field(default_factory=dict)
    value: Value | None = None
    places: tuple[int, int] | None = None

    @property
    def label(self) -> str:
        """What it is called: by its value if values are ranked, and by its trial."""
        return f"trial {self.trial}" if self.value is None else f"{self.value} (trial {self.trial})"

    @property
    def mean(self) -> float | None:
        """The mean of its results; None while there is none."""
        return float(np.mean(self.values)) if self.values else None


@dataclass(frozen=True)
class Score:
    """What the winner reached on the test split; `failure` says why there is no value.

    `model` is the winner that was scored, a file below a worker's home; None when it could not be kept.
    """

    metric: str
    value: float | None
    interval: Interval | None
    epochs: int
    failure: str
    model: Checkpoint | None = None


class Race:
    """The rows of a race, seen as the results of its finalists. Shapes: F finalists, S seeds."""

    def __init__(self, study: Study, rows: Sequence[Row]) -> None:
        self.study, self.rows = study, rows
        self.F = len(study.facts["finalists"])
        self.S = study.trials // self.F
        self._maximise = study.spec.objective.maximise
        self._ranked = study.facts.get("rank")

    def of(self, finalist: int) -> list[Row]:
        """Its runs, by seed."""
        return [self.rows[seed * self.F + finalist] for seed in range(self.S)]

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """The results [F, S]; NaN where there is none."""
        found = [[row.value if row.state is State.COMPLETE else None for row in self.of(f)] for f in range(self.F)]
        return np.array(found, np.float64)

    def _out(self, finalist: int) -> str:
        states = {row.state for row in self.of(finalist)}
        return "failed" if State.FAILED in states else "dropped" if states & {State.PRUNED, State.CANCELLED} else ""

    @cached_property
    def _racing(self) -> list[int]:
        return [finalist for finalist in range(self.F) if not self._out(finalist)]

    def hopeless(self) -> list[int]:
        """The trials, not ended yet, of finalists that failed on a seed or cannot win any more."""
        lost = {f for f in range(self.F) if self._out(f)}
        if self._racing and self._ranked is None and not self.study.facts.get("further"):
            lost |= set(interval.hopeless(self.values, self._racing, maximise=self._maximise))
        return [row.number for f in lost for row in self.of(f) if not row.state.ended]

    @property
    def winner(self) -> int | None:
        """The finalist with the best mean; None while the race is on, or when nobody is left."""
        return self._best[0] if self._best else None

    @cached_property
    def _best(self) -> list[int]:
        """The winner, and those that cannot be told from it."""
        if not self._racing or not all(row.state.ended for row in self.rows):
            return []
        places = interval.tied(self.values[self._racing], maximise=self._maximise)
        return [self._racing[place] for place in places]

    @cached_property
    def _places(self) -> dict[int, tuple[int, int]]:
        """Of those that were not out, once the race is over, if they are ranked."""
        if self._ranked is None or not self._best:
            return {}
        return dict(zip(self._racing, interval.places(self.values[self._racing], maximise=self._maximise), strict=True))

    def finalists(self) -> list[Finalist]:
        """All of them: the winner, the others by their means, those that were dropped, those that failed."""
        sign = -1 if self._maximise else 1
        found = [self._finalist(f) for f in range(self.F)]
        order = {"winner": 0, "dropped": 2, "failed": 3}
        return sorted(found, key=lambda one: (order.get(one.fate, 1), math.inf if one.mean is None else sign * one.mean))

    def _finalist(self, f: int) -> Finalist:
        runs, values = self.of(f), self.values[f][~np.isnan(self.values[f])]
        around = interval.of_mean(values) if len(values) > 1 else None
        fate = self._out(f) or ("tie" if f in self._best else "behind" if self._best else "racing")
        if f == self.winner:
            fate, around = "winner", interval.of_winner(values, self.F, maximise=self._maximise)
        return Finalist(
            trial=self.study.facts["finalists"][f],
            searched=self.study.facts["searched"][f],
            params=runs[0].params or {},
            values=values.tolist(),
            fate=fate,
            reason=next((row.message for row in runs if row.state is State.FAILED), ""),
            interval=around,
            costs=self.study.facts["costs"][f] if "costs" in self.study.facts else {},
            value=None if self._ranked is None else (runs[0].params or {})[self._ranked],
            places=self._places.get(f),
        )


@dataclass(frozen=True)
class Result:
    """What is known of a study's race: the finalists, and the score once there is one.

    `stage` is the id of its row, `looks` how often the test split was scored, with earlier races; `over` says that nothing is
    trained any more. `ranked` is the parameter whose values are ranked, empty without; `absent` are those of them that no trial
    of the search completed.
    """

    metric: str
    stage: int
    ended: int
    runs: int
    finalists: Sequence[Finalist]
    score: Score | None
    looks: int
    over: bool
    ranked: str = ""
    absent: Sequence[Value] = ()

    @property
    def winner(self) -> Finalist | None:
        """None while the race is on, or when nobody is left."""
        return next((one for one in self.finalists if one.fate == "winner"), None)

    @property
    def ties(self) -> list[Finalist]:
        """Those that cannot be told from the winner."""
        return [one for one in self.finalists if one.fate == "tie"]


def result(store: Store, study: Study) -> Result | None:
    """The race of a study, as far as it has come; None when none has begun."""
    stage = store.next(study)
    if stage is None:
        return None
    race, test = Race(stage, store.trials(stage)), store.next(stage)
    finalists, rank = race.finalists(), study.spec.rank
    scored = (past for past in store.stages(study) if past.stage is Stage.TEST)
    return Result(
        metric=study.spec.objective.metric,
        stage=stage.id,
        ended=sum(row.state.ended for row in race.rows),
        runs=len(race.rows),
        finalists=finalists,
        score=_score(store, test),
        looks=sum(store.counts(past)[State.COMPLETE] for past in scored),
        over=all(its.followed and ended(store.counts(its)) == its.trials for its in (stage, test) if its),
        ranked=rank or "",
        absent=[v for v in values(study.spec.search[rank]) if all(v != one.value for one in finalists)] if rank else (),
    )


def _score(store: Store, test: Study | None) -> Score | None:
    if test is None:
        return None
    (row,) = store.trials(test)
    metric = tested(test.spec)
    if row.state is State.COMPLETE:
        last = store.epochs(test)[0][-1]
        ends = last.metrics[f"{metric}_low"], last.metrics[f"{metric}_high"]
        return Score(metric, row.value, ends, last.epoch, "", row.checkpoint)
    return Score(metric, None, None, row.epoch, row.message) if row.state.ended else None


# What comes next ------------------------------------------------------------


def following(study: Study, rows: Sequence[Row], epochs: Mapping[int, Sequence[Epoch]]) -> Plan | None:
    """The stage after one that has ended with these rows; None when there is nothing to race, or nobody to score."""
    return _race(study, rows) if study.stage is Stage.SEARCH else _test(study, Race(study, rows), epochs)


def _race(study: Study, rows: Sequence[Row]) -> Plan | None:
    spec = study.spec
    best = _finalists(spec, rows)
    if not best:
        return None
    seeds = [trial_seed(spec.seed, MAX_TRIALS + seed) for seed in range(spec.final.seeds)]
    facts = {
        **study.facts,
        "rank": spec.rank,
        "finalists": [row.number for row in best],
        "searched": [row.value for row in best],
        "seeds": [seed for seed in seeds for _ in best],
    }
    if spec.costs:
        facts |= {"further": list(spec.objective.further), "costs": [dict(row.costs) for row in best]}
    packing = Packing(Space(spec))
    lanes = planned(packing) or ("auto" if abreast(packing) > 1 else "off")
    raced = _given(spec, len(seeds) * len(best), lanes=lanes)
    return Plan(Stage.RACE, raced, facts, [row.params or {} for _ in seeds for row in best])


def _finalists(spec: StudySpec, rows: Iterable[Row]) -> list[Row]:
    """The best first, none of which breaks a constraint; or the best of each value that is ranked.

    The first of equal configurations stands for all of them; on a Pareto front, of those that are equal in every objective.
    """
    if spec.objective.further:
        return distinct(spec, front(spec, rows))[: spec.final.finalists]
    sign = -1 if spec.objective.maximise else 1
    found: dict[str, Row] = {}
    for row in sorted((row for row in rows if feasible(spec, row)), key=lambda row: (sign * (row.value or 0.0), row.number)):
        params = dict(row.params or {})
        found.setdefault(json.dumps(params if spec.rank is None else params[spec.rank], sort_keys=True), row)
    return list(found.values())[: spec.final.finalists]


def _test(study: Study, race: Race, epochs: Mapping[int, Sequence[Epoch]]) -> Plan | None:
    if race.winner is None:
        return None
    runs = race.of(race.winner)
    length = median_low(_best_epoch(study.spec, epochs[row.number]) for row in runs)
    facts = {
        **study.facts,
        "finalist": race.winner,
        "full": study.spec.train.epochs,
        "seeds": [trial_seed(study.spec.seed, MAX_TRIALS + race.S)],
    }
    return Plan(Stage.TEST, _given(study.spec, 1, epochs=length), facts, [runs[0].params or {}])


def _best_epoch(spec: StudySpec, epochs: Sequence[Epoch]) -> int:
    metric, better = spec.objective.metric, max if spec.objective.maximise else min
    finite = [epoch for epoch in epochs if math.isfinite(epoch.metrics[metric])]
    return better(finite, key=lambda epoch: epoch.metrics[metric]).epoch


def _given(spec: StudySpec, trials: int, **train: Any) -> StudySpec:
    """A study whose trials are known: nothing is sampled, pruned or stopped early, and only the metric is looked at."""
    entries = {
        "train": spec.train.model_copy(update=train),
        "sampler": SamplerSpec(name="random"),
        "pruner": PrunerSpec(name="none", from_epoch=1),
        "budget": BudgetSpec(trials=trials),
        "rank": None,
        "enqueue": (),
        "objective": spec.objective.alone,
        "constraints": (),
    }
    return spec.model_copy(update=entries)


def tested(spec: StudySpec) -> str:
    """What the objective is called on the test split."""
    return f"test_{spec.objective.metric.removeprefix('val_')}"


@dataclass(frozen=True)
class Entrant:
    """Who a trial of a race is: the finalist with this trial of the search, on its `seed`-th new seed, counted from 1."""

    trial: int
    seed: int


def entrant(study: Study, number: int) -> Entrant:
    """Who the trial of this number is in the race `study`."""
    finalists = study.facts["finalists"]
    seed, place = divmod(number, len(finalists))
    return Entrant(finalists[place], seed + 1)


def seed_of(study: Study, number: int) -> int:
    """The seed of a trial of a study or of one of its stages."""
    return trial_seed(study.spec.seed, number) if study.stage is Stage.SEARCH else int(study.facts["seeds"][number])
