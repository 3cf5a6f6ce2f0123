"""Showing twice adds nothing, studies are kept apart, and what people delete or MLflow refuses holds up no other."""

import math
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import study_spec
from tests.track.studies import ALL, COMPLETE, MARKS, Mlflow, begin, complete, train
from tuner import failpoints, track
from tuner.errors import DatabaseAway, UnknownStudy
from tuner.store import Store, Study
from tuner.track import Forwarder

pytestmark = MARKS

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
