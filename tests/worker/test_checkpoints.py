"""Checkpoints, and the folders they lie in."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import study_spec
from tests.worker.supervising import run, supervisor, whole
from tuner.errors import BadInput
from tuner.store import Progress, Store
from tuner.trial import Checkpoint, State


def test_checkpoints_of_ended_trials_are_removed(tables: Store, tmp_path: Path) -> None:
    folder, most = tmp_path / "checkpoints", 0

    def count() -> None:
        nonlocal most
        most = max(most, len(list(folder.rglob("*.json"))))

    record = tables.record

    def counting(progress: list[Progress], ttl: float) -> None:
        record(progress, ttl)
        count()

    tables.record = counting  # type: ignore[method-assign,assignment]
    run(tables, tmp_path, train={"epochs": 5, "checkpoint_seconds": 0.0})
    assert most == 3  # the newest two, and the one before them until the newest is on record
    assert not list(folder.rglob("*"))


def test_draining_saves_and_releases_and_the_next_run_goes_on(tables: Store, tmp_path: Path) -> None:
    spec = study_spec(train={"epochs": 200}, budget=1)
    study = tables.launch(spec, 1, {})
    first = supervisor(tables, study, tmp_path)
    record = tables.record

    def drain_at_fifty(progress: list[Progress], ttl: float) -> None:
        record(progress, ttl)
        if any(epoch.epoch == 50 for item in progress for epoch in item.epochs):
            first.drain()

    tables.record = drain_at_fifty  # type: ignore[method-assign,assignment]
    first.work(lambda: None)
    (row,) = tables.trials(study)
    assert (row.state, row.epoch, row.crashes) == (State.QUEUED, 50, 0)
    assert row.checkpoint is not None
    assert row.checkpoint.epoch == 50
    supervisor(tables, study, tmp_path).work(lambda: None)
    (row,) = tables.trials(study)
    assert (row.state, row.epoch, row.attempts) == (State.COMPLETE, 200, 2)
    whole(tables.epochs(study)[0], row)


@pytest.mark.parametrize("damage", [b"", b"{}", None])
def test_a_damaged_checkpoint_is_never_loaded_and_the_trial_begins_anew(
    tables: Store, tmp_path: Path, damage: bytes | None
) -> None:
    study = tables.launch(study_spec(budget=1), 1, {})
    taken = tables.claim(study, "a", 30.0)
    assert taken is not None
    path = tmp_path / "0-2.json"
    path.write_bytes(b'{"number": 0, "epoch": 2, "sum": 99.0}')
    tables.propose(taken[0], {"width": 8, "optimizer": "sgd", "learning_rate": 0.01}, {})
    tables.record([Progress(taken[0], checkpoint=Checkpoint(path, 2, "0" * 64))], 30.0)
    tables.release(taken[0])
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    supervisor(tables, study, tmp_path).work(lambda: None)
    (row,) = tables.trials(study)
    assert row.state is State.COMPLETE
    whole(tables.epochs(study)[0], row)


def test_a_damaged_checkpoint_is_replaced_by_the_one_before_and_homes_may_have_any_path(tables: Store, tmp_path: Path) -> None:
    spec = study_spec(train={"epochs": 40, "checkpoint_seconds": 0.0}, budget=1)
    study = tables.launch(spec, 1, {})
    first, home = supervisor(tables, study, tmp_path / "one"), tmp_path / "two"
    first.leave = lambda worker: tables.trials(study)[0].epoch >= 20
    first.work(lambda: None)
    (row,) = tables.trials(study)
    assert row.checkpoint is not None
    assert row.previous is not None
    assert row.checkpoint.epoch > row.previous.epoch > 10
    (tmp_path / "one").rename(home)
    (home / row.checkpoint.path).write_bytes(b"{}")
    second = supervisor(tables, study, home)
    second.work(lambda: None)
    (row,) = tables.trials(study)
    assert (row.state, row.epoch, row.attempts) == (State.COMPLETE, 40, 2)
    whole(tables.epochs(study)[0], row)
    assert "goes on from an older state" in (home / "logs" / f"{second.worker.name}.log").read_text()


def test_a_disk_that_takes_nothing_stops_no_trial_and_is_reported(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(train={"epochs": 40, "checkpoint_seconds": 0.0}, budget=1), 1, {})
    working = supervisor(tables, study, tmp_path)
    record = tables.record

    def break_disk(progress: list[Progress], ttl: float) -> None:
        record(progress, ttl)
        if tables.trials(study)[0].epoch == 10:
            (tmp_path / study.folder).rename(tmp_path / "gone")

    tables.record = break_disk  # type: ignore[method-assign,assignment]
    working.work(lambda: None)
    (row,) = tables.trials(study)
    assert (row.state, row.epoch, row.attempts) == (State.COMPLETE, 40, 1)
    whole(tables.epochs(study)[0], row)
    assert working.worker.message.startswith("trial 0 is not saved: ")


@pytest.mark.parametrize("said", ["", "; trial 0 is not saved: "])
def test_what_was_wrong_before_is_said_beside_what_is_not_saved(tables: Store, tmp_path: Path, said: str) -> None:
    study = tables.launch(study_spec(train={"epochs": 9, "checkpoint_seconds": 0.0}, budget=1), 1, {})
    working = supervisor(tables, study, tmp_path)
    working.worker = replace(working.worker, message="other cannot be begun here")
    working.leave = lambda worker: bool(said and shutil.rmtree(tmp_path / worker._folder, ignore_errors=True))
    working.work(lambda: None)
    assert working.worker.message.startswith(f"other cannot be begun here{said}")
    assert ("not saved" in working.worker.message) == bool(said)


def test_a_paused_study_is_left_with_its_trials_saved(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(train={"epochs": 4_000}, budget=1), 1, {})
    leaving = supervisor(tables, study, tmp_path)
    leaving.ttl = 0.5
    record = tables.record

    def pause(progress: list[Progress], ttl: float) -> None:
        record(progress, ttl)
        if progress and not tables.study("small").paused:
            tables.pause(study, paused=True)

    tables.record = pause  # type: ignore[method-assign,assignment]
    leaving.work(lambda: None)
    (row,) = tables.trials(study)
    assert (row.state, row.crashes) == (State.QUEUED, 0)
    assert row.checkpoint is not None
    assert row.checkpoint.epoch == row.epoch > 0


def test_a_home_that_takes_no_folders_is_said_in_one_line_and_costs_no_attempt(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(), 2, {})
    home = tmp_path / "home"
    home.write_text("a file")
    with pytest.raises(BadInput, match=r"^--home: .*home/checkpoints.* cannot be made: Not a directory$"):
        supervisor(tables, study, home).work(lambda: None)
    home.unlink()
    home.mkdir()
    (home / "logs").write_text("a file")
    with pytest.raises(BadInput, match=r"^--home: .*home/logs cannot be made: File exists$"):
        supervisor(tables, study, home).work(lambda: None)
    assert [row.attempts for row in tables.trials(study)] == [0, 0]
