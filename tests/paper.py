"""An engine without a network: metrics by formula, checkpoints as small files. It lets the service be tested without TensorFlow.

`python -m tests.paper FD` is a training child with this engine.
"""

import hashlib
import json
import math
import os
import sys
from pathlib import Path

from tuner import child
from tuner.errors import BadCheckpoint
from tuner.spec import StudySpec
from tuner.trial import Checkpoint, Epoch, Params, Trial


def accuracy(params: Params, epoch: int) -> float:
    """A smooth objective: best at width 12 and learning rate 0.03, better with every epoch."""
    width = float(params.get("width", 8))
    rate = float(params.get("learning_rate", 0.01))
    return (1 - (width - 12) ** 2 / 400) * math.exp(-((math.log10(rate / 0.03)) ** 2) / 4) * (1 - 0.5**epoch)


class Paper:
    """One trial at a time. Its accumulated sum stands for the weights: a resumed trial must have it right.

    With `full` it scores the winner after its last epoch.
    """

    def __init__(self, study: StudySpec, full: int | None = None) -> None:
        self._study, self._full = study, full
        self._trial: Trial | None = None
        self._epoch = 0
        self._sum = 0.0

    @property
    def room(self) -> int:
        return int(self._trial is None)

    like, soon = None, 0

    def add(self, trial: Trial) -> None:
        if trial.params.get("width") == 13:
            raise RuntimeError("width 13 is unlucky")
        if trial.params.get("width") == 14:
            raise MemoryError("width 14 is too large")
        self._epoch, self._sum = 0, 0.0
        if trial.checkpoint is not None:
            self._epoch, self._sum = _read(trial.checkpoint, trial.number)
        self._trial = trial

    def advance(self) -> list[Epoch]:
        if (trial := self._trial) is None:
            return []
        self._epoch += 1
        self._sum += accuracy(trial.params, self._epoch)
        value = float("nan") if trial.params.get("width") == 15 and self._epoch == 2 else accuracy(trial.params, self._epoch)
        metrics = {"loss": 1 - value, "val_loss": 1 - value, "val_accuracy": value, "sum": self._sum}
        if self._epoch == self._study.train.epochs:
            self._trial = None
            scores = {"test_accuracy": value, "test_accuracy_low": value - 0.1, "test_accuracy_high": value + 0.1}
            metrics |= scores if self._full else {}
        last = self._epoch == self._study.train.epochs
        costs = {name: trial.params["width"] for name in self._study.costs} if last else {}  # the wider, the dearer
        return [Epoch(trial.number, self._epoch, metrics, 0.001, parameters=10, costs=costs)]

    def stop(self, number: int) -> None:
        if self._trial is not None and self._trial.number == number:
            self._trial = None

    def save(self, number: int, folder: Path) -> Checkpoint:
        path = folder / f"{number}-{self._epoch}.json"
        content = json.dumps({"number": number, "epoch": self._epoch, "sum": self._sum}).encode()
        partial = path.with_suffix(".partial")
        partial.write_bytes(content)
        os.replace(partial, path)
        return Checkpoint(path, self._epoch, hashlib.sha256(content).hexdigest())


def _read(checkpoint: Checkpoint, number: int) -> tuple[int, float]:
    if not checkpoint.path.exists() or hashlib.sha256(checkpoint.path.read_bytes()).hexdigest() != checkpoint.sha256:
        raise BadCheckpoint(f"{checkpoint.path}: damaged or missing")
    content = json.loads(checkpoint.path.read_text())
    if content["number"] != number:
        raise BadCheckpoint(f"{checkpoint.path}: of another trial")
    return content["epoch"], content["sum"]


if __name__ == "__main__":
    child.serve(int(sys.argv[1]), lambda study, _roots, start: Paper(study, start.full))
