"""A training child like `tests.paper` that a trial of width 13 brings to a standstill."""

import sys
import threading

from tests.paper import Paper
from tuner import child
from tuner.trial import Trial


class Hanging(Paper):
    """Width 13 waits for ever."""

    def add(self, trial: Trial) -> None:
        if trial.params.get("width") == 13:
            threading.Event().wait()
        super().add(trial)


if __name__ == "__main__":
    child.serve(int(sys.argv[1]), lambda study, *_: Hanging(study))
