"""Adaptive subgradient method."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.contract import Moments


@keras.saving.register_keras_serializable(package="tuner")
class Adagrad(Rule):
    """G ← G + g²; x ← x - α g / √(G₀ + G + ε), from G = 0.

    ε stands inside the root as in the lecture; with `epsilon_inside=False` outside, √(G₀ + G) + ε, as δ in Duchi, Hazan and
    Singer, *Adaptive Subgradient Methods for Online Learning and Stochastic Optimization*, 2011, figure 1. G₀ is
    `initial_accumulator_value`, 0 unless given; Keras' Adagrad has 0.1. Lecture 3.4.
    """

    row = OPTIMIZERS["adagrad"]
    slots: ClassVar = {"accumulator": 0.0}
    choices: ClassVar = {"epsilon_inside": (True, False)}
    remembers = "v"

    def per_step(self, h):
        """What stands under the root beside G."""
        return {"inside": h.initial_accumulator_value + h.epsilon}

    def update(self, g, x, slots, h):
        """One step; ε is `epsilon`, α is `learning_rate`."""
        (total,) = slots
        total = total + ops.square(g)
        if self.epsilon_inside:
            return x - h.learning_rate * (g / ops.sqrt(total + h.inside)), (total,)
        return x - h.learning_rate * (g / (ops.sqrt(total + h.initial_accumulator_value) + h.epsilon)), (total,)

    def moments(self, h):
        """The same, with every number of this step."""
        i, e = (h.inside, 0.0) if self.epsilon_inside else (h.initial_accumulator_value, h.epsilon)
        return Moments(c=1.0, d=1.0, q=h.learning_rate, i=i, e=e)
