"""Rules that derive the weight from sums over all gradients: dual averaging and FTRL, around a center.

As published, both forget the initial weights, because they keep x near 0: right for linear models, where l₁ then gives exact
zeros, and destructive for a network. `center` "initial" keeps x near its initial value instead: the rule's d replaces x in the
formula, and x moves by what d moves, so weights that are set or decayed in between stay so. "zero" is the published form; it
takes no `weight_decay`, which it would forget too. A rate that changes weighs the gradients of its own steps only.

G₀ and n₀ are `initial_accumulator_value`, l₁ and l₂ are `prox_l1` and `prox_l2`, α is `learning_rate`.
"""

from typing import Any, ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.contract import shrink


class Centered(Rule):
    """A rule whose last slot is the displacement d of the weight from its center.

    Raises ValueError for another `center`, and for `weight_decay` around zero.
    """

    choices: ClassVar = {"center": ("initial", "zero")}

    def __init__(self, learning_rate: Any = None, **options: Any) -> None:
        super().__init__(learning_rate, **options)
        if self.center == "zero" and options.get("weight_decay") is not None:
            raise ValueError("around center 'zero' weight_decay would be forgotten at each step; use prox_l2")

    def split(self, x, d):
        """The center of `x` and the displacement from it, given the displacement `d` that the last step left."""
        return (ops.zeros_like(x), x) if self.center == "zero" else (x - d, d)


@keras.saving.register_keras_serializable(package="tuner")
class AdagradDA(Centered):
    """S ← S + α g; A ← A + α; G ← G + g²; d = -sign(S) max(|S| - l₁ A, 0) / (√(G₀ + G) + l₂ A), all sums from 0.

    Duchi, Hazan and Singer, *Adaptive Subgradient Methods*, 2011, eq. 3 (primal-dual update) with the weights of Nesterov 2009;
    for a constant rate A = α k, and "zero" is TensorFlow's AdagradDA. Lecture 3.4 names it.
    """

    row = OPTIMIZERS["adagrad_da"]
    slots: ClassVar = {"sum": 0.0, "sum_of_squares": 0.0, "displacement": 0.0}
    carried: ClassVar = {"total_rate": 0.0}

    def per_step(self, h):
        """A."""
        return {"total_rate": h.total_rate + h.learning_rate}

    def update(self, g, x, slots, h):
        """One step; A is `h.total_rate`."""
        total, squares, d = slots
        center, _ = self.split(x, d)
        total = total + h.learning_rate * g
        squares = squares + ops.square(g)
        scale = ops.sqrt(h.initial_accumulator_value + squares) + h.total_rate * h.prox_l2
        d = -shrink(total, h.total_rate * h.prox_l1) / scale
        return center + d, (total, squares, d)


@keras.saving.register_keras_serializable(package="tuner")
class Ftrl(Centered):
    """z ← z + α g - (√(n + g²) - √n) d; n ← n + g²; d ← -sign(z) max(|z| - α l₁, 0) / (β + √n + α l₂), from z = 0 and n = n₀.

    McMahan et al., *Ad Click Prediction: a View from the Trenches*, 2013, algorithm 1, whose z is our z/α; l₂ is its λ₂, twice
    the `l2` of TensorFlow and Keras. It starts with n₀ = 0 and β = 1; n₀ = 0.1 and β = 0 are TensorFlow's. Lecture 3.4 names it.
    """

    row = OPTIMIZERS["ftrl"]
    slots: ClassVar = {"sum": 0.0, "sum_of_squares": 0.0, "displacement": 0.0}

    def update(self, g, x, slots, h):
        """One step; the slot of n leaves n₀ out."""
        z, squares, d = slots
        center, d = self.split(x, d)
        before = ops.sqrt(h.initial_accumulator_value + squares)
        squares = squares + ops.square(g)
        root = ops.sqrt(h.initial_accumulator_value + squares)
        z = z + h.learning_rate * g - (root - before) * d
        d = -shrink(z, h.learning_rate * h.prox_l1) / (h.beta + root + h.learning_rate * h.prox_l2)
        return center + d, (z, squares, d)
