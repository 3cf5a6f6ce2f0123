"""Adam that estimates its own learning rate."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule


@keras.saving.register_keras_serializable(package="tuner")
class Prodigy(Rule):
    """m ← β₁ m + (1-β₁) d g; v ← β₂ v + (1-β₂) d² g²; x ← x - γ d (m / (√v + d ε) + λ x), with one d for all weights:

    r ← √β₂ r + (1-√β₂) γ d² ⟨g, x₀ - x⟩; s ← √β₂ s + (1-√β₂) γ d² g; d ← max(d, c r / ‖s‖₁), from d = d₀, which acts in the next
    step. ⟨·,·⟩ and ‖·‖₁ are over all weights of a lane. d estimates the distance from the initial weights x₀ to a solution, in
    units of the weights; γ is `learning_rate`, 1 unless a schedule bends it, and c is `d_coef`. The decay λ, decoupled, is scaled
    by d as in the authors' code: scaled by γ alone it would outrun the first steps, which are as short as d₀.

    The slot of x - x₀ is the sum of the steps, from 0: weights set in between move x₀ too, and half-precision weights lose none
    of the short steps that d grows by.

    Mishchenko and Defazio, *Prodigy: An Expeditiously Adaptive Parameter-Free Learner*, 2023, arXiv:2306.06101, algorithm 4.
    """

    row = OPTIMIZERS["prodigy"]
    slots: ClassVar = {"mean": 0.0, "mean_square": 0.0, "displacement": 0.0, "gradient_sum": 0.0}
    carried: ClassVar = {"d": 0.0, "correlation": 0.0}
    decays_first: ClassVar = False

    def gather(self, g, x, slots, h):
        """One weight's part of ⟨g, x₀ - x⟩ and of the next ‖s‖₁."""
        displacement, s = slots[2:]
        following = self._following(s, g, ops.maximum(h.d, h.d0), h)
        return {"product": -self.total(g * displacement), "length": self.total(ops.abs(following))}

    def per_step(self, h):
        """This step's d as `now`, γ d as `rate`; `d` becomes the next one and `correlation` is r."""
        now, slow = ops.maximum(h.d, h.d0), ops.sqrt(h.beta_2)
        r = slow * h.correlation + (1 - slow) * h.learning_rate * ops.square(now) * h.product
        estimate = h.d_coef * r / ops.where(h.length > 0, h.length, 1.0)
        return {"correlation": r, "d": ops.maximum(now, estimate), "now": now, "rate": h.learning_rate * now}

    def update(self, g, x, slots, h):
        """One step; β₁ is `beta_1`, β₂ is `beta_2`, ε is `epsilon`, λ is `weight_decay`."""
        m, v, displacement, s = slots
        m = h.beta_1 * m + (1 - h.beta_1) * h.now * g
        v = h.beta_2 * v + (1 - h.beta_2) * ops.square(h.now * g)
        step = h.rate * (m / (ops.sqrt(v) + h.now * h.epsilon) + h.weight_decay * x)
        return x - step, (m, v, displacement - step, self._following(s, g, h.now, h))

    def _following(self, s, g, d, h):
        slow = ops.sqrt(h.beta_2)
        return slow * s + (1 - slow) * h.learning_rate * ops.square(d) * g
