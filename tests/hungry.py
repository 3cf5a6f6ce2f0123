"""A training child like `tests.wide` that uses memory: `python -m tests.hungry BYTES FD`."""

import sys

from tests.wide import Wide
from tuner import child
from tuner.spec import StudySpec
from tuner.trial import Epoch, Trial


class Hungry(Wide):
    """Each trial has `share` bytes while it is inside; one of width 13 takes sixteen times as many."""

    def __init__(self, study: StudySpec, share: int) -> None:
        super().__init__(study)
        self._share = share
        self._eaten: dict[int, list[bytes]] = {}

    def add(self, trial: Trial) -> None:
        super().add(trial)
        self._eaten[trial.number] = []

    def advance(self) -> list[Epoch]:
        for number, eaten in self._eaten.items():
            while len(eaten) < (16 if number in self._deadly else 1):
                eaten.append(b"\1" * self._share)
        epochs = super().advance()
        self._eaten = {number: self._eaten[number] for number in self._inside}
        return epochs

    def stop(self, number: int) -> None:
        super().stop(number)
        self._eaten.pop(number, None)


if __name__ == "__main__":
    child.serve(int(sys.argv[2]), lambda study, *_: Hungry(study, int(sys.argv[1])))
