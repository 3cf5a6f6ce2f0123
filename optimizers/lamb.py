"""Adam with a trust ratio for each weight."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.contract import unbias
from optimizers.interval import FRACTION, NON_NEGATIVE, POSITIVE


@keras.saving.register_keras_serializable(package="tuner")
class LAMB(Rule):
    """Adam's m̂ and v̂; r = m̂ / (√v̂ + ε) + λ x; x ← x - α (‖x‖ / ‖r‖) r, where the ratio is 1 if one of the norms is 0.

    λ is `weight_decay` and acts inside the ratio, in no other place. The norms are those of one variable, within a lane. You et
    al., *Large Batch Optimization for Deep Learning: Training BERT in 76 minutes*, 2020, algorithm 2 with φ(z) = z.
    """

    row = OPTIMIZERS["lamb"]
    allowed: ClassVar = {"beta_1": FRACTION, "beta_2": FRACTION, "epsilon": POSITIVE, "weight_decay": NON_NEGATIVE}
    slots: ClassVar = {"mean": 0.0, "mean_square": 0.0}
    decays_first: ClassVar = False

    def per_step(self, h):
        """Both bias corrections, moved into the factor of m and into ε: r/(1-β₁ᵏ) and ε r with r = √(1-β₂ᵏ)."""
        root = ops.rsqrt(unbias(h.beta_2, h.k))
        return {"unbias": root * unbias(h.beta_1, h.k), "floor": h.epsilon * root}

    def update(self, g, x, slots, h):
        """One step; β₁ is `beta_1`, β₂ is `beta_2`, ε is `epsilon`, α is `learning_rate`."""
        m, v = slots
        m = m + (1 - h.beta_1) * (g - m)
        v = v + (1 - h.beta_2) * (ops.square(g) - v)
        r = h.unbias * (m / (ops.sqrt(v) + h.floor)) + h.weight_decay * x
        length, step = self.norm(x), self.norm(r)
        ratio = ops.where((length > 0) & (step > 0), length / ops.where(step > 0, step, 1.0), 1.0)
        return x - h.learning_rate * ratio * r, (m, v)
