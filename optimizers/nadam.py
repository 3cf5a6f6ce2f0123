"""Adam with Nesterov's momentum."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.contract import Moments, unbias


@keras.saving.register_keras_serializable(package="tuner")
class Nadam(Rule):
    """Adam's m, v and v̂; x ← x - α [μ_{k+1} m / (1 - P_k μ_{k+1}) + (1 - μ_k) g / (1 - P_k)] / (√v̂ + ε).

    μ_k = β₁ (1 - 0.96^{kψ}/2) and P_k = μ_1 ⋯ μ_k; m is averaged with β₁. ψ is `momentum_decay`: 0.004 in the paper and in
    PyTorch, 1 in Keras. Dozat, *Incorporating Nesterov Momentum into Adam*, ICLR workshop 2016; named in lecture 3.4.
    """

    row = OPTIMIZERS["nadam"]
    slots: ClassVar = {"mean": 0.0, "mean_square": 0.0}
    carried: ClassVar = {"product": 1.0}
    remembers = "mv"

    def per_step(self, h):
        """P_k, the factors of m and g, and ε; 1/√(1-β₂ᵏ) of √v̂ is in all three, α in the factors."""
        now, following = (h.beta_1 * (1 - 0.5 * 0.96 ** (k * h.momentum_decay)) for k in (h.k, h.k + 1))
        product = h.product * now
        root = ops.rsqrt(unbias(h.beta_2, h.k))
        rate = h.learning_rate * root
        return {
            "product": product,
            "rate_m": rate * following / (1 - product * following),
            "rate_g": rate * (1 - now) / (1 - product),
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
