"""SIGKILL at named points: whatever dies, the budget ends exactly once with the parameters and values of a quiet run."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kill import CHILD, SUPERVISOR
from tests.paper import accuracy
from tuner.store import Row, Store
from tuner.trial import Epoch


def work(folder: Path, *point: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.kill", str(folder), *point]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def outcome(folder: Path) -> list[tuple[list[Row], dict[int, list[Epoch]]]]:
    """The trials of the search, of the race and of the final score, with their epochs."""
    tables = Store(f"sqlite:///{folder / 'tuner.db'}")
    study = tables.study("small")
    found = [(tables.trials(stage), tables.epochs(stage)) for stage in [study, *tables.stages(study)]]
    tables.close()
    return found


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quiet")
    assert work(folder).returncode == 0
    return folder


def check(folder: Path, quiet: Path) -> None:
    found, expected = outcome(folder), outcome(quiet)
    assert [len(rows) for rows, _ in found] == [6, 3, 1]  # one trial lasted to the end of the search
    for (rows, epochs), (wanted, _) in zip(found, expected, strict=True):
        check_rows(rows, epochs, wanted)
    assert not list((folder / "checkpoints").rglob("*.json"))


def check_rows(rows: list[Row], epochs: dict[int, list[Epoch]], expected: list[Row]) -> None:
    assert [(r.number, r.state, r.params, r.value, r.epoch) for r in rows] == [
        (r.number, r.state, r.params, r.value, r.epoch) for r in expected
    ]
    for row in rows:
        assert row.params is not None
        assert [e.epoch for e in epochs[row.number]] == list(range(1, row.epoch + 1))
        total = 0.0
        for epoch in epochs[row.number]:
            total += accuracy(row.params, epoch.epoch)
            assert epoch.metrics["sum"] == total


@pytest.mark.parametrize("point", SUPERVISOR)
def test_a_killed_supervisor_loses_and_invents_nothing(tmp_path: Path, quiet: Path, point: str) -> None:
    killed = work(tmp_path, point, "1" if point.endswith("the launch") else "2")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = work(tmp_path)
    assert again.returncode == 0, again.stderr
    check(tmp_path, quiet)


@pytest.mark.parametrize(("point", "count"), [("in the child, before it reports", "1"), *((point, "3") for point in CHILD)])
def test_a_killed_child_loses_and_invents_nothing(tmp_path: Path, quiet: Path, point: str, count: str) -> None:
    done = work(tmp_path, point, count)
    assert done.returncode == 0, done.stderr
    check(tmp_path, quiet)
