"""Stochastic gradient descent."""

import keras

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.contract import Moments


@keras.saving.register_keras_serializable(package="tuner")
class SGD(Rule):
    """x ← x - α g.

    Robbins and Monro, *A Stochastic Approximation Method*, 1951; lecture 3.3, formula 4.
    """

    row = OPTIMIZERS["sgd"]
    remembers = ""

    def update(self, g, x, slots, h):
        """One step; α is `learning_rate`."""
        return x - h.learning_rate * g, slots

    def moments(self, h):
        """The same, with every number of this step."""
        return Moments(q=h.learning_rate)
