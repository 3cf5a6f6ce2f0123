"""Adam with a second, much slower momentum."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule, unbias
from optimizers.interval import FRACTION, NON_NEGATIVE, POSITIVE


@keras.saving.register_keras_serializable(package="tuner")
class AdEMAMix(Rule):
    """Adam's m̂ and v̂; s ← β₃ₖ s + (1-β₃ₖ) g; x ← x - α (m̂ + aₖ s) / (√v̂ + ε), from s = 0 and without bias correction of s.

    While k < T, `warmup_steps`, the weight aₖ = a k/T of s grows to a, `alpha`, and β₃ₖ from β₁ to β₃ so that 1/ln β₃ₖ, the
    memory of s, grows in proportion to k. The paper's T is the number of steps of the run; a run much shorter than T is close to
    Adam's, and one of a few thousand steps with a small T swings, because s remembers all of it.

    Pagliardini, Ablin and Grangier, *The AdEMAMix Optimizer: Better, Faster, Older*, 2024, eq. (AdEMAMix) and its schedulers.
    """

    row = OPTIMIZERS["ademamix"]
    allowed: ClassVar = {
        "beta_1": FRACTION,
        "beta_2": FRACTION,
        "beta_3": FRACTION,
        "alpha": NON_NEGATIVE,
        "warmup_steps": POSITIVE,
        "epsilon": POSITIVE,
    }
    slots: ClassVar = {"mean": 0.0, "slow_mean": 0.0, "mean_square": 0.0}

    def per_step(self, h):
        """aₖ, β₃ₖ and 1-β₃ₖ (`expm1` keeps its digits), and the two bias corrections."""
        done = ops.minimum(h.k / h.warmup_steps, 1.0)
        slowest = ops.log(h.beta_3)
        log_beta = ops.minimum(1 / ((1 - done) / ops.log(h.beta_1) + done / slowest), slowest)
        return {
            "share": h.alpha * done,
            "beta_3k": ops.exp(log_beta),
            "fresh": -ops.expm1(log_beta),
            "unbias_1": unbias(h.beta_1, h.k),
            "unbias_2": unbias(h.beta_2, h.k),
        }

    def update(self, g, x, slots, h):
        """One step; β₁ is `beta_1`, β₂ is `beta_2`, ε is `epsilon`, α is `learning_rate`."""
        m, s, v = slots
        m = h.beta_1 * m + (1 - h.beta_1) * g
        s = h.beta_3k * s + h.fresh * g
        v = h.beta_2 * v + (1 - h.beta_2) * ops.square(g)
        x = x - h.learning_rate * (h.unbias_1 * m + h.share * s) / (ops.sqrt(h.unbias_2 * v) + h.epsilon)
        return x, (m, s, v)
