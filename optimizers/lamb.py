"""Adam with a trust ratio for each weight."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.contract import unbias


@keras.saving.register_keras_serializable(package="tuner")
class LAMB(Rule):
    """Adam's m̂ and v̂; r = m̂ / (√v̂ + ε) + λ x; x ← x - α (‖x‖ / ‖r‖) r, where the ratio is 1 if one of the norms is 0.

    λ is `weight_decay` and acts inside the ratio, in no other place. The norms are those of one variable, within a lane. You et
    al., *Large Batch Optimization for Deep Learning: Training BERT in 76 minutes*, 2020, algorithm 2 with φ(z) = z.
    """

    row = OPTIMIZERS["lamb"]
    slots: ClassVar = {"mean": 0.0, "mean_square": 0.0}
    decays_first: ClassVar = False

    def per_step(self, h):
        """Both bias corrections, moved into a factor b of r and into ε: b = (1-β₁ᵏ)/s and ε s with s = √(1-β₂ᵏ)."""
        root = ops.rsqrt(unbias(h.beta_2, h.k))
        return {"bias": 1 / (root * unbias(h.beta_1, h.k)), "floor": h.epsilon * root}

    def update(self, g, x, slots, h):
        """One step; β₁ is `beta_1`, β₂ is `beta_2`, ε is `epsilon`, α is `learning_rate`."""
        m, v = slots
        m = m + (1 - h.beta_1) * (g - m)
        v = v + (1 - h.beta_2) * (ops.square(g) - v)
        scaled = m / (ops.sqrt(v) + h.floor) + h.bias * h.weight_decay * x  # b r: the ratio cancels b
        length, step = self.norm(x), self.norm(scaled)
        ratio = ops.where(ops.minimum(length, step) > 0, length / step, 1 / h.bias)
        return x - h.learning_rate * ratio * scaled, (m, v)
