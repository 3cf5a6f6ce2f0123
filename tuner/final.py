"""The engine for the last step of a study: its winner is trained once more, and then scored on the test split, once.

It is the only one that is given the rows of the test split, and asks for what they give after the last epoch. The score stands in
the record of that epoch beside what was measured in training: `test_<metric>`, for the objective's metric with the ends of its
interval. What was scored is kept: a `.keras` file that takes raw rows, recorded in the same transaction as the score.

A share of rows has Wilson's interval (weighted rows count as Kish's effective number of them), any other metric that of
resampled rows. With `refit` the rows of validation were trained on, so that nothing is reported of them.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from tuner import interval
from tuner.data import Split, Tested
from tuner.interval import Interval
from tuner.objective import Measure
from tuner.solo import Solo
from tuner.spec import StudySpec
from tuner.trial import Checkpoint, Epoch, Trial

SHARES = ("accuracy", "top_k")  # metrics that count rows


class Final:
    """A `tuner.trial.Run` with room for the winner.

    It trains as many epochs as the study says, with schedules that are laid out for `full` ones.
    """

    def __init__(self, spec: StudySpec, data: Tested, full: int) -> None:
        self._spec, self._test, self._over = spec, data.test, False
        self._solo = Solo(spec.model_copy(update={"train": spec.train.model_copy(update={"epochs": full})}), data)

    def __str__(self) -> str:
        return f"the winner, {self._solo}"

    @property
    def room(self) -> int:
        """1 when no trial is inside, else 0."""
        return self._solo.room

    like, soon = None, 0

    def add(self, trial: Trial) -> None:
        """Take the winner in, from its checkpoint when it has one."""
        self._solo.add(trial)

    def advance(self) -> list[Epoch]:
        """Train for an epoch; score after the last."""
        return [self._complete(epoch) for epoch in self._solo.advance()]

    def stop(self, number: int) -> None:
        """Let the trial go."""
        self._solo.stop(number)

    def save(self, number: int, folder: Path) -> Checkpoint:
        """Write what the trial needs to go on; after its last epoch its model, by `Solo.keep`."""
        return self._solo.keep(number, folder) if self._over else self._solo.save(number, folder)

    def _complete(self, epoch: Epoch) -> Epoch:
        self._over = epoch.epoch == self._spec.train.epochs
        known = epoch.metrics.items()
        metrics = {name: value for name, value in known if not (self._spec.final.refit and name.startswith("val_"))}
        if not self._over:
            return replace(epoch, metrics=metrics)
        self._solo.stop(epoch.number)
        return replace(epoch, metrics={**metrics, **self._score(epoch.number)})

    def _score(self, number: int) -> dict[str, float]:
        measured = self._solo.measured(number, self._test)
        scores = {f"test_{name}": of(slice(None)) for name, of in measured.items()}
        name = self._spec.objective.metric.removeprefix("val_")
        low, high = _interval(name, measured[name], self._test)
        return {**scores, f"test_{name}_low": low, f"test_{name}_high": high}


def _interval(name: str, metric: Measure, split: Split) -> Interval:
    if name not in SHARES:
        return interval.of_rows(metric, len(split.y))
    effective = len(split.y) if split.weight is None else float(split.weight.sum() ** 2 / np.square(split.weight).sum())
    return interval.of_share(metric(slice(None)), effective)
