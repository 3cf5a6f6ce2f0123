"""Studies that MLflow is shown, and what a person sees of them there."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import study_spec
from tuner import race
from tuner.store import Claim, Progress, Store, Study
from tuner.trial import Checkpoint, Epoch, Outcome, State

MARKS = [
    pytest.mark.usefixtures("environment"),
    # MLflow 3.17 against SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
]

TTL = 30.0
STARTED = 2000.0
ALL = 3  # mlflow.entities.ViewType


class Mlflow:
    """What a person sees of a study, through MLflow's own client."""

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)

    def experiment(self, study: Study, view: int = 1) -> Any:
        wanted = f"tags.`tuner.study` = '{study.identity}'"
        (found,) = self.client.search_experiments(view_type=view, filter_string=wanted)
        return found

    def runs(self, study: Study) -> list[Any]:
        return list(self.client.search_runs([self.experiment(study).experiment_id]))

    def parent(self, study: Study) -> Any:
        (found,) = [run for run in self.runs(study) if "trial" not in run.data.tags]
        return found

    def trial(self, study: Study, number: int = 0) -> Any:
        (found,) = [run for run in self.runs(study) if run.data.tags.get("trial") == str(number)]
        return found

    def curve(self, run: Any, key: str) -> list[tuple[int, int, float]]:
        return sorted((m.step, m.timestamp, m.value) for m in self.client.get_metric_history(run.info.run_id, key))

    def everything(self, study: Study) -> list[Any]:
        """Every row of a study in MLflow that a repetition could double."""
        return sorted(
            (r.info.run_name, r.info.run_id, r.info.status, sorted(r.data.params.items()), sorted(r.data.tags.items()),
             [(key, self.curve(r, key)) for key in sorted(r.data.metrics)])
            for r in self.runs(study)
        )  # fmt: skip


def begin(tables: Store, study: Study, params: dict[str, Any] | None = None, now: float = STARTED) -> Claim:
    taken = tables.claim(study, "a", TTL, now=now)
    assert taken is not None
    if taken[1].params is None:
        tables.propose(taken[0], params or {"width": 4, "learning_rate": 0.001}, {})
    return taken[0]


def train(tables: Store, claim: Claim, epoch: int, outcome: Outcome | None = None, **metrics: float) -> None:
    record = Epoch(claim.number, epoch, {"loss": 1 / epoch, "val_accuracy": epoch / 10, **metrics}, 0.5, parameters=99)
    tables.record([Progress(claim, [record], outcome=outcome)], TTL, now=STARTED + epoch + 0.25)


COMPLETE = Outcome(State.COMPLETE, value=0.2)


def complete(tables: Store, study: Study, value: float = 0.2) -> Claim:
    claim = begin(tables, study)
    train(tables, claim, 1)
    train(tables, claim, 2, Outcome(State.COMPLETE, value=value))
    return claim


def scored(tables: Store, name: str, home: Path, ends: Sequence[tuple[dict[str, Any], Outcome]] = (({}, COMPLETE),)) -> Study:
    """A study whose trials ended like this, with a winner that was scored and is kept below a home."""
    import keras

    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")]).save(home / "winner.keras")
    kept = Checkpoint(Path("winner.keras"), 1, hashlib.sha256((home / "winner.keras").read_bytes()).hexdigest())
    study = tables.launch(study_spec(name=name, budget=len(ends), final={"finalists": 1, "seeds": 3}), len(ends), {})
    stages = [study]
    seeds = [({}, Outcome(State.COMPLETE, value=value / 4)) for value in range(3)]
    for runs in (ends, seeds):
        for params, outcome in runs:
            train(tables, begin(tables, stages[-1], params), 1, outcome)
        rows, epochs = tables.trials(stages[-1]), tables.epochs(stages[-1])
        tables.follow(stages[-1], race.following(stages[-1], rows, epochs))
        stages.append(tables.stages(study)[-1])
    scores = {"test_accuracy": 0.5, "test_accuracy_low": 0.4, "test_accuracy_high": 0.6}
    train(tables, begin(tables, stages[-1]), 1, Outcome(State.COMPLETE, value=0.5, model=kept), **scores)
    return study
