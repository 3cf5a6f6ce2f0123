"""A training child like `tests.paper` whose epochs take a while: `python -m tests.paced SECONDS FD`."""

import sys
import time

from tests.paper import Paper
from tuner import child
from tuner.spec import StudySpec
from tuner.trial import Epoch


class Paced(Paper):
    """Waits in every epoch."""

    def __init__(self, study: StudySpec, seconds: float) -> None:
        super().__init__(study)
        self._seconds = seconds

    def advance(self) -> list[Epoch]:
        time.sleep(self._seconds)
        return super().advance()


if __name__ == "__main__":
    child.serve(int(sys.argv[2]), lambda study, *_: Paced(study, float(sys.argv[1])))
