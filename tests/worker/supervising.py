"""What the tests of the supervisor share: its child is a real process, whose engine needs no TensorFlow (see `tests.paper`)."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import study_spec
from tests.paper import accuracy
from tuner.cgroup import Cgroup
from tuner.store import Row, Store, Study
from tuner.trial import Epoch
from tuner.worker import Supervisor

PAPER = [sys.executable, "-m", "tests.paper"]
WIDE = [sys.executable, "-m", "tests.wide"]
PARKING = [{"width": width} for width in (4, 15, 6, 7, 13, 8)]
"""In a child of `tests.wide`, number 1 makes room for number 4, which kills the child while number 5 is proposed for later."""


def supervisor(tables: Store, study: Study, home: Path, command: list[str] | None = None) -> Supervisor:
    made = Supervisor(tables, study, home, [], dict(os.environ))
    made.command = command or PAPER
    return made


def limited(folder: Path) -> Cgroup:
    """A folder that stands for a control group; `tests.starved` counts its kills there."""
    (folder / "memory.max").write_text(f"{1229 * 2**20}\n")
    return Cgroup(folder)


def run(tables: Store, home: Path, tick: Callable[[], None] = lambda: None, **changes: Any) -> tuple[Study, list[Row]]:
    spec = study_spec(**changes)
    study = tables.launch(spec, spec.budget.trials, {})
    supervisor(tables, study, home).work(tick)
    return study, tables.trials(study)


def whole(epochs: list[Epoch], row: Row) -> None:
    """The epochs are gapless, and the running sum went on from the checkpoint as if nothing had happened."""
    assert row.params is not None
    assert [e.epoch for e in epochs] == list(range(1, len(epochs) + 1))
    total = 0.0
    for epoch in epochs:
        total += accuracy(row.params, epoch.epoch)
        assert epoch.metrics["sum"] == total
