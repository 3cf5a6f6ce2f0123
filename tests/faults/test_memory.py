"""A worker in a real control group, whose training process needs more memory than the group may have."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import study_spec
from tests.faults.life import Cradle
from tuner import cgroup
from tuner.store import Store
from tuner.trial import Failure, State

LIMIT = 512 * 2**20
SHARE = LIMIT // 4  # bytes of a trial: one and its process fit, four do not
SETTINGS = {
    "memory.max": LIMIT,
    "memory.swap.max": 0,
    "memory.limit_in_bytes": LIMIT,
    "memory.memsw.limit_in_bytes": LIMIT,
}


@pytest.fixture
def group() -> Iterator[Path]:
    """An empty group for memory at the top of its hierarchy, with a limit."""
    tops = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))
    top = next((top for top in tops if (top / "cgroup.procs").exists()), None)
    if top is None or not os.access(top, os.W_OK):
        pytest.skip("no control group can be made here: it takes root, and a hierarchy that is mounted for writing")
    made = top / f"tuner-{os.getpid()}"
    made.mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(made.rmdir)
        if not any((made / name).exists() for name in cgroup.LIMITS):
            pytest.skip(f"{top} has no control groups for memory")
        for name, value in SETTINGS.items():
            if (made / name).exists():
                (made / name).write_text(str(value))
        yield made


@pytest.mark.slow
def test_the_kernel_kills_for_want_of_memory_and_the_study_goes_on(
    tables: Store, tmp_path: Path, cradle: Cradle, group: Path
) -> None:
    widths = [{"width": 13 if number == 2 else 4 + number} for number in range(9)]
    study = tables.launch(study_spec(enqueue=widths, budget=9), 9, {})
    life = cradle.begin(tmp_path, "feed", f"sqlite:///{tmp_path / 'tuner.db'}", str(group), str(SHARE))
    assert life.wait() == 0, life.said
    rows = tables.trials(study)
    assert [(row.number, row.failure) for row in rows if row.state is not State.COMPLETE] == [(2, Failure.HOST_OUT_OF_MEMORY)]
    assert [row.attempts for row in rows] == [2] * 8 + [1]
    assert "killed by the kernel for want of memory, limit 512 MiB" in rows[2].message
    assert cgroup.Cgroup(group).oom_kills == 3
