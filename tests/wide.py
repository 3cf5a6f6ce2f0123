"""A training child like `tests.paper` with room for four trials; one of width 13 kills it after an epoch."""

import os
import signal
import sys

from tests.paper import Paper
from tuner import child
from tuner.spec import StudySpec
from tuner.trial import Checkpoint, Epoch, Trial

ROOM = 4


class Wide:
    """Four engines of paper, of which each advances at once."""

    def __init__(self, study: StudySpec) -> None:
        self._study = study
        self._inside: dict[int, Paper] = {}
        self._deadly: set[int] = set()

    def __str__(self) -> str:
        return f"{ROOM} engines of paper"

    @property
    def room(self) -> int:
        return ROOM - len(self._inside)

    @property
    def like(self) -> int | None:
        return next(iter(self._inside), None)

    @property
    def soon(self) -> int:
        return ROOM

    def add(self, trial: Trial) -> None:
        if trial.number in self._inside:
            raise RuntimeError(f"trial {trial.number} is here already")
        engine = Paper(self._study)
        if trial.params.get("width") == 13:
            self._deadly.add(trial.number)
            trial = Trial(trial.number, {**trial.params, "width": 12}, trial.seed, trial.checkpoint)
        engine.add(trial)
        self._inside[trial.number] = engine

    def advance(self) -> list[Epoch]:
        epochs = [epoch for engine in self._inside.values() for epoch in engine.advance()]
        if self._deadly & self._inside.keys():
            os.kill(os.getpid(), signal.SIGKILL)
        self._inside = {number: engine for number, engine in self._inside.items() if not engine.room}
        return epochs

    def stop(self, number: int) -> None:
        self._inside.pop(number, None)

    def save(self, number: int, folder) -> Checkpoint:  # type: ignore[no-untyped-def]
        return self._inside[number].save(number, folder)


if __name__ == "__main__":
    child.serve(int(sys.argv[1]), lambda study, *_: Wide(study))
