"""Adadelta."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.contract import Moments


@keras.saving.register_keras_serializable(package="tuner")
class Adadelta(Rule):
    """E ← ρ E + (1-ρ) g²; d = √(D + ε) / √(E + ε) g; D ← ρ D + (1-ρ) d²; x ← x - α d, from E = D = 0.

    The method is α = 1; D averages the steps before α. ε sets the length of the first steps. Zeiler, *ADADELTA: An Adaptive
    Learning Rate Method*, arXiv:1212.5701, algorithm 1 (with ρ = 0.95); lecture 3.4 (with ρ around 0.9).
    """

    row = OPTIMIZERS["adadelta"]
    slots: ClassVar = {"mean_square": 0.0, "mean_square_step": 0.0}
    remembers = "vs"

    def update(self, g, x, slots, h):
        """One step; ρ is `rho`, ε is `epsilon`, α is `learning_rate`."""
        mean_square, mean_square_step = slots
        mean_square = mean_square + (1 - h.rho) * (ops.square(g) - mean_square)
        step = ops.sqrt((mean_square_step + h.epsilon) / (mean_square + h.epsilon)) * g
        mean_square_step = mean_square_step + (1 - h.rho) * (ops.square(step) - mean_square_step)
        return x - h.learning_rate * step, (mean_square, mean_square_step)

    def moments(self, h):
        """The same, with every number of this step."""
        rest = 1 - h.rho
        return Moments(a=h.rho, c=h.rho, d=rest, w=1.0, i=h.epsilon, e=0.0, f=h.learning_rate, r=rest)
