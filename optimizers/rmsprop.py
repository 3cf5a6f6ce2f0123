"""RMSProp."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.contract import Moments


@keras.saving.register_keras_serializable(package="tuner")
class RMSProp(Rule):
    """E ← ρ E + (1-ρ) g²; x ← x - α g / √(E + ε), from E = 0 and without bias correction.

    The first steps are up to 1/√(1-ρ) times longer than later ones; that is the method. `initial_mean_square` is the E it starts
    from, and with `epsilon_inside=False` the denominator is √E + ε. Hinton, Srivastava and Swersky, *Neural
    Networks for Machine Learning*, lecture 6e, 2012 (without ε); lecture 3.4 (with ε inside the root).
    """

    row = OPTIMIZERS["rmsprop"]
    slots: ClassVar = {"mean_square": "initial_mean_square"}
    choices: ClassVar = {"epsilon_inside": (True, False), "initial_mean_square": (0.0, 1.0)}
    remembers = "v"

    def update(self, g, x, slots, h):
        """One step; ρ is `rho`, ε is `epsilon`, α is `learning_rate`."""
        (mean_square,) = slots
        mean_square = mean_square + (1 - h.rho) * (ops.square(g) - mean_square)
        if self.epsilon_inside:
            return x - h.learning_rate * (g / ops.sqrt(mean_square + h.epsilon)), (mean_square,)
        return x - h.learning_rate * (g / (ops.sqrt(mean_square) + h.epsilon)), (mean_square,)

    def moments(self, h):
        """The same, with every number of this step."""
        i, e = (h.epsilon, 0.0) if self.epsilon_inside else (0.0, h.epsilon)
        return Moments(c=h.rho, d=1 - h.rho, q=h.learning_rate, i=i, e=e)
