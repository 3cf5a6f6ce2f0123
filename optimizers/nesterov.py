"""Nesterov's accelerated gradient, with the look-ahead point as the stored weight."""

from typing import Any, ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.contract import Moments


@keras.saving.register_keras_serializable(package="tuner")
class Nesterov(Rule):
    """v ← μ_k v - α ∇f(x + μ_k v); x ← x + v, for k = 0, 1, ...

    The gradient is wanted at y = x + μ_k v, so y is what the model's variables hold while it trains: with g at y,
    v' = μ_k v - α g and y' = y - μ_k v + (1 + μ_{k+1}) v'. `swap_to_evaluation` and the end of `fit` bring x = y - μ_k v.

    `schedule` "lecture" is μ_k = (k+2)/(k+5), "fista" is μ_k = (t_k - 1)/t_{k+1} with t_0 = t_1 = 1 and t_{k+1} = (1 + √(1 + 4
    t_k²))/2, both never more than `momentum` (1 unless given); "constant" is μ_k = `momentum` (0.9 unless given). A changed
    `momentum` acts from the next look-ahead on; the recovered x stays exact.

    Nesterov 1983; Sutskever et al. 2013, eqs. 3-4; lecture 3.4, "momentum version", which equals its "original version" with
    v^k = x^k - x^{k-1}; Beck and Teboulle 2009, eqs. 4.2-4.3 (FISTA). Raises ValueError for another schedule.
    """

    row = OPTIMIZERS["nesterov"]
    slots: ClassVar = {"velocity": 0.0}
    carried: ClassVar = {"ahead": 0.0, "t": 1.0}

    choices: ClassVar = {"schedule": ("lecture", "fista", "constant")}
    remembers = "m"
    leads = "velocity"

    def __init__(self, learning_rate: Any = None, **options: Any) -> None:
        super().__init__(learning_rate, **({"momentum": 0.9} if options.get("schedule") == "constant" else {}) | options)

    def per_step(self, h):
        """μ_k is what the last step looked ahead by; `ahead` becomes μ_{k+1}, where `h.k` = k + 1."""
        following, t = h.momentum, h.t
        if self.schedule == "lecture":
            following = ops.minimum((h.k + 2) / (h.k + 5), h.momentum)
        if self.schedule == "fista":
            t = (1 + ops.sqrt(1 + 4 * ops.square(h.t))) / 2
            following = ops.minimum((h.t - 1) / t, h.momentum)
        return {"mu": h.ahead, "ahead": following, "t": t, "forth": following + h.in_evaluation, "rest": 1 - h.in_evaluation}

    def update(self, g, x, slots, h):
        """One step of v and of the stored y, which moves by (1 + μ_{k+1}) v' - μ_k v = μ_{k+1} v' - α g, the iterate by v'."""
        (v,) = slots
        step = h.learning_rate * g
        v = h.mu * v - step
        return x + (h.forth * v - h.rest * step), (v,)

    def moments(self, h):
        """The same, with every number of this step."""
        return Moments(a=h.mu, b=-h.learning_rate, p=-h.forth, q=h.rest * h.learning_rate)

    def evaluation_point(self, x, slots, h):
        """The iterate y - μ_k v."""
        return x - h.ahead * slots[0]

    def training_point(self, x, slots, h):
        """The look-ahead point x + μ_k v."""
        return x + h.ahead * slots[0]
