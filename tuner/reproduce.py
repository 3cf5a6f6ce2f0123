"""A trial once more, alone and from its seed: does it learn as its record says?

The first epoch must agree to rounding: the same weights, rows, masks and formulas. From there on training magnifies the last
digits, in which another pack, processor or version differs, so the best objective is compared more loosely.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.spec import StudySpec
from tuner.trial import Epoch, Trial

LOSS, OBJECTIVE = 1e-3, 0.02  # relative differences that still agree: of the first epoch's loss, and of the best objective


@dataclass(frozen=True)
class Comparison:
    """Two records of a trial, epoch by epoch as far as both go."""

    metric: str
    recorded: Sequence[Epoch]
    repeated: Sequence[Epoch]
    maximise: bool

    @property
    def loss(self) -> float:
        """The relative difference of the first epoch's loss."""
        return _apart(self.recorded[0].metrics["loss"], self.repeated[0].metrics["loss"])

    @property
    def objective(self) -> float:
        """The relative difference of the best objective."""
        best = max if self.maximise else min
        return _apart(*(best(epoch.metrics[self.metric] for epoch in record) for record in (self.recorded, self.repeated)))

    @property
    def matches(self) -> bool:
        """Whether both differences are tolerable."""
        return self.loss <= LOSS and self.objective <= OBJECTIVE


def again(spec: StudySpec, trial: Trial, epochs: int, roots: Sequence[Path], launched: Mapping[str, Any]) -> Iterator[Epoch]:
    """Train a trial alone for some epochs. Raises `BadInput` when its data cannot be read, or are not those of the launch."""
    from tuner import data  # noqa: PLC0415 — TensorFlow loads here, not when the module does
    from tuner.solo import Solo  # noqa: PLC0415 — the same

    engine = Solo(spec, data.load(spec.data, spec.seed, roots, launched))
    engine.add(trial)
    for _ in range(epochs):
        yield from engine.advance()


def _apart(recorded: float, repeated: float) -> float:
    if recorded == repeated or (math.isnan(recorded) and math.isnan(repeated)):
        return 0.0
    return abs(recorded - repeated) / max(abs(recorded), abs(repeated))
