"""Named points at which a test lets a process die, halt, or lose an answer.

`TUNER_FAILPOINT=claim.committed=kill:2` kills a process with SIGKILL when it is there for the second time; several are separated
by commas. The command line arms its own process, and a supervisor its first training child, so that those after it live. Where
nothing is armed, a point is one look at an empty table.

    kill     SIGKILL to itself
    pause    SIGSTOP to itself, until somebody sends SIGCONT
    raise    `DatabaseAway`, as when the answer of the database is lost
"""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from tuner.errors import BadInput, DatabaseAway

POINTS = {
    # a launch
    "launch.checked": "files and data were read, nothing was written",
    "migration.written": "the tables are made, not committed",
    "migration.committed": "the tables are made",
    "launch.study": "a study is written without its trials, not committed",
    "launch.rows": "a study is written with its trials, not committed",
    "launch.committed": "the studies are launched",
    # a trial, in the supervisor
    "claim.written": "a trial is claimed, not committed",
    "claim.committed": "a trial is claimed, and nobody knows it",
    "proposal.drawn": "a claimed trial has parameters that are not stored",
    "proposal.committed": "they are stored",
    "epoch.judged": "it is decided what epochs mean for their trials, and not recorded",
    "epoch.written": "epochs or checkpoints are recorded, not committed",
    "epoch.committed": "they are recorded",
    "checkpoint.recorded": "a checkpoint is recorded, and the one that it replaces is still there",
    "end.written": "a trial has ended, not committed",
    "end.committed": "a trial has ended, and its files are still there",
    "release.written": "a trial is given back, not committed",
    "release.committed": "a trial is given back",
    # a trial, in the training child
    "child.begun": "the engine is there, and nothing was said",
    "trial.added": "a trial is in the engine",
    "epoch.trained": "an epoch is trained and not reported",
    "checkpoint.partial": "a checkpoint's file is whole, and not in its place",
    "checkpoint.written": "a checkpoint is in its place and not recorded",
    "child.reported": "the supervisor was told, and has not answered",
    # what follows a study
    "stage.due": "all trials have ended, and it is decided what follows",
    "stage.written": "the race or the test is written, not committed",
    "stage.committed": "it is there",
    # a view
    "forward.answered": "MLflow has the news, and that is not noted",
}


@dataclass
class _Armed:
    action: str
    left: int


_armed: dict[str, _Armed] = {}
_inheritance: list[str] = []


def _raise() -> None:
    raise DatabaseAway("the answer was lost at a fail-point")


ACTIONS: dict[str, Callable[[], None]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "pause": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "raise": _raise,
}


def arm(text: str) -> None:
    """Arm this process as the text says, `NAME=ACTION[:COUNT]`, and no other way; nothing when it is empty. Raises `BadInput`."""
    _armed.clear()
    _inheritance[:] = [text]
    for part in text.split(",") if text else ():
        name, _, rest = part.partition("=")
        action, _, count = rest.partition(":")
        if name not in POINTS or action not in ACTIONS or not (count or "1").isdecimal():
            allowed = f"NAME=kill|pause|raise[:COUNT], NAME one of {', '.join(POINTS)}"
            raise BadInput(f"TUNER_FAILPOINT: {part!r} is none; allowed: {allowed}")
        _armed[name] = _Armed(action, int(count or 1))


def inherited() -> str:
    """What the next training child is armed with, as `arm` takes it: what this process was, for the first child only."""
    return _inheritance.pop() if _inheritance else ""


def reach(name: str) -> None:
    """Say that the process is at a point."""
    if _armed and (point := _armed.get(name)) is not None:
        point.left -= 1
        if point.left == 0:
            ACTIONS[point.action]()
