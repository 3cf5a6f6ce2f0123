"""What a study found, in memory: the order of merit, pandas frames, a real Optuna study, the numbers of its outcome."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import optuna.study
import pandas as pd
from optuna.importance import get_param_importances
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.dimension import Dimension
from tuner.errors import BadInput
from tuner.pareto import front
from tuner.race import Result, result
from tuner.search import directions, frozen_trials
from tuner.space import Space
from tuner.spec import Fixed, StudySpec
from tuner.spec.aims import Constraint, violated
from tuner.store import Row, Store, Study
from tuner.trial import Epoch, State

DATABASE = "sqlite:///.tuner/tuner.db"
OWN_COLUMNS = ("number", "state", "value", "epochs", "seconds", "attempts", "failure", "message", "parameters")


@dataclass(frozen=True)
class Ranked:
    """A complete trial in the order of merit; equal values share a rank, and the next one leaves as many out.

    `broken` are the constraints that it does not keep to.
    """

    rank: int
    value: float
    row: Row
    broken: Sequence[Constraint] = ()


def leaderboard(study: Study, rows: Iterable[Row], n: int | None = None) -> list[Ranked]:
    """The complete trials, best by the metric first; of equal ones those that cost less in the further objectives, then the lower
    number. The first `n` of them.

    Those that break a constraint stand behind all others.
    """
    spec = study.spec
    sign = -1 if spec.objective.maximise else 1
    done = [(row.value, row) for row in rows if row.state is State.COMPLETE and row.value is not None]
    broken = {row.number: violated(spec.constraints, row.costs) for _, row in done}

    def merit(entry: tuple[float, Row]) -> tuple[float, ...]:
        value, row = entry
        return (bool(broken[row.number]), sign * value, *(row.costs[name] for name in spec.objective.further), row.number)

    done.sort(key=merit)
    first_with: dict[tuple[bool, float], int] = {}
    ranked = [
        Ranked(first_with.setdefault((bool(broken[row.number]), value), place), value, row, broken[row.number])
        for place, (value, row) in enumerate(done, 1)
    ]
    return ranked[:n]


def best(study: Study, rows: Iterable[Row]) -> Ranked:
    """The best complete trial that keeps to the constraints. Raises `BadInput` when there is none."""
    for first in leaderboard(study, rows, 1):
        if first.broken:
            raise BadInput(f"{study.name}: no complete trial keeps to {', '.join(map(str, study.spec.constraints))}")
        return first
    raise BadInput(f"{study.name}: no trial has completed yet")


@dataclass(frozen=True)
class Totals:
    """A study in figures; `seconds` is from the first start to the last end, `failures` counts the failed trials by kind."""

    states: Mapping[State, int]
    failures: Mapping[str, int]
    epochs: int
    seconds: float
    per_hour: float


def totals(rows: Sequence[Row]) -> Totals:
    """Count a study together. Trials an hour are those that trained and ended; cancelled ones count for nothing."""
    states = Counter(row.state for row in rows)
    started = [row.started for row in rows if row.started is not None]
    ended = [row.ended for row in rows if row.ended is not None and row.started is not None]
    seconds = max(0.0, max(ended) - min(started)) if ended else 0.0
    through = states[State.COMPLETE] + states[State.PRUNED] + states[State.FAILED]
    return Totals(
        states={state: states[state] for state in State},
        failures=Counter(row.failure.value for row in rows if row.failure is not None),
        epochs=sum(row.epoch for row in rows),
        seconds=seconds,
        per_hour=3600 * through / seconds if seconds else 0.0,
    )


@dataclass(frozen=True, repr=False)
class Review:
    """A study with everything that was recorded of it, as it was when it was loaded; `race` once one has begun."""

    study: Study
    rows: Sequence[Row]
    epochs: Mapping[int, Sequence[Epoch]]
    race: Result | None = None

    def __repr__(self) -> str:
        return f"<Review of {self.study.name!r}: {len(self.ranked)} of {len(self.rows)} trials complete>"

    @cached_property
    def space(self) -> Space:
        """The search space."""
        return Space(self.study.spec)

    @cached_property
    def ranked(self) -> list[Ranked]:
        """All complete trials, best first."""
        return leaderboard(self.study, self.rows)

    @property
    def best(self) -> Ranked:
        """The best complete trial. Raises `BadInput` when there is none."""
        return best(self.study, self.rows)

    @cached_property
    def varied(self) -> list[Dimension]:
        """The parameters in which trials can differ, in the order of the space: a fixed one only when it has a condition."""
        return [d for d in self.space.dimensions if d.parents or not isinstance(d.parameter, Fixed)]

    @cached_property
    def trials(self) -> list[FrozenTrial]:
        """Every trial as Optuna's own, under our number; one that has no parameters yet is a bare placeholder.

        Of several objectives these have the first, which is what plots and importance are of; of constraints they know nothing.
        """
        spec = self.study.spec
        return self._frozen(spec.model_copy(update={"objective": spec.objective.alone, "constraints": ()}))

    @cached_property
    def optuna(self) -> optuna.study.Study:
        """A real Optuna study in memory with all trials, with every objective and with constraints."""
        if not self.study.spec.costs:
            return optuna_study(self.study, self.trials)
        made = optuna.study.create_study(study_name=self.study.name, directions=directions(self.study.spec))
        made.add_trials(self._frozen(self.study.spec))
        return made

    @cached_property
    def front(self) -> list[Row]:
        """The Pareto front, the best by the metric first."""
        return front(self.study.spec, self.rows)

    def _frozen(self, spec: StudySpec) -> list[FrozenTrial]:
        frozen = {trial.number: trial for trial in frozen_trials(spec, self.rows, self.epochs)}
        return [_with_facts(frozen.get(row.number) or placeholder(row.state), row) for row in self.rows]

    @cached_property
    def importance(self) -> dict[str, float]:
        """The share of each parameter in what makes a trial good, largest first; empty when nothing can be said.

        By PED-ANOVA, Optuna's default: how differently the best tenth of the trials chose the parameter.
        """
        values = {entry.value for entry in self.ranked}
        if len(values) < 2 or len(self.space.free) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that few trials say little is said in the report
            shares = get_param_importances(optuna_study(self.study, self.trials))
        return {name: shares[name] for name in sorted(self.space.free.keys() & shares, key=lambda name: (-shares[name], name))}

    @cached_property
    def frame(self) -> Any:
        """One row per trial, one column per hyper-parameter behind our own; `seconds` is the time spent in its epochs.

        A hyper-parameter that is called as one of our columns gets the prefix `params_`.
        """
        own: dict[str, list[Any]] = {
            "number": [row.number for row in self.rows],
            "state": [row.state.value for row in self.rows],
            "value": [row.value for row in self.rows],
            "epochs": [row.epoch for row in self.rows],
            "seconds": [sum(e.seconds for e in self.epochs.get(row.number, ())) for row in self.rows],
            "attempts": [row.attempts for row in self.rows],
            "failure": [row.failure and row.failure.value for row in self.rows],
            "message": [row.message for row in self.rows],
            "parameters": [row.parameters for row in self.rows],
            **{name: [row.costs.get(name) for row in self.rows] for name in self.study.spec.other_costs},
        }
        return pd.DataFrame(own | self._columns(self.rows)).astype({"value": "float64"})

    @cached_property
    def curves(self) -> Any:
        """One row per epoch: trial, epoch, the metrics, and the seconds it took."""
        records = [
            {"trial": e.number, "epoch": e.epoch, **e.metrics, "seconds": e.seconds}
            for epochs in self.epochs.values()
            for e in epochs
        ]
        return pd.DataFrame(records) if records else pd.DataFrame(columns=["trial", "epoch", "seconds"])

    def leaderboard(self, n: int | None = 20) -> Any:
        """The first `n` complete trials: rank, number, value, weights, and the hyper-parameters in which trials differ."""
        ranked = self.ranked[:n]
        own: dict[str, list[Any]] = {
            "rank": [entry.rank for entry in ranked],
            "number": [entry.row.number for entry in ranked],
            "value": [entry.value for entry in ranked],
            "parameters": [entry.row.parameters for entry in ranked],
            **{name: [entry.row.costs.get(name) for entry in ranked] for name in self.study.spec.other_costs},
        }
        return pd.DataFrame(own | self._columns([entry.row for entry in ranked]))

    def _columns(self, rows: Iterable[Row]) -> dict[str, list[Any]]:
        given = [row.params or {} for row in rows]
        names = [d.name for d in self.space.dimensions]
        return {
            f"params_{n}" if n in (*OWN_COLUMNS, *self.study.spec.other_costs) else n: [params.get(n) for params in given]
            for n in names
        }


def placeholder(state: State) -> FrozenTrial:
    """A trial without parameters, which keeps the numbers of the others in step."""
    waits = state in (State.QUEUED, State.RUNNING)
    return create_trial(state=TrialState.WAITING if waits else TrialState.FAIL)


def optuna_study(study: Study, trials: Iterable[FrozenTrial]) -> optuna.study.Study:
    """An Optuna study in memory of these trials by the metric alone; they are numbered from 0 in their order."""
    made = optuna.study.create_study(study_name=study.name, direction=directions(study.spec)[0])
    made.add_trials(trials)
    return made


def _with_facts(trial: FrozenTrial, row: Row) -> FrozenTrial:
    """Give an Optuna trial the times of its row, and what Optuna has no place for as user attributes."""
    if row.started is not None and trial.state is not TrialState.WAITING:
        trial.datetime_start = datetime.fromtimestamp(row.started)  # Optuna's times are naive and local
    if row.ended is not None:
        trial.datetime_complete = datetime.fromtimestamp(row.ended)
        trial.datetime_start = trial.datetime_start if row.started is not None else trial.datetime_complete
    facts = {"state": row.state.value, "attempts": row.attempts, "parameters": row.parameters, "message": row.message}
    trial.user_attrs = facts | ({"failure": row.failure.value} if row.failure is not None else {})
    return trial


def load(store: Store, study: Study) -> Review:
    """Read everything of a study."""
    return Review(study, store.trials(study), store.epochs(study), result(store, study))


def open_study(store: Store, name: str) -> Review:
    """The study of that name. Raises `UnknownStudy`."""
    return load(store, store.study(name))


def study(name: str, db: str = DATABASE) -> Review:
    """The study of that name in a database; for notebooks. Raises `BadInput` when there is none."""
    store = Store(db)
    try:
        if store.version() is None:
            raise BadInput(f"--db: {store.url.render_as_string()} holds no studies")
        return open_study(store, name)
    finally:
        store.close()


def sample(ranked: Sequence[Ranked], most: int) -> set[int]:
    """The numbers of `most` complete trials: a quarter are the best, the others stand evenly over the ranks."""
    top = ranked[: most // 4]
    rest = ranked[len(top) :]
    step = max(1.0, len(rest) / (most - len(top)))
    picked = [rest[int(i * step)] for i in range(min(len(rest), most - len(top)))]
    return {entry.row.number for entry in (*top, *picked)}
