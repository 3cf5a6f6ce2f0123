"""A training child like `tests.paper` in whose trials luck counts: a value has a part that follows from the trial's seed.

Of width 16 a trial does not survive any seed but those of the search.
"""

import math
import sys
from dataclasses import replace

import numpy as np

from tests.paper import Paper
from tuner import child
from tuner.spec import MAX_TRIALS
from tuner.trial import Epoch, Trial, trial_seed

LUCK = 0.001


def luck(width: float, seed: int) -> float:
    """Normal, with the standard deviation `LUCK`."""
    return float(np.random.default_rng((int(width), seed)).normal(0, LUCK))


class Racing(Paper):
    """Paper, and luck."""

    def add(self, trial: Trial) -> None:
        super().add(trial)
        width, known = float(trial.params["width"]), {trial_seed(self._study.seed, number) for number in range(MAX_TRIALS)}
        self._luck = math.nan if width == 16 and trial.seed not in known else luck(width, trial.seed)

    def advance(self) -> list[Epoch]:
        return [self._lucky(epoch) for epoch in super().advance()]

    def _lucky(self, epoch: Epoch) -> Epoch:
        scores = {name: value + self._luck for name, value in epoch.metrics.items() if "accuracy" in name}
        return replace(epoch, metrics={**epoch.metrics, **scores})


if __name__ == "__main__":
    child.serve(int(sys.argv[1]), lambda study, _roots, start: Racing(study, start.full))
