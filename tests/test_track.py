"""The view in MLflow: what it shows, that showing twice adds nothing, and that nothing is lost while MLflow is away."""

import hashlib
import json
import math
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.conftest import study_spec
from tuner import failpoints, provenance, race, track
from tuner import spec as specs
from tuner.errors import BadInput, DatabaseAway, UnknownStudy
from tuner.process import here
from tuner.store import Claim, Lifetime, Progress, Store, Study
from tuner.track import Forwarder, counters
from tuner.track.door import Door, Refused, Unreachable
from tuner.track.follow import Lifeline, Presence, follow, order
from tuner.trial import Checkpoint, Epoch, Failure, Outcome, State

pytestmark = [
    pytest.mark.usefixtures("environment"),
    # MLflow 3.17 against SQLAlchemy 2.1
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
]

TTL = 30.0
STARTED = 2000.0
ALL = 3  # mlflow.entities.ViewType


@pytest.fixture(scope="session")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def study(tables: Store, request: pytest.FixtureRequest) -> Study:
    """Named after the test, because all tests share one MLflow."""
    return tables.launch(study_spec(name=request.node.name), 4, {}, now=1000.0)


@pytest.fixture
def forwarder(tables: Store, uri: str) -> Iterator[Forwarder]:
    opened = Forwarder(tables, uri)
    yield opened
    opened.close()


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


@pytest.fixture
def mlflow(uri: str) -> Mlflow:
    return Mlflow(uri)


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


# What is shown ------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "status", "tags"),
    [
        (Outcome(State.COMPLETE, value=0.2), "FINISHED", {"state": "complete"}),
        (Outcome(State.PRUNED, value=0.2), "FINISHED", {"state": "pruned", "pruned_at": "1"}),
        (
            Outcome(State.FAILED, failure=Failure.NON_FINITE, message="loss is nan after epoch 1"),
            "FAILED",
            {"state": "failed", "failure": "non_finite", "message": "loss is nan after epoch 1"},
        ),
        (Outcome(State.CANCELLED, message="enough"), "KILLED", {"state": "cancelled", "message": "enough"}),
    ],
)
def test_an_end_is_shown_with_its_status_its_time_and_its_reason(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow, outcome: Outcome, status: str, tags: dict[str, str]
) -> None:
    train(tables, begin(tables, study), 1, outcome)
    assert forwarder.forward(study.name) == 1
    run = mlflow.trial(study)
    assert (run.info.status, run.info.start_time, run.info.end_time) == (status, 2_000_000, 2_001_250)
    shown = {key: run.data.tags[key] for key in ("state", "failure", "message", "pruned_at") if key in run.data.tags}
    assert shown == tags
    assert run.data.metrics.get("objective") == outcome.value


def test_a_trial_shows_its_parameters_its_curves_and_whose_it_is(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow
) -> None:
    claim = begin(tables, study, {"width": 4, "learning_rate": 0.001, "optimizer": "adam", "nesterov": True})
    train(tables, claim, 1)
    train(tables, claim, 2, COMPLETE)
    forwarder.forward(study.name)
    run, parent = mlflow.trial(study), mlflow.parent(study)
    assert run.info.run_name == "trial 0"
    assert run.data.params == {"width": "4", "learning_rate": "0.001", "optimizer": "adam", "nesterov": "True"}
    assert mlflow.curve(run, "loss") == [(1, 2_001_250, 1.0), (2, 2_002_250, 0.5)]
    assert mlflow.curve(run, "objective") == [(2, 2_002_250, 0.2)]
    assert mlflow.curve(run, "parameters") == [(2, 2_002_250, 99.0)]
    assert mlflow.curve(run, "seconds") == [(2, 2_002_250, 2.25)]
    assert mlflow.curve(run, "log10 learning_rate") == [(2, 2_002_250, -3.0)]
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (run.data.tags["study"], run.data.tags["attempts"]) == (study.name, "1")


def test_a_study_shows_what_was_asked_and_how_far_it_is(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow
) -> None:
    complete(tables, study, value=0.2)
    complete(tables, study, value=0.7)
    begin(tables, study)
    forwarder.forward(study.name)
    parent = mlflow.parent(study)
    assert (parent.info.run_name, parent.info.status, parent.info.start_time) == (study.name, "RUNNING", 1_000_000)
    assert parent.data.params == {
        "model": "mlp", "data": "digits", "objective": "val_accuracy", "direction": "maximise", "sampler": "random",
        "pruner": "none", "budget": "4", "epochs": "3", "seed": "0",
    }  # fmt: skip
    counters = {"trials": "4", "complete": "2", "running": "1", "queued": "1", "best_trial": "1"}
    assert {key: parent.data.tags[key] for key in counters} == counters
    (file,) = mlflow.client.list_artifacts(parent.info.run_id)
    local = mlflow.client.download_artifacts(parent.info.run_id, file.path)
    assert (file.path, specs.load(Path(local))) == ("study.toml", study.spec)


def test_a_study_shows_where_it_was_launched(tables: Store, forwarder: Forwarder, mlflow: Mlflow) -> None:
    facts = provenance.facts(Path(__file__).parent)
    study = tables.launch(study_spec(name="launched"), 4, {"commit": "0a1b, with changes", **facts})
    forwarder.forward(study.name)
    tags = mlflow.parent(study).data.tags
    assert tags["version.numpy"] == np.__version__
    assert tags["version.python"].startswith(f"{sys.version_info[0]}.{sys.version_info[1]}.")
    assert " cores, " in tags["machine"]
    assert facts.get("commit", tags["commit"]) == tags["commit"]
    assert tags["commit"].startswith(tags["mlflow.source.git.commit"])


def test_what_the_trials_have_come_to_is_a_curve_that_does_not_depend_on_when_it_is_shown(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow
) -> None:
    first, second = begin(tables, study), begin(tables, study, now=2000.5)
    train(tables, first, 2, Outcome(State.COMPLETE, value=0.2))
    forwarder.forward(study.name)
    train(tables, second, 3, Outcome(State.COMPLETE, value=0.1))
    train(tables, begin(tables, study, now=2003.5), 4, Outcome(State.PRUNED, value=0.9))
    still = begin(tables, study, now=2003.5)
    forwarder.forward(study.name)
    train(tables, still, 8, Outcome(State.FAILED, failure=Failure.ERROR, message="no"))
    forwarder.forward(study.name)
    parent = mlflow.parent(study)

    def curves() -> dict[str, list[float]]:
        points = {key: mlflow.curve(parent, key) for key in parent.data.metrics}
        assert all([step for step, *_ in curve] == [1, 2, 3, 4] for curve in points.values()), points
        assert all([at for _, at, _ in curve] == [2_002_250, 2_003_250, 2_004_250, 2_008_250] for curve in points.values())
        return {key: [value for *_, value in curve] for key, curve in points.items()}

    assert curves() == {
        "trials/complete": [1, 2, 2, 2], "trials/pruned": [0, 0, 1, 1], "trials/failed": [0, 0, 0, 1],
        "trials/running": [1, 0, 1, 0], "best_value": [0.2, 0.2, 0.2, 0.2],
        "trials/per_hour": pytest.approx([3600 / 2.25, 7200 / 3.25, 10800 / 4.25, 14400 / 8.25]),
    }  # fmt: skip
    before = curves()
    forwarder.rebuild(study)
    assert curves() == before


def test_many_trials_have_few_points_and_every_best_value_among_them() -> None:
    ends = [Lifetime(n, State.COMPLETE, float(n == 1234) - n, 0.0, 1.0 + n) for n in range(3000)]
    points = counters.points(ends, 3000, 0, maximise=True)
    assert len(points) < 6 * 210
    assert [p.step for p in points if p.key == "best_value" and p.value == 0.0][:1] == [1]
    later = counters.points(ends[:2990], 3000, 2980, maximise=True)
    assert {point.step for point in later} == {2985, 2990}


def test_a_study_ends_with_its_last_trial_and_goes_on_when_it_is_extended(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow
) -> None:
    complete(tables, study)
    tables.stop(study, "budget.hours: 1 hours are over", now=2050.0)
    forwarder.forward(study.name)
    parent = mlflow.parent(study)
    assert (parent.info.status, parent.info.end_time, parent.data.tags["cancelled"]) == ("FINISHED", 2_050_000, "3")
    assert parent.data.tags["stopped"] == "budget.hours: 1 hours are over"
    assert len(mlflow.runs(study)) == 2  # trials that never had parameters have no run
    tables.extend(study, 1)
    forwarder.forward(study.name)
    parent = mlflow.parent(study)
    assert (parent.info.status, parent.data.tags["queued"], parent.data.tags["stopped"]) == ("RUNNING", "1", "")


def test_a_study_that_is_over_tells_what_was_asked_and_found(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow
) -> None:
    for value in (0.2, 0.7, 0.1):
        complete(tables, study, value)
    forwarder.forward(study.name)
    assert "mlflow.note.content" not in mlflow.parent(study).data.tags
    train(tables, begin(tables, study), 1, Outcome(State.FAILED, failure=Failure.ERROR, message="no"))
    forwarder.forward(study.name)
    parent = mlflow.parent(study)
    told = parent.data.tags["mlflow.note.content"]
    assert "**Asked:** which `width`, `optimizer`, `learning_rate` of `mlp` on `digits` maximises `val_accuracy`" in told
    assert "**Trials:** 3 complete, 1 failed" in told
    assert "**Best in the search:** trial 1, 0.7" in told
    table = json.loads(Path(mlflow.client.download_artifacts(parent.info.run_id, "leaderboard.json")).read_text())
    assert table["columns"] == ["trial", "objective", "epochs", "parameters", "width", "learning_rate"]
    assert [row[:2] for row in table["data"]] == [[1, 0.7], [0, 0.2], [2, 0.1]]


def test_a_study_of_several_objectives_shows_its_front_when_it_is_over(
    tables: Store, forwarder: Forwarder, mlflow: Mlflow, request: pytest.FixtureRequest
) -> None:
    aims = {"objective": ["val_accuracy", "latency_ms"], "constraints": ["parameters <= 500"]}
    study = tables.launch(study_spec(name=request.node.name[:90], budget=3, **aims), 3, {})

    def run_to_the_end(*ends: tuple[float, float]) -> dict[str, str]:
        for value, latency in ends:
            outcome = Outcome(State.COMPLETE, value=value, costs={"parameters": 99, "latency_ms": latency})
            train(tables, begin(tables, study), 1, outcome)
        forwarder.forward(study.name)
        runs = {run.info.run_name: run for run in mlflow.runs(study)}
        return {name: run.data.tags["pareto"] for name, run in runs.items() if "pareto" in run.data.tags}

    assert run_to_the_end((0.9, 0.3), (0.8, 0.2), (0.7, 0.25)) == {"trial 0": "true", "trial 1": "true"}
    tables.extend(study, 1)
    forwarder.forward(study.name)
    assert run_to_the_end((0.95, 0.3)) == {"trial 0": "false", "trial 1": "true", "trial 3": "true"}
    parent = mlflow.parent(study)
    assert (parent.data.params["further"], parent.data.params["constraints"]) == ("latency_ms", "parameters <= 500")
    assert mlflow.trial(study, 2).data.metrics["latency_ms"] == 0.25
    told = parent.data.tags["mlflow.note.content"]
    assert "maximises `val_accuracy`, minimises `latency_ms`, with `parameters <= 500`, in 4 trials" in told
    assert (
        "**Pareto front:** 2 trials of val_accuracy, latency_ms, trial 3, 0.95 (parameters 99, latency_ms 0.3) to trial 1" in told
    )
    table = json.loads(Path(mlflow.client.download_artifacts(parent.info.run_id, "pareto_front.json")).read_text())
    assert table["columns"][:5] == ["trial", "objective", "epochs", "parameters", "latency_ms"]
    assert [row[:5] for row in table["data"]] == [[3, 0.95, 1, 99, 0.3], [1, 0.8, 1, 99, 0.2]]


def test_a_race_stands_below_its_study_with_a_run_for_each_finalist_on_each_seed_and_one_for_the_score(
    tables: Store, uri: str, forwarder: Forwarder, mlflow: Mlflow, request: pytest.FixtureRequest
) -> None:
    study = tables.launch(study_spec(name=request.node.name[:90], budget=2, final={"finalists": 2, "seeds": 3}), 2, {})
    for number, value in enumerate((0.2, 0.7)):
        train(tables, begin(tables, study, {"width": 4 + number}), 1, Outcome(State.COMPLETE, value=value))
    forwarder.forward(study.name)
    assert (mlflow.parent(study).info.status, mlflow.parent(study).data.tags["race"]) == ("RUNNING", "to come")
    tables.follow(study, race.following(study, tables.trials(study), {}))
    stage = tables.next(study)
    assert stage is not None
    for value in (0.5, 0.2, 0.6, 0.2, 0.55):
        train(tables, begin(tables, stage), 1, Outcome(State.COMPLETE, value=value))
    forwarder.forward(study.name)
    train(tables, begin(tables, stage, now=STARTED + 1.5), 2, Outcome(State.COMPLETE, value=0.2))
    tables.follow(stage, race.following(stage, tables.trials(stage), tables.epochs(stage)))
    test = tables.next(stage)
    assert test is not None
    scores = {"test_accuracy": 0.5, "test_accuracy_low": 0.4, "test_accuracy_high": 0.6}
    train(tables, begin(tables, test), 1, Outcome(State.COMPLETE, value=0.5), **scores)
    assert track.lag(tables, study, uri) == 2
    forwarder.forward(study.name)
    assert track.lag(tables, study, uri) == 0

    runs = {run.info.run_name: run for run in mlflow.runs(study)}
    top, below = runs[study.name], runs["final race"]
    assert below.data.tags["mlflow.parentRunId"] == top.info.run_id
    raced = {f"finalist trial {trial}, seed {seed}" for trial in (0, 1) for seed in (1, 2, 3)}
    assert runs.keys() == {study.name, "trial 0", "trial 1", "final race", "winner, scored", *raced}
    for name in (*raced, "winner, scored"):
        assert runs[name].data.tags["mlflow.parentRunId"] == below.info.run_id
    assert runs["finalist trial 1, seed 2"].data.tags["finalist"] == "trial 1"
    assert runs["finalist trial 1, seed 2"].data.metrics["objective"] == 0.6
    assert runs["winner, scored"].data.metrics["test_accuracy_low"] == 0.4
    assert "**Found:** test: test_accuracy 0.5 (95 %: 0.4 to 0.6)" in top.data.tags["mlflow.note.content"]
    for run in (top, below):
        assert (run.info.status, run.data.tags["winner"], run.data.metrics["test_accuracy"]) == ("FINISHED", "1", 0.5)
        assert run.data.metrics["winner_mean"] == pytest.approx(0.55)
        assert run.data.tags["race"].startswith("winner: trial 1, val_accuracy 0.55 (95 %: ")
    assert (top.data.tags["complete"], top.data.tags["best_trial"], top.data.metrics["best_value"]) == ("2", "1", 0.7)

    before = mlflow.everything(study)
    forwarder.rebuild(study)
    assert mlflow.everything(study) == before


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


def test_the_report_and_the_winner_are_there_once_and_a_damaged_model_holds_up_nothing(
    tables: Store, tmp_path: Path, uri: str, mlflow: Mlflow, caplog: pytest.LogCaptureFixture
) -> None:
    study, file = scored(tables, "registered", tmp_path), tmp_path / "winner.keras"
    whole = file.read_bytes()
    file.write_text("something else")
    with closing(Forwarder(tables, uri, tmp_path)) as forwarder:
        forwarder.forward(study.name)
    assert "study registered: its winner is not registered" in caplog.text
    assert "SHA-256" in caplog.text
    assert track.lag(tables, study, uri) == 0
    client, parent = mlflow.client, next(run for run in mlflow.runs(study) if run.info.run_name == study.name).info
    report = Path(parent.artifact_uri.removeprefix("file://")) / "report.html"
    written = report.stat().st_mtime_ns
    assert {artifact.path for artifact in client.list_artifacts(parent.run_id)} == {
        "study.toml", "leaderboard.json", "report.html", "plots",
    }  # fmt: skip
    assert "plots/history.png" in {artifact.path for artifact in client.list_artifacts(parent.run_id, "plots")}

    file.write_bytes(whole)
    with closing(Forwarder(tables, uri, tmp_path)) as forwarder:
        forwarder.forward(study.name)
    assert report.stat().st_mtime_ns == written
    with closing(Forwarder(tables, uri, tmp_path)) as forwarder:
        forwarder.rebuild(study)
    assert report.stat().st_mtime_ns > written
    (version,) = client.search_model_versions("name = 'registered'")
    (below,) = [run for run in mlflow.runs(study) if run.info.run_name == "final race"]
    tags = {"tuner.study": study.identity, "study": "registered", "trial": "0"}
    assert version.tags == {**tags, "sha256": hashlib.sha256(whole).hexdigest()}
    assert (version.run_id, below.info.status) == (below.info.run_id, "FINISHED")
    assert version.description.startswith("winner: trial 0")
    assert client.get_model_version_by_alias("registered", "champion").version == version.version
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    assert logged.experiment_id == mlflow.experiment(study).experiment_id
    folder = Path(logged.artifact_location.removeprefix("file://"))
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert {"data/model.keras", "input_example.json", "requirements.txt", "MLmodel"} <= files
    assert not [name for name in files if "pickle" in name]
    assert '"shape": [-1, 3]' in (folder / "MLmodel").read_text()


def test_a_running_trial_grows_and_ends(tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow) -> None:
    claim = begin(tables, study)
    forwarder.forward(study.name)
    assert mlflow.trial(study).info.status == "RUNNING"
    assert forwarder.forward(study.name) == 0
    train(tables, claim, 1)
    forwarder.forward(study.name)
    assert mlflow.curve(mlflow.trial(study), "loss") == [(1, 2_001_250, 1.0)]
    train(tables, claim, 2, COMPLETE)
    forwarder.forward(study.name)
    run = mlflow.trial(study)
    assert mlflow.curve(run, "loss") == [(1, 2_001_250, 1.0), (2, 2_002_250, 0.5)]
    assert (run.info.status, run.data.tags["state"], run.data.metrics["objective"]) == ("FINISHED", "complete", 0.2)


def test_an_interrupted_trial_waits_and_its_next_attempt_is_the_same_run(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow
) -> None:
    claim = begin(tables, study)
    train(tables, claim, 1)
    tables.release(claim)
    forwarder.forward(study.name)
    run = mlflow.trial(study)
    assert (run.info.status, run.data.tags["state"]) == ("RUNNING", "queued")
    again = begin(tables, study)
    train(tables, again, 1)  # repeated after the restart: its first record stays
    train(tables, again, 2)
    forwarder.forward(study.name)
    same = mlflow.trial(study)
    assert (same.info.run_id, same.data.tags["state"], same.data.tags["attempts"]) == (run.info.run_id, "running", "2")
    assert [step for step, _, _ in mlflow.curve(same, "loss")] == [1, 2]


def test_a_run_that_somebody_ended_is_running_again_with_its_next_epoch(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow, uri: str
) -> None:
    claim = begin(tables, study)
    forwarder.forward(study.name)
    mlflow.client.set_terminated(mlflow.trial(study).info.run_id, "KILLED")
    train(tables, claim, 1)
    Forwarder(tables, uri).forward(study.name)
    assert mlflow.trial(study).info.status == "RUNNING"


def test_nan_stays_nan_and_infinity_is_nan_with_a_tag(tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow) -> None:
    outcome = Outcome(State.FAILED, failure=Failure.NON_FINITE, message="loss is inf after epoch 1")
    train(tables, begin(tables, study), 1, outcome, loss=math.inf, val_loss=-math.inf, val_accuracy=math.nan)
    forwarder.forward(study.name)
    run = mlflow.trial(study)
    assert all(math.isnan(run.data.metrics[key]) for key in ("loss", "val_loss", "val_accuracy"))
    assert run.data.tags["infinite"] == "loss is inf after epoch 1, val_loss is -inf after epoch 1"


def test_long_texts_are_cut_and_say_so(tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow) -> None:
    claim = begin(tables, study, {"layout": "x" * 7000})
    train(tables, claim, 1, Outcome(State.FAILED, failure=Failure.CRASHED, message="m" * 9000))
    forwarder.forward(study.name)
    run = mlflow.trial(study)
    assert run.data.params["layout"] == "x" * 5999 + "…"
    assert run.data.tags["message"] == "m" * 7999 + "…"


def test_more_epochs_and_parameters_than_fit_in_one_call_arrive(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow
) -> None:
    claim = begin(tables, study, {f"p{index}": index for index in range(150)})
    epochs = [Epoch(0, number, {"loss": 1.0, "val_loss": 2.0}, 0.1) for number in range(1, 901)]
    tables.record([Progress(claim, epochs, outcome=COMPLETE)], TTL, now=2100.0)
    forwarder.forward(study.name)
    run = mlflow.trial(study)
    assert len(run.data.params) == 150
    assert [step for step, _, _ in mlflow.curve(run, "val_loss")] == list(range(1, 901))


def test_how_busy_each_worker_was_is_a_run_of_system_metrics_below_the_study(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow, uri: str
) -> None:
    def shown(worker: str) -> Any:
        (found,) = [run for run in mlflow.runs(study) if run.info.run_name == f"worker {worker}"]
        return found

    for second in (10, 30):
        tables.sample(study, "a", {"cpu_utilization_percentage": 1.5 * second}, now=1000.0 + second)
        tables.sample(study, "o'b", {"gpu_1_utilization_percentage": 7.0}, now=1000.0 + second)
    forwarder.forward(study.name)
    run, other = shown("a"), shown("o'b")
    assert mlflow.curve(run, "system/cpu_utilization_percentage") == [(10, 1_010_000, 15.0), (30, 1_030_000, 45.0)]
    assert (run.info.start_time, run.info.end_time, run.info.status) == (1_010_000, 1_030_000, "FINISHED")
    assert list(other.data.metrics) == ["system/gpu_1_utilization_percentage"]
    (parent,) = [one for one in mlflow.runs(study) if one.info.run_name == study.name]
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id

    before = mlflow.everything(study)
    forwarder.forward(study.name)
    Forwarder(tables, uri).forward(study.name)
    forwarder.rebuild(study)
    assert mlflow.everything(study) == before

    mlflow.client.delete_run(run.info.run_id)
    tables.sample(study, "a", {"cpu_utilization_percentage": 9.0}, now=1050.0)
    tables.sample(study, "o'b", {"gpu_1_utilization_percentage": 8.0}, now=1045.0)
    forwarder.forward(study.name)
    tables.sample(study, "o'b", {"gpu_1_utilization_percentage": 9.0}, now=1049.0)  # committed later than the other's 1050
    forwarder.forward(study.name)
    assert [step for step, *_ in mlflow.curve(shown("a"), "system/cpu_utilization_percentage")] == [10, 30, 50]
    assert [step for step, *_ in mlflow.curve(shown("o'b"), "system/gpu_1_utilization_percentage")] == [10, 30, 45, 49]


# Once and only once ------------------------------------------------------------


def test_showing_everything_again_adds_nothing(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow, uri: str
) -> None:
    complete(tables, study)
    train(tables, begin(tables, study), 1, val_accuracy=math.nan)
    assert forwarder.forward(study.name) == 2
    before = mlflow.everything(study)
    assert forwarder.rebuild(study) == 2
    assert repr(mlflow.everything(study)) == repr(before)
    tables.forget(track.view(tables, uri), study)  # what a crash before the first note leaves
    assert Forwarder(tables, uri).forward(study.name) == 2
    assert repr(mlflow.everything(study)) == repr(before)
    assert track.lag(tables, study, uri) == 0


def test_a_run_made_just_before_a_crash_is_found_and_filled(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow, uri: str
) -> None:
    forwarder.forward(study.name)
    experiment = mlflow.experiment(study).experiment_id
    left = mlflow.client.create_run(experiment, tags={"tuner.study": study.identity, "trial": "0"}, run_name="trial 0")
    complete(tables, study)
    Forwarder(tables, uri).forward(study.name)
    run = mlflow.trial(study)
    assert (run.info.run_id, run.info.status, len(mlflow.curve(run, "loss"))) == (left.info.run_id, "FINISHED", 2)
    assert run.data.params == {"width": "4", "learning_rate": "0.001"}


def test_news_that_mlflow_has_and_nobody_noted_are_not_shown_twice(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow, uri: str
) -> None:
    """P6: the process ends between MLflow's answer and the note of it."""
    complete(tables, study)
    failpoints.arm("forward.answered=raise")
    with pytest.raises(DatabaseAway):
        forwarder.forward(study.name)
    failpoints.arm("")
    before = mlflow.everything(study)
    assert track.lag(tables, study, uri) == 1
    assert Forwarder(tables, uri).forward(study.name) == 1
    assert mlflow.everything(study) == before


def test_progress_is_kept_when_a_pass_is_stopped_in_the_middle(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow, uri: str
) -> None:
    for _ in range(3):
        complete(tables, study)
    answers = iter([False, True])
    assert forwarder.forward(study.name, stop=lambda: next(answers)) == 1
    assert track.lag(tables, study, uri) == 2
    assert forwarder.forward(study.name) == 2
    assert len(mlflow.runs(study)) == 4


def test_a_study_is_forwarded_by_one_process_at_a_time(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow, uri: str
) -> None:
    complete(tables, study)
    url = tables.url.render_as_string()
    code = (
        "import sys; from tuner.store import Store; from tuner.track import Forwarder\n"
        f"forwarder = Forwarder(Store({url!r}), {uri!r})\n"
        f"print(forwarder.forward({study.name!r}), flush=True)\n"
        "sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"1\n"
    complete(tables, study)
    assert forwarder.forward(study.name) == 0
    other.communicate()
    assert other.returncode == 0
    assert forwarder.forward(study.name) == 1
    assert len(mlflow.runs(study)) == 3


# Several studies ------------------------------------------------------------


def test_two_studies_are_two_experiments(tables: Store, forwarder: Forwarder, mlflow: Mlflow) -> None:
    studies = [tables.launch(study_spec(name=f"two {letter}"), 1, {}, now=1000.0) for letter in "ab"]
    for study in studies:
        complete(tables, study)
    assert forwarder.forward() == 2
    assert [mlflow.experiment(study).name for study in studies] == ["two a", "two b"]
    assert [len(mlflow.runs(study)) for study in studies] == [2, 2]


def test_a_study_of_the_same_name_in_another_database_is_kept_apart(
    tables: Store, study: Study, mlflow: Mlflow, uri: str, tmp_path: Path
) -> None:
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    other.migrate()
    namesake = other.launch(study.spec, 4, {}, now=1001.0)
    for store, owner in ((tables, study), (other, namesake)):
        complete(store, owner)
        Forwarder(store, uri).forward(owner.name)
    assert mlflow.experiment(study).name == study.name
    assert mlflow.experiment(namesake).name == f"{study.name} {namesake.identity}"
    assert len(mlflow.runs(study)) == len(mlflow.runs(namesake)) == 2
    other.close()


def test_a_removed_study_is_gone_and_its_name_is_free(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow, uri: str
) -> None:
    complete(tables, study)
    forwarder.forward(study.name)
    track.delete(tables, study, uri)
    track.delete(tables, study, uri)  # once more changes nothing
    assert mlflow.experiment(study, ALL).lifecycle_stage == "deleted"
    again = tables.launch(study.spec, 4, {}, now=3000.0)
    forwarder.forward(study.name)
    assert (mlflow.experiment(again).name, len(mlflow.runs(again))) == (study.name, 1)


def test_a_study_that_is_deleted_here_does_not_come_back_there(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow, uri: str
) -> None:
    claim = begin(tables, study)
    forwarder.forward(study.name)
    train(tables, claim, 1, COMPLETE)
    (item,) = tables.behind(track.view(tables, uri), study)
    track.delete(tables, study, uri)
    with pytest.raises(UnknownStudy):
        forwarder._show(study, item)
    assert mlflow.experiment(study, ALL).lifecycle_stage == "deleted"
    with pytest.raises(UnknownStudy):
        forwarder.forward(study.name)


# What people delete, what MLflow refuses ------------------------------------------------------------


def test_an_experiment_that_somebody_deleted_comes_back_whole(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow
) -> None:
    complete(tables, study)
    claim = begin(tables, study)
    forwarder.forward(study.name)
    mlflow.client.delete_experiment(mlflow.experiment(study).experiment_id)
    train(tables, claim, 1)
    begin(tables, study)
    assert forwarder.forward(study.name) == 2
    assert [len(mlflow.curve(mlflow.trial(study, number), "loss")) for number in range(3)] == [2, 1, 0]


def test_a_run_that_somebody_deleted_comes_back_with_its_next_epoch(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow
) -> None:
    claim = begin(tables, study)
    train(tables, claim, 1)
    forwarder.forward(study.name)
    mlflow.client.delete_run(mlflow.trial(study).info.run_id)
    train(tables, claim, 2)
    forwarder.forward(study.name)
    assert [step for step, _, _ in mlflow.curve(mlflow.trial(study), "loss")] == [1, 2]


def test_a_study_whose_rows_point_at_nothing_is_shown_anew(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow, uri: str
) -> None:
    complete(tables, study)
    claim = begin(tables, study)
    view = track.view(tables, uri)
    tables.refer(view, study, f"987654 {'0' * 32}")
    tables.shown(view, study, [(row, "1" * 32) for row in tables.trials(study) if row.params])
    train(tables, claim, 1)
    forwarder.forward(study.name)
    forwarder.forward(study.name)
    assert [len(mlflow.curve(mlflow.trial(study, number), "loss")) for number in (0, 1)] == [2, 1]


def test_a_trial_that_mlflow_refuses_holds_up_no_other(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow, uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    begin(tables, study, {"x" * 300: 1})
    complete(tables, study)
    assert forwarder.forward(study.name) == 1
    assert forwarder.forward(study.name) == 0
    assert mlflow.trial(study, 1).info.status == "FINISHED"
    assert track.lag(tables, study, uri) == 1
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "trial 0 is left out" in said


def test_a_study_that_mlflow_refuses_holds_up_no_other(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow, caplog: pytest.LogCaptureFixture
) -> None:
    tags = {"tuner.study": study.identity}
    experiment = mlflow.client.create_experiment(study.name, tags=tags)
    mlflow.client.log_param(mlflow.client.create_run(experiment, tags=tags).info.run_id, "seed", "99")
    complete(tables, study)
    other = tables.launch(study_spec(name="held up by no other"), 1, {}, now=1000.0)
    complete(tables, other)
    assert forwarder.forward() == 1
    assert forwarder.forward() == 0
    assert mlflow.parent(other).info.status == "FINISHED"
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "is left alone" in said


def test_a_pass_without_news_writes_nothing(tables: Store, study: Study, forwarder: Forwarder, uri: str) -> None:
    complete(tables, study)
    forwarder.forward(study.name)
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as other:
        before = other.execute("PRAGMA data_version").fetchone()
        forwarder.forward(study.name)
        assert other.execute("PRAGMA data_version").fetchone() == before


# When MLflow is away ------------------------------------------------------------


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_a_server_that_is_down_loses_nothing_and_hears_no_secret(tables: Store, study: Study, closed_port: int) -> None:
    complete(tables, study)
    address = f"http://me:s3cret%21@127.0.0.1:{closed_port}"
    with pytest.raises(Unreachable, match="MLflow: ") as raised:
        Forwarder(tables, address).forward(study.name)
    assert "s3cret" not in str(raised.value)
    assert track.lag(tables, study, address) == 1


def test_an_address_that_is_none_is_refused(tables: Store) -> None:
    with pytest.raises(BadInput, match="http://HOST:PORT"):
        Forwarder(tables, "mysql://somewhere")


def test_each_mlflow_has_its_own_progress(tables: Store, tmp_path: Path) -> None:
    def view(uri: str) -> str:
        return track.view(tables, uri)

    assert view("http://a:5000") == view("http://me:secret@a:5000/") != view("http://b:5000")
    assert view(f"sqlite:///{tmp_path}/mlflow.db") != view(f"sqlite:///{tmp_path}/b/mlflow.db")


def started(tables: Store, uri: str, name: str) -> "subprocess.Popen[bytes]":
    """The process that `tuner run` starts, with its order; its standard input is still open."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner.track"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **track.ENVIRONMENT},
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(order(tables.url.render_as_string(), uri, name, str(tables.url.database)))
    process.stdin.flush()
    return process


def test_the_process_waits_for_a_server_that_is_down_and_ends_with_its_lifeline(
    tables: Store, study: Study, closed_port: int
) -> None:
    complete(tables, study)
    process = started(tables, f"http://127.0.0.1:{closed_port}", study.name)
    assert process.stderr is not None
    said = [process.stderr.readline() for _ in range(2)]
    assert [b"next try in 1 s" in said[0], b"next try in 2 s" in said[1]] == [True, True], said
    _, last = process.communicate()
    assert b"given up for now" in last
    assert process.returncode == 1


def test_the_process_makes_the_database_and_ends_with_its_lifeline(tables: Store, study: Study, tmp_path: Path) -> None:
    complete(tables, study)
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    process = started(tables, uri, study.name)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert track.lag(tables, study, uri) == 0
    assert Mlflow(uri).trial(study).info.status == "FINISHED"
    with closing(sqlite3.connect(tmp_path / "new" / "mlflow.db")) as made:
        assert made.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert [file.name for file in (tmp_path / "new" / "mlartifacts").rglob("*.toml")] == ["study.toml"]


def test_after_the_lifeline_is_cut_one_more_pass_shows_the_rest(
    tables: Store, study: Study, forwarder: Forwarder, uri: str
) -> None:
    complete(tables, study)
    ours, theirs = os.pipe()
    os.close(theirs)
    assert follow(forwarder, study.name, Lifeline(ours))
    assert track.lag(tables, study, uri) == 0
    os.close(ours)


def test_a_study_that_goes_away_does_not_end_the_process(tables: Store, study: Study, forwarder: Forwarder) -> None:
    tables.delete(study)
    assert follow(forwarder, study.name, Lifeline(None), until_idle=True)


class Relay(ThreadingHTTPServer):
    """Stands before a server: it passes requests on, or loses what `loses` says, before or after the server has seen it."""

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.behind = behind
        self.loses: Callable[[str], str] = lambda _path: ""

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Passing(BaseHTTPRequestHandler):
    server: Relay

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline()
        if self.raw_requestline and self.parse_request():
            self.relay()

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        lost = self.server.loses(self.path)
        self.close_connection = True
        if lost == "request":
            return
        headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
        answer = requests.request(self.command, self.server.behind + self.path, data=body, headers=headers, timeout=60)
        if lost == "answer":
            return
        self.send_response(answer.status_code)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def relay(server: str) -> Iterator[Relay]:
    with Relay(server) as opened:
        thread = threading.Thread(target=opened.serve_forever)
        thread.start()
        yield opened
        opened.shutdown()
        thread.join()


@pytest.mark.slow
def test_a_server_that_comes_back_is_shown_everything(tables: Store, study: Study, relay: Relay, server: str) -> None:
    complete(tables, study)
    claim = begin(tables, study)
    train(tables, claim, 1)
    forwarder = Forwarder(tables, relay.uri)
    relay.loses = lambda _path: "request"
    with pytest.raises(Unreachable):
        forwarder.forward(study.name)
    relay.loses = lambda _path: ""
    mlflow = Mlflow(server)
    assert forwarder.forward(study.name) == 2
    train(tables, claim, 2, Outcome(State.FAILED, failure=Failure.OUT_OF_MEMORY, message="it was too much"))
    assert forwarder.forward(study.name) == 1
    assert [mlflow.trial(study, number).info.status for number in (0, 1)] == ["FINISHED", "FAILED"]
    assert mlflow.trial(study, 1).info.end_time == 2_002_250
    (file,) = mlflow.client.list_artifacts(mlflow.parent(study).info.run_id)
    assert file.path == "study.toml"
    before = mlflow.everything(study)
    assert forwarder.rebuild(study) == 2
    assert mlflow.everything(study) == before
    track.delete(tables, study, relay.uri)
    assert mlflow.experiment(study, ALL).lifecycle_stage == "deleted"


@pytest.mark.slow
def test_a_server_that_goes_while_it_is_sent_files_is_told_from_one_that_does_not_take_them(
    tables: Store, study: Study, relay: Relay, server: str, tmp_path: Path
) -> None:
    Forwarder(tables, relay.uri).forward(study.name)
    run, door = Mlflow(server).parent(study).info.run_id, Door(relay.uri)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "report.html").write_text("a report")
    relay.loses = lambda path: "request" if "mlflow-artifacts" in path else ""
    assert not door.upload(run, tmp_path / "files")
    seen: list[str] = []

    def gone(path: str) -> str:
        seen.append(path)
        return "request" if any("mlflow-artifacts" in path for path in seen) else ""

    relay.loses = gone
    with pytest.raises(Unreachable):
        door.upload(run, tmp_path / "files")
    relay.loses = lambda _path: ""
    assert door.upload(run, tmp_path / "files")
    assert "report.html" in {file.path for file in Mlflow(server).client.list_artifacts(run)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "which"),  # the first of a kind is of the study itself, the second of its trial
    [("experiments/create", 1), ("runs/create", 1), ("runs/create", 2), ("runs/log-batch", 2), ("runs/update", 2)],
)
def test_an_answer_that_is_lost_doubles_nothing(
    tables: Store, study: Study, relay: Relay, server: str, call: str, which: int
) -> None:
    complete(tables, study)
    answers = iter([""] * (which - 1) + ["answer"])
    relay.loses = lambda path: next(answers, "") if path.endswith(call) else ""
    forwarder = Forwarder(tables, relay.uri)
    with pytest.raises(Unreachable):
        forwarder.forward(study.name)
    forwarder.forward(study.name)
    mlflow = Mlflow(server)
    assert {run.info.run_name: run.info.status for run in mlflow.runs(study)} == {"trial 0": "FINISHED", study.name: "RUNNING"}
    assert len(mlflow.runs(study)) == 2
    assert mlflow.curve(mlflow.trial(study), "loss") == [(1, 2_001_250, 1.0), (2, 2_002_250, 0.5)]
    assert mlflow.trial(study).data.params == {"width": "4", "learning_rate": "0.001"}


def test_asking_for_the_lag_or_the_environment_does_not_load_mlflow() -> None:
    code = "import sys, tuner.track; assert tuner.track.ENVIRONMENT and tuner.track.lag; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_mlflow_refuses_is_told_from_its_absence(forwarder: Forwarder) -> None:
    with pytest.raises(Refused):
        forwarder._door.restore("0" * 32)


def test_a_tracker_is_seen_among_the_workers_with_its_trouble(tables: Store) -> None:
    presence = Presence(tables, here(device="mlflow"))
    for trouble in ("", "MLflow is away", ""):
        presence.sign(trouble)
        (seen,) = tables.workers()
        assert (seen.worker.device, seen.worker.message, seen.silent) == ("mlflow", trouble, False)
    presence.end()
    assert tables.workers() == []


def test_a_tracker_tells_what_keeps_it_from_forwarding(tables: Store, study: Study) -> None:
    ours, theirs = os.pipe()
    told: list[str] = []

    def present(trouble: str) -> None:
        told.append(trouble)
        if len(told) == 2:
            os.close(theirs)

    assert not follow(Forwarder(tables, "http://127.0.0.1:1"), study.name, Lifeline(ours), present=present)
    assert told[0] == ""
    assert all(trouble.startswith("MLflow: ") for trouble in told[1:])
    os.close(ours)
