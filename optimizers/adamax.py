"""Adam with the largest gradient in place of the mean square."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.contract import unbias


@keras.saving.register_keras_serializable(package="tuner")
class Adamax(Rule):
    """m ← β₁ m + (1-β₁) g; u ← max(β₂ u, |g|); x ← x - α m̂ / (u + ε), with m̂ = m/(1-β₁ᵏ).

    Kingma and Ba, *Adam: A Method for Stochastic Optimization*, 2015, algorithm 2 (without ε, which keeps a weight that never had
    a gradient from 0/0); lecture 3.4 names it.
    """

    row = OPTIMIZERS["adamax"]
    slots: ClassVar = {"mean": 0.0, "largest": 0.0}

    def per_step(self, h):
        """α/(1-β₁ᵏ)."""
        return {"rate": h.learning_rate * unbias(h.beta_1, h.k)}

    def update(self, g, x, slots, h):
        """One step; β₁ is `beta_1`, β₂ is `beta_2`, ε is `epsilon`, α is `learning_rate`."""
        m, u = slots
        m = m + (1 - h.beta_1) * (g - m)
        u = ops.maximum(h.beta_2 * u, ops.abs(g))
        return x - h.rate * (m / (u + h.epsilon)), (m, u)
