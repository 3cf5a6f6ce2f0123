"""A training child like `tests.wide` that dies as by the kernel's hand: `python -m tests.starved FOLDER FD`.

FOLDER stands for a control group, whose count of killed processes rises before the child is killed.
"""

import os
import signal
import sys
from pathlib import Path

from tests.wide import Wide
from tuner import child
from tuner.cgroup import Cgroup
from tuner.spec import StudySpec
from tuner.trial import Epoch


def count(folder: Path) -> None:
    """One kill more."""
    (folder / "memory.events").write_text(f"oom 0\noom_kill {Cgroup(folder).oom_kills + 1}\n")


def die(folder: Path) -> None:
    """Be killed."""
    count(folder)
    os.kill(os.getpid(), signal.SIGKILL)


class Starved(Wide):
    """Width 13 needs too much."""

    def __init__(self, study: StudySpec, folder: Path) -> None:
        super().__init__(study)
        self._folder = folder

    def advance(self) -> list[Epoch]:
        if self._deadly & self._inside.keys():
            die(self._folder)
        return super().advance()


if __name__ == "__main__":
    child.serve(int(sys.argv[2]), lambda study, *_: Starved(study, Path(sys.argv[1])))
