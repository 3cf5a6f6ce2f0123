"""Which checkpoints go, and in which order."""

import os
from pathlib import Path

from tests.conftest import study_spec
from tuner.store import Claim, Progress, Store, Study
from tuner.sweep import FRESH, LOGS, sweep
from tuner.trial import Checkpoint

NOW = 1_000_000.0
SIZE = 100


def save(home: Path, study: Study, name: str, age: float) -> Path:
    path = home / study.folder / "a" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * SIZE)
    os.utime(path, (NOW - age, NOW - age))
    return path


def begin(tables: Store, study: Study, home: Path) -> tuple[Claim, Path, Path]:
    """A trial with two checkpoints."""
    taken = tables.claim(study, "a", 30.0)
    assert taken is not None
    claim, kept = taken[0], []
    for epoch in (1, 2):
        name = f"{claim.number}-{epoch}"
        kept.append(save(home, study, name, 50.0 - 10 * claim.number - epoch))
        tables.record([Progress(claim, checkpoint=Checkpoint(study.folder / "a" / name, epoch, "ab"))], 30.0)
    return claim, kept[0], kept[1]


def there(paths: list[Path]) -> list[bool]:
    return [path.exists() for path in paths]


def test_files_that_no_trial_needs_go_unless_they_are_fresh_or_of_another_database(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(), 4, {})
    _, previous, newest = begin(tables, study, tmp_path)
    lost, fresh = save(tmp_path, study, "9-1", FRESH + 1), save(tmp_path, study, "9-2", FRESH - 1)
    strange = tmp_path / "checkpoints" / "of another database"
    strange.mkdir()
    (strange / "0-1").touch()
    os.utime(strange / "0-1", (0, 0))
    sweep(tables, tmp_path, 10**9, now=NOW)
    assert there([previous, newest, lost, fresh, strange / "0-1"]) == [True, True, False, True, True]


def test_logs_go_a_month_after_their_last_line(tables: Store, tmp_path: Path) -> None:
    logs = [tmp_path / "logs" / f"{age}.log" for age in ("old", "new")]
    logs[0].parent.mkdir()
    for path, age in zip(logs, (LOGS + 1, LOGS - 1), strict=True):
        path.touch()
        os.utime(path, (NOW - age, NOW - age))
    sweep(tables, tmp_path, 10**9, now=NOW)
    assert there(logs) == [False, True]


def test_over_the_budget_second_checkpoints_go_first_then_those_of_waiting_trials_and_no_running_ones(
    tables: Store, tmp_path: Path
) -> None:
    study = tables.launch(study_spec(), 4, {})
    running, waiting = begin(tables, study, tmp_path), begin(tables, study, tmp_path)
    tables.release(waiting[0])
    files = [*running[1:], *waiting[1:]]
    for budget, left in (
        (400, [True, True, True, True]),
        (399, [False, True, True, True]),
        (200, [False, True, False, True]),
        (199, [False, True, False, False]),
        (0, [False, True, False, False]),
    ):
        sweep(tables, tmp_path, budget, now=NOW)
        assert there(files) == left
