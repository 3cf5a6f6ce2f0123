"""Adam with a second, much slower momentum."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.contract import unbias


@keras.saving.register_keras_serializable(package="tuner")
class AdEMAMix(Rule):
    """Adam's m̂ and v̂; s ← β₃ₖ s + (1-β₃ₖ) g; x ← x - α (m̂ + aₖ s) / (√v̂ + ε), from s = 0 and without bias correction of s.

    While k < T, `warmup_steps`, the weight aₖ = a k/T of s grows to a, `alpha`, and β₃ₖ from β₁ to β₃ so that 1/ln β₃ₖ, the
    memory of s, grows in proportion to k. The paper's T is the number of steps of the run; a run much shorter than T is close to
    Adam's, and one of a few thousand steps with a small T swings, because s remembers all of it.

    Pagliardini, Ablin and Grangier, *The AdEMAMix Optimizer: Better, Faster, Older*, 2024, eq. (AdEMAMix) and its schedulers.
    """

    row = OPTIMIZERS["ademamix"]
    slots: ClassVar = {"mean": 0.0, "slow_mean": 0.0, "mean_square": 0.0}

    def per_step(self, h):
        """1-β₃ₖ (`expm1` keeps its digits), the factors of m and s, and ε; 1/√(1-β₂ᵏ) of √v̂ is in all three."""
        done = ops.minimum(h.k / h.warmup_steps, 1.0)
        slowest = ops.log(h.beta_3)
        log_beta = ops.minimum(1 / ((1 - done) / ops.log(h.beta_1) + done / slowest), slowest)
        root = ops.rsqrt(unbias(h.beta_2, h.k))
        rate = h.learning_rate * root
        return {
            "fresh": -ops.expm1(log_beta),
            "rate_m": rate * unbias(h.beta_1, h.k),
            "rate_s": rate * h.alpha * done,
            "floor": h.epsilon * root,
        }

    def update(self, g, x, slots, h):
        """One step; β₁ is `beta_1`, β₂ is `beta_2`, ε is `epsilon`."""
        m, s, v = slots
        m = m + (1 - h.beta_1) * (g - m)
        s = s + h.fresh * (g - s)
        v = v + (1 - h.beta_2) * (ops.square(g) - v)
        return x - (h.rate_m * m + h.rate_s * s) / (ops.sqrt(v) + h.floor), (m, s, v)
