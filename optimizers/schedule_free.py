"""Schedule-Free learning: an average of the iterates in place of a schedule that must know the end.

Three points: z, where the steps are made; x, the average of the z, to be evaluated; y = (1-β) z + β x, where the gradient is
wanted and which the model's variables hold while it trains. The one slot is d = z - x, from 0, so that initial weights need no
copy and weights that are set in between move all three points:

    x = y - (1-β) d;  δ = -γ (direction + λ y);  x ← x + c (d + δ);  d ← (1-c) (d + δ);  y = x + (1-β) d

with c = w_k / Σ w, w_k = k^r γ_max², and γ_max the largest rate so far, which is what makes a warm-up count little; r is
`averaging_power`. A changed β acts from the next y on; x stays exact. γ is `learning_rate`, λ is `weight_decay`, which is taken
at y and moves z. It wants no schedule but a warm-up: `Constant(rate, steps, warmup=...)`.

Defazio et al., *The Road Less Scheduled*, 2024, arXiv:2405.15682, eqs. 3-5 and algorithm 1, with the weights w of their code.
"""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.contract import unbias


class ScheduleFree(Rule):
    """The three points; a method says which `direction` z takes and which hyper-parameter is β."""

    carried: ClassVar = {"weight_sum": 0.0, "largest_rate": 0.0, "ahead": 0.0}
    decays_first: ClassVar = False
    leads = "displacement"

    def average(self, beta, h):
        """c, and the share of d by which y is `ahead` of x: that of the last step, less if x is what is stored, and the next."""
        largest = ops.maximum(h.largest_rate, h.learning_rate)
        weight = ops.power(h.k, h.averaging_power) * ops.square(largest)
        total = h.weight_sum + weight
        share = weight / ops.where(total > 0, total, 1.0)
        points = {"to_y": h.ahead * h.in_evaluation, "to_x": h.ahead * (1 - h.in_evaluation), "ahead": 1 - beta}
        return {"weight_sum": total, "largest_rate": largest, "share": share, **points}

    def move(self, direction, x, d, h):
        """The next stored y and d."""
        moved = d - h.learning_rate * (direction + h.weight_decay * (x + h.to_y * d))
        following = moved - h.share * moved
        return x - h.to_x * d + h.share * moved + h.ahead * following, following

    def evaluation_point(self, x, slots, h):
        """The average x = y - (1-β) d."""
        return x - h.ahead * slots[0]

    def training_point(self, x, slots, h):
        """The point y = x + (1-β) d of the gradient."""
        return x + h.ahead * slots[0]


@keras.saving.register_keras_serializable(package="tuner")
class ScheduleFreeSGD(ScheduleFree):
    """The direction is g, β is `momentum`.

    Defazio et al. 2024, eqs. 3-5. Its rates are 10 to 50 times those of SGD.
    """

    row = OPTIMIZERS["schedule_free_sgd"]
    slots: ClassVar = {"displacement": 0.0}

    def per_step(self, h):
        """c and the places of the points."""
        return self.average(h.momentum, h)

    def update(self, g, x, slots, h):
        """One step."""
        x, d = self.move(g, x, slots[0], h)
        return x, (d,)


@keras.saving.register_keras_serializable(package="tuner")
class ScheduleFreeAdamW(ScheduleFree):
    """The direction is g / (√v̂ + ε) with v ← β₂ v + (1-β₂) g² and v̂ = v/(1-β₂ᵏ); β is `beta_1`.

    Defazio et al. 2024, algorithm 1. Keras' own leaves y in the model after `fit`, does not decay z and weighs a warm-up like the
    rest; its rate is ours.
    """

    row = OPTIMIZERS["schedule_free_adamw"]
    slots: ClassVar = {"displacement": 0.0, "mean_square": 0.0}

    def per_step(self, h):
        """c, the places of the points and 1/(1-β₂ᵏ)."""
        return {**self.average(h.beta_1, h), "unbias": unbias(h.beta_2, h.k)}

    def update(self, g, x, slots, h):
        """One step; β₂ is `beta_2`, ε is `epsilon`."""
        d, v = slots
        v = h.beta_2 * v + (1 - h.beta_2) * ops.square(g)
        x, d = self.move(g / (ops.sqrt(h.unbias * v) + h.epsilon), x, d, h)
        return x, (d, v)
