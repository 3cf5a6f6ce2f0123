"""A training child like `tests.paper` that a trial of width 13 kills."""

import os
import signal
import sys

from tests.paper import Paper
from tuner import child
from tuner.trial import Trial


class Deadly(Paper):
    """Width 13 kills the process."""

    def add(self, trial: Trial) -> None:
        if trial.params.get("width") == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        super().add(trial)


if __name__ == "__main__":
    child.serve(int(sys.argv[1]), lambda study, *_: Deadly(study))
