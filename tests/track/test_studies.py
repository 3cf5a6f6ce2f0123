"""The view of a study in MLflow: what was asked and found, its race, its report and winner, how busy its workers were."""

import hashlib
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import study_spec
from tests.track.studies import MARKS, STARTED, Mlflow, begin, complete, scored, train
from tuner import provenance, race, track
from tuner import spec as specs
from tuner.store import Lifetime, Store, Study
from tuner.track import Forwarder, counters
from tuner.trial import Failure, Outcome, State

pytestmark = MARKS


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
