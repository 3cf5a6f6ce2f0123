"""Runs a small study with `tests.paper` and kills a process with SIGKILL at a named point.

    python -m tests.kill FOLDER [POINT [COUNT]]     the supervisor; POINT may be one of its own or one of its child's
    python -m tests.kill child POINT COUNT FD       the child of such a supervisor

The points wrap functions from outside; the product knows nothing of them.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import study_spec
from tests.paper import Paper
from tuner import child, worker
from tuner.channel import Channel
from tuner.search import Search
from tuner.store import Store, Study, stages, studies

# name → (object, function, whether the process dies before or after the function ran)
SUPERVISOR: dict[str, tuple[Any, str, str]] = {
    "before the launch": (Store, "launch", "before"),
    "inside the launch": (studies, "_add_rows", "after"),
    "after the launch": (Store, "launch", "after"),
    "after a claim": (Store, "claim", "after"),
    "after a proposal was drawn": (Search, "ask", "after"),
    "after a proposal was stored": (Store, "propose", "after"),
    "before an epoch is recorded": (Store, "record", "before"),
    "inside a record's transaction": (Store, "_guarded", "after"),
    "after an epoch was recorded": (Store, "record", "after"),
    "after an end was told": (Search, "tell", "after"),
    "before a stage begins": (Store, "follow", "before"),
    "inside the beginning of a stage": (stages, "_unlike_any", "after"),
    "after a stage began": (Store, "follow", "after"),
    "before a checkpoint is forgotten": (Path, "unlink", "before"),
}
CHILD: dict[str, tuple[Any, str, str]] = {
    "in the child, before it reports": (child.Inbox, "exchange", "before"),
    "in the child, after a trial was added": (Paper, "add", "after"),
    "inside a checkpoint write": (os, "replace", "before"),
    "after a checkpoint was written": (Paper, "save", "after"),
    "in the child, after an epoch": (Paper, "advance", "after"),
    "in the child, after an epoch was reported": (Channel, "send", "after"),
}
SPEC: dict[str, Any] = {
    "budget": 6,
    "final": {"finalists": 2, "seeds": 3},
    "sampler": "tpe",
    "pruner": "asha",
    "train": {"epochs": 9, "checkpoint_seconds": 0.0},
}


def arm(point: str, count: int) -> None:
    """Let the process die at the `count`-th time that the point is reached."""
    owner, name, when = {**SUPERVISOR, **CHILD}[point]
    function: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if when == "before" and calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if when == "after" and calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


def supervise(folder: Path, point: str | None, count: int) -> None:
    """Launch the study in a folder, or go on with it, to the end of its race."""
    command = [sys.executable, "-m", "tests.paper"]
    if point in SUPERVISOR:
        arm(point, count)
    elif point is not None and not (folder / "killed").exists():
        (folder / "killed").touch()
        command = [sys.executable, "-m", "tests.kill", "child", point, str(count)]
    tables = Store(f"sqlite:///{folder / 'tuner.db'}")
    tables.migrate()
    spec = study_spec(**SPEC)
    study = tables.launch(spec, spec.budget.trials, {})
    original = worker.Child.kill

    def disarm(self: worker.Child) -> None:
        """Only the first child is armed."""
        original(self)
        command[:] = [sys.executable, "-m", "tests.paper"]

    worker.Child.kill = disarm  # type: ignore[method-assign]
    stage: Study | None = study
    while stage is not None:
        supervisor = worker.Supervisor(tables, stage, folder, [], dict(os.environ))
        supervisor.command = command
        supervisor.work(lambda: None)
        stage = tables.next(stage)


if __name__ == "__main__":
    if sys.argv[1] == "child":
        arm(sys.argv[2], int(sys.argv[3]))
        child.serve(int(sys.argv[4]), lambda study, _roots, full: Paper(study, full))
    else:
        supervise(Path(sys.argv[1]), *(sys.argv[2:3] or [None]), int((sys.argv[3:4] or ["1"])[0]))
