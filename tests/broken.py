"""A training child like `tests.paper` on a machine with a fault."""

import sys

from tests.paper import Paper
from tuner import child
from tuner.trial import Trial


class Broken(Paper):
    """Fails every trial."""

    def add(self, trial: Trial) -> None:
        raise RuntimeError("the card has fallen off the bus")


if __name__ == "__main__":
    child.serve(int(sys.argv[1]), lambda study, *_: Broken(study))
