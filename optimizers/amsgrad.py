"""Adam whose step sizes never grow."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.adam import Adam


@keras.saving.register_keras_serializable(package="tuner")
class AMSGrad(Adam):
    """Adam's m and v; w ← max(w, v); x ← x - α m̂ / (√ŵ + ε), with m̂ = m/(1-β₁ᵏ) and ŵ = w/(1-β₂ᵏ).

    Reddi, Kale and Kumar, *On the Convergence of Adam and Beyond*, 2018, algorithm 2, with the bias correction that the paper
    leaves out for brevity and TensorFlow, PyTorch and Keras all put there.
    """

    row = OPTIMIZERS["amsgrad"]
    slots: ClassVar = {"mean": 0.0, "mean_square": 0.0, "largest": 0.0}

    def update(self, g, x, slots, h):
        """One step; β₁ is `beta_1`, β₂ is `beta_2`, ε is `epsilon`, α is `learning_rate`."""
        m, v, w = slots
        m = m + (1 - h.beta_1) * (g - m)
        v = v + (1 - h.beta_2) * (ops.square(g) - v)
        w = ops.maximum(w, v)
        return x - h.rate * (m / (ops.sqrt(w) + h.floor)), (m, v, w)
