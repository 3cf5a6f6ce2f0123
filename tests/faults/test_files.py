"""Files after a death: tables on one host, and checkpoints (P3, P4)."""

import random
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import study_spec
from tests.faults.history import clean, examine, read
from tests.faults.life import Cradle
from tuner import checkpoints
from tuner.errors import BadCheckpoint
from tuner.store import Store
from tuner.trial import Checkpoint

WRITERS, ROUNDS, LAST_END = 8, 3, 6
BUDGET = WRITERS * ROUNDS * LAST_END


def test_tables_in_a_file_survive_the_death_of_all_who_write_them(cradle: Cradle, tmp_path: Path) -> None:
    """P4: each of eight processes that write dies inside a transaction; a copy of the files has what was acknowledged."""
    tables, draw = Store(f"sqlite:///{tmp_path / 'tuner.db'}"), random.Random(0)
    tables.migrate()
    study = tables.launch(study_spec(), BUDGET, {})
    for number in range(ROUNDS):
        names = [f"{number}-{writer}" for writer in range(WRITERS)]
        points = [f"end.written=kill:{draw.randint(2, LAST_END)}" for _ in names]
        writers = [cradle.begin(tmp_path, "write", name, failpoint=point) for name, point in zip(names, points, strict=True)]
        for life in writers:
            assert life.wait() == -signal.SIGKILL, life.said
        check_copy(tmp_path, tmp_path / f"copy {number}")
        tables.expire(names)
    last = cradle.begin(tmp_path, "write", "last")
    assert last.wait() == 0, last.said
    assert examine(tmp_path / "history", tables, study) == clean()
    tables.close()


def check_copy(folder: Path, copy: Path) -> None:
    """A copy of the table's files is whole and has every end that was acknowledged."""
    copy.mkdir()
    for name in ("tuner.db", "tuner.db-wal"):
        if (folder / name).exists():
            shutil.copy(folder / name, copy)
    with closing(sqlite3.connect(copy / "tuner.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        ended = {number for (number,) in database.execute("SELECT number FROM trial WHERE state = 'complete'")}
    records = [call for call in read(folder / "history") if call.verb == "record" and call.done]
    assert {trial["number"] for call in records for trial in call.writes} <= ended


LABELS = checkpoints.labels(3, 2, [("depth", 1)])


@pytest.fixture
def saved(tmp_path: Path) -> Checkpoint:
    return checkpoints.write(tmp_path, LABELS, {"0": np.arange(64, dtype=np.float32).reshape(8, 8)})


def test_every_flipped_bit_of_a_checkpoint_is_found(saved: Checkpoint) -> None:
    whole, draw = saved.path.read_bytes(), random.Random(0)
    for _ in range(100):
        place = draw.randrange(8 * len(whole))
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        saved.path.write_bytes(bytes(flipped))
        with pytest.raises(BadCheckpoint, match="is damaged: its SHA-256"):
            checkpoints.read(saved, LABELS)
    saved.path.write_bytes(whole)
    assert checkpoints.read(saved, LABELS)["0"][7, 7] == 63.0


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_a_checkpoint_that_was_cut_off_is_refused(saved: Checkpoint, size: int) -> None:
    saved.path.write_bytes(saved.path.read_bytes()[:size])
    with pytest.raises(BadCheckpoint, match="is damaged"):
        checkpoints.read(saved, LABELS)


def test_a_missing_checkpoint_and_that_of_another_trial_are_refused(saved: Checkpoint) -> None:
    with pytest.raises(BadCheckpoint, match="belongs to another trial"):
        checkpoints.read(saved, checkpoints.labels(4, 2, [("depth", 1)]))
    saved.path.unlink()
    with pytest.raises(BadCheckpoint, match="cannot be read: No such file"):
        checkpoints.read(saved, LABELS)


def test_a_death_inside_a_checkpoint_leaves_the_one_before_it(cradle: Cradle, tmp_path: Path) -> None:
    life = cradle.begin(tmp_path, "save", "7", failpoint="checkpoint.partial=kill:2")
    assert life.wait() == -signal.SIGKILL, life.said
    (whole,) = tmp_path.glob("*.safetensors")
    assert whole.name == "7-1.safetensors"
    left = {path.name for path in tmp_path.iterdir()} - {whole.name, life.log.name}
    assert len(left) == 1
    assert left.pop().startswith(".7-2.safetensors.")  # no reader takes it for a checkpoint, the sweep of the disk removes it
