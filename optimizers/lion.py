"""The sign of an interpolated momentum."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule


@keras.saving.register_keras_serializable(package="tuner")
class Lion(Rule):
    """x ← x - α sign(β₁ m + (1-β₁) g); m ← β₂ m + (1-β₂) g, from m = 0.

    Each step moves every weight by α, so the rate is 3 to 10 times smaller than Adam's, and `weight_decay` as much larger. Chen
    et al., *Symbolic Discovery of Optimization Algorithms*, 2023, algorithm 2.
    """

    row = OPTIMIZERS["lion"]
    slots: ClassVar = {"mean": 0.0}

    def update(self, g, x, slots, h):
        """One step; β₁ is `beta_1`, β₂ is `beta_2`, α is `learning_rate`."""
        (m,) = slots
        new = g - m
        return x - h.learning_rate * ops.sign(m + (1 - h.beta_1) * new), (m + (1 - h.beta_2) * new,)
