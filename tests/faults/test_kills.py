"""SIGKILL at named points (P1, P3, P4, P8): whatever dies, the budget ends exactly once, as it does in a quiet run."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.faults.history import clean, examine
from tests.faults.life import Cradle
from tests.paper import accuracy
from tests.test_cli import STUDY
from tuner.store import Row, Store
from tuner.trial import Epoch

SUPERVISOR = [
    "launch.study", "launch.rows", "launch.committed", "claim.written:2", "claim.committed:2", "proposal.drawn:2",
    "proposal.committed:2", "epoch.judged:2", "epoch.written:2", "epoch.committed:2", "checkpoint.recorded:2", "end.written:2",
    "end.committed:2", "stage.due", "stage.written", "stage.committed", "stage.committed:2",
]  # fmt: skip
CHILD = ["child.begun", "trial.added:3", "epoch.trained:3", "checkpoint.written:3", "child.reported:4"]


def outcome(folder: Path) -> list[tuple[list[Row], dict[int, list[Epoch]]]]:
    """The trials of the search, of the race and of the final score, with their epochs."""
    tables = Store(f"sqlite:///{folder / 'tuner.db'}")
    study = tables.study("small")
    stages = [study, *tables.stages(study)]
    for stage in stages:
        assert examine(folder / "history", tables, stage) == clean()
    found = [(tables.trials(stage), tables.epochs(stage)) for stage in stages]
    tables.close()
    return found


@pytest.fixture(scope="module")
def quiet(cradle: Cradle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quiet")
    life = cradle.begin(folder, "work")
    assert life.wait() == 0, life.said
    return folder


def check(folder: Path, quiet: Path) -> None:
    found, expected = outcome(folder), outcome(quiet)
    assert [len(rows) for rows, _ in found] == [6, 3, 1]  # one trial lasted to the end of the search
    for (rows, epochs), (wanted, _) in zip(found, expected, strict=True):
        check_rows(rows, epochs, wanted)
    (winner,) = found[-1][0]
    assert winner.checkpoint is not None
    assert [file for file in (folder / "checkpoints").rglob("*") if file.is_file()] == [folder / winner.checkpoint.path]


def check_rows(rows: list[Row], epochs: dict[int, list[Epoch]], expected: list[Row]) -> None:
    assert [(r.number, r.state, r.params, r.value, r.epoch) for r in rows] == [
        (r.number, r.state, r.params, r.value, r.epoch) for r in expected
    ]
    check_epochs(rows, epochs)


def check_epochs(rows: list[Row], epochs: dict[int, list[Epoch]]) -> None:
    """They are gapless, and the running sum went on from the checkpoints as if nothing had happened."""
    for row in rows:
        assert row.params is not None
        assert [e.epoch for e in epochs[row.number]] == list(range(1, row.epoch + 1))
        total = 0.0
        for epoch in epochs[row.number]:
            total += accuracy(row.params, epoch.epoch)
            assert epoch.metrics["sum"] == total


def with_kill(point: str) -> str:
    name, _, count = point.partition(":")
    return f"{name}=kill:{count or 1}"


@pytest.mark.parametrize("point", SUPERVISOR)
def test_a_killed_supervisor_loses_and_invents_nothing(cradle: Cradle, tmp_path: Path, quiet: Path, point: str) -> None:
    killed = cradle.begin(tmp_path, "work", failpoint=with_kill(point))
    assert killed.wait() == -signal.SIGKILL, killed.said
    again = cradle.begin(tmp_path, "work")
    assert again.wait() == 0, again.said
    check(tmp_path, quiet)


@pytest.mark.parametrize("point", CHILD)
def test_a_killed_child_loses_and_invents_nothing(cradle: Cradle, tmp_path: Path, quiet: Path, point: str) -> None:
    life = cradle.begin(tmp_path, "work", failpoint=with_kill(point))
    assert life.wait() == 0, life.said
    check(tmp_path, quiet)


@pytest.mark.parametrize("when", ["written", "committed"])
def test_a_supervisor_killed_while_it_gives_a_trial_back_loses_nothing(
    cradle: Cradle, tmp_path: Path, quiet: Path, when: str
) -> None:
    killed = cradle.begin(tmp_path, "work", failpoint=f"epoch.trained=kill:5,release.{when}=kill")
    assert killed.wait() == -signal.SIGKILL, killed.said
    again = cradle.begin(tmp_path, "work")
    assert again.wait() == 0, again.said
    check(tmp_path, quiet)


def test_the_child_of_a_killed_supervisor_dies_with_it(cradle: Cradle, tmp_path: Path) -> None:
    life = cradle.begin(tmp_path, "work", failpoint="epoch.committed=pause:2")
    life.wait_until_stopped()
    (child,) = psutil.Process(life.pid).children()
    os.kill(life.pid, signal.SIGKILL)
    assert life.wait() == -signal.SIGKILL
    _, alive = psutil.wait_procs([child], timeout=60)
    assert not alive


def test_a_worker_that_was_stopped_and_wakes_changes_nothing(cradle: Cradle, tmp_path: Path) -> None:
    """P5: its lease ran out meanwhile, and another worker is at its trial when it would write."""
    sleeper = cradle.begin(tmp_path, "work", "0.1", failpoint="epoch.judged=pause:11")
    sleeper.wait_until_stopped()
    other = cradle.begin(tmp_path, "work", "60.0", failpoint="epoch.judged=pause")
    other.wait_until_stopped()
    for life in (sleeper, other):
        os.kill(life.pid, signal.SIGCONT)
    for life in (sleeper, other):
        assert life.wait() == 0, life.said
    found = outcome(tmp_path)
    for rows, epochs in found:
        check_epochs(rows, epochs)
    assert max(row.attempts for rows, _ in found for row in rows) == 2
    assert '"refused"' in (tmp_path / "history").read_text()


LAUNCH = [
    "migration.written", "migration.committed", "launch.checked", "launch.study", "launch.study:2", "launch.rows",
    "launch.rows:2", "launch.committed",
]  # fmt: skip


@pytest.mark.parametrize("point", LAUNCH)
def test_an_interrupted_launch_is_whole_or_absent_and_may_be_repeated(cradle: Cradle, tmp_path: Path, point: str) -> None:
    """P8, with two files in one command."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.toml").write_text(STUDY.format(epochs=2))
    command = ("launch", "one.toml", "two.toml", "--db", ".")
    killed = cradle.begin(tmp_path, *command, failpoint=with_kill(point))
    assert killed.wait() == -signal.SIGKILL, killed.said
    tables = Store(f"sqlite:///{tmp_path / 'tuner.db'}")
    there = tables.studies() if tables.version() is not None else []
    assert [study.name for study in there] == (["one", "two"] if point == "launch.committed" else [])
    again = cradle.begin(tmp_path, *command)
    assert again.wait() == 0, again.said
    studies = tables.studies()
    assert [(study.name, len(tables.trials(study))) for study in studies] == [("one", 4), ("two", 4)]
    assert studies[: len(there)] == there
    tables.close()
