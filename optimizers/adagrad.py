"""Adaptive subgradient method."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.interval import POSITIVE


@keras.saving.register_keras_serializable(package="tuner")
class Adagrad(Rule):
    """G ← G + g²; x ← x - α g / √(G + ε), from G = 0.

    ε stands inside the root as in the lecture (Duchi, Hazan and Singer, *Adaptive Subgradient Methods for Online Learning and
    Stochastic Optimization*, 2011, figure 1 adds δ outside); Keras' Adagrad starts from G = 0.1. Lecture 3.4.
    """

    row = OPTIMIZERS["adagrad"]
    allowed: ClassVar = {"epsilon": POSITIVE}
    slots: ClassVar = {"accumulator": 0.0}

    def update(self, g, x, slots, h):
        """One step; ε is `epsilon`, α is `learning_rate`."""
        (total,) = slots
        total = total + ops.square(g)
        return x - h.learning_rate * (g / ops.sqrt(total + h.epsilon)), (total,)
