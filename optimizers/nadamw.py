"""Adam with Nesterov's momentum at a constant β₁ and decoupled weight decay."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule, unbias
from optimizers.interval import FRACTION, NON_NEGATIVE, POSITIVE


@keras.saving.register_keras_serializable(package="tuner")
class NadamW(Rule):
    """x ← x - α λ x; Adam's m, v and v̂; x ← x - α [β₁ m / (1-β₁ᵏ⁺¹) + (1-β₁) g / (1-β₁ᵏ)] / (√v̂ + ε).

    λ is `weight_decay`. Dozat, *Incorporating Nesterov Momentum into Adam*, 2016, algorithm 2 with a constant μ, and the decay of
    Loshchilov and Hutter 2019: the baseline of AlgoPerf (Dahl et al. 2023), equal to Optax' `nadamw`.
    """

    row = OPTIMIZERS["nadamw"]
    allowed: ClassVar = {"beta_1": FRACTION, "beta_2": FRACTION, "epsilon": POSITIVE, "weight_decay": NON_NEGATIVE}
    slots: ClassVar = {"mean": 0.0, "mean_square": 0.0}

    def per_step(self, h):
        """1/(1-β₂ᵏ), and the factors of m and g with α in them."""
        return {
            "unbias": unbias(h.beta_2, h.k),
            "rate_m": h.learning_rate * h.beta_1 * unbias(h.beta_1, h.k + 1),
            "rate_g": h.learning_rate * (1 - h.beta_1) * unbias(h.beta_1, h.k),
        }

    def update(self, g, x, slots, h):
        """One step; β₁ is `beta_1`, β₂ is `beta_2`, ε is `epsilon`."""
        m, v = slots
        m = h.beta_1 * m + (1 - h.beta_1) * g
        v = h.beta_2 * v + (1 - h.beta_2) * ops.square(g)
        return x - (h.rate_m * m + h.rate_g * g) / (ops.sqrt(h.unbias * v) + h.epsilon), (m, v)
