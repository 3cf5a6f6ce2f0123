"""Adaptive moment estimation."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.contract import Moments, unbias


@keras.saving.register_keras_serializable(package="tuner")
class Adam(Rule):
    """m ← β₁ m + (1-β₁) g; v ← β₂ v + (1-β₂) g²; x ← x - α m̂ / (√v̂ + ε), with m̂ = m/(1-β₁ᵏ) and v̂ = v/(1-β₂ᵏ).

    Kingma and Ba, *Adam: A Method for Stochastic Optimization*, 2015, algorithm 1. The lecture's last line (3.4) lost the hat of
    v̂ and put ε inside the root. With `epsilon_hat=True` it is the form below algorithm 1, which TensorFlow, Keras, Caffe and
    Lasagne have: x ← x - α √(1-β₂ᵏ)/(1-β₁ᵏ) m / (√v + ε), an ε that is larger by 1/√(1-β₂ᵏ).
    """

    row = OPTIMIZERS["adam"]
    slots: ClassVar = {"mean": 0.0, "mean_square": 0.0}
    choices: ClassVar = {"epsilon_hat": (False, True)}
    remembers = "mv"

    def per_step(self, h):
        """Both bias corrections, moved into α and ε: α r/(1-β₁ᵏ) and ε r with r = √(1-β₂ᵏ)."""
        root = ops.rsqrt(unbias(h.beta_2, h.k))
        floor = h.epsilon if self.epsilon_hat else h.epsilon * root
        return {"rate": h.learning_rate * root * unbias(h.beta_1, h.k), "floor": floor}

    def update(self, g, x, slots, h):
        """One step; β₁ is `beta_1`, β₂ is `beta_2`, ε is `epsilon`, α is `learning_rate`."""
        m, v = slots
        m = m + (1 - h.beta_1) * (g - m)
        v = v + (1 - h.beta_2) * (ops.square(g) - v)
        return x - h.rate * (m / (ops.sqrt(v) + h.floor)), (m, v)

    def moments(self, h):
        """The same, with every number of this step."""
        return Moments(h.beta_1, 1 - h.beta_1, h.beta_2, 1 - h.beta_2, p=h.rate, e=h.floor)
