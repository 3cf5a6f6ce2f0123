"""Gradient descent with momentum."""

from typing import ClassVar

import keras

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.contract import Moments


@keras.saving.register_keras_serializable(package="tuner")
class Momentum(Rule):
    """v ← μ v - α g; x ← x + v.

    The velocity holds the learning rate, so it keeps the rates of the past (PyTorch's form differs once the rate changes).
    Polyak 1964; Sutskever et al., *On the importance of initialization and momentum in deep learning*, 2013, eqs. 1-2; lecture
    3.4.
    """

    row = OPTIMIZERS["momentum"]
    slots: ClassVar = {"velocity": 0.0}
    remembers = "m"

    def update(self, g, x, slots, h):
        """One step; μ is `momentum`, α is `learning_rate`."""
        (v,) = slots
        v = h.momentum * v - h.learning_rate * g
        return x + v, (v,)

    def moments(self, h):
        """The same, with every number of this step."""
        return Moments(a=h.momentum, b=-h.learning_rate, p=-1.0)
