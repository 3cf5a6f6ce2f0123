"""Adam with Nesterov's momentum at a constant β₁ and decoupled weight decay."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.contract import Moments, unbias


@keras.saving.register_keras_serializable(package="tuner")
class NadamW(Rule):
    """x ← x - α λ x; Adam's m, v and v̂; x ← x - α [β₁ m / (1-β₁ᵏ⁺¹) + (1-β₁) g / (1-β₁ᵏ)] / (√v̂ + ε).

    λ is `weight_decay`. Dozat, *Incorporating Nesterov Momentum into Adam*, 2016, algorithm 2 with a constant μ, and the decay of
    Loshchilov and Hutter 2019: the baseline of AlgoPerf (Dahl et al. 2023), equal to Optax' `nadamw`.
    """

    row = OPTIMIZERS["nadamw"]
    slots: ClassVar = {"mean": 0.0, "mean_square": 0.0}
    remembers = "mv"

    def per_step(self, h):
        """The factors of m and g, and ε; 1/√(1-β₂ᵏ) of √v̂ is in all three, α in the factors."""
        root = ops.rsqrt(unbias(h.beta_2, h.k))
        rate = h.learning_rate * root
        return {
            "rate_m": rate * h.beta_1 * unbias(h.beta_1, h.k + 1),
            "rate_g": rate * (1 - h.beta_1) * unbias(h.beta_1, h.k),
            "floor": h.epsilon * root,
        }

    def update(self, g, x, slots, h):
        """One step; β₁ is `beta_1`, β₂ is `beta_2`, ε is `epsilon`."""
        m, v = slots
        m = m + (1 - h.beta_1) * (g - m)
        v = v + (1 - h.beta_2) * (ops.square(g) - v)
        return x - (h.rate_m * m + h.rate_g * g) / (ops.sqrt(v) + h.floor), (m, v)

    def moments(self, h):
        """The same, with every number of this step."""
        return Moments(h.beta_1, 1 - h.beta_1, h.beta_2, 1 - h.beta_2, p=h.rate_m, q=h.rate_g, e=h.floor)
