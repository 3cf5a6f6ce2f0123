"""RMSProp with the variance in place of the mean square."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule


@keras.saving.register_keras_serializable(package="tuner")
class CenteredRMSProp(Rule):
    """E ← ρ E + (1-ρ) g²; m ← ρ m + (1-ρ) g; d ← μ d + α g / √(E - m² + ε); x ← x - d, all from 0,
    E from `initial_mean_square`.

    E - m² is kept from falling below 0, where rounding would take it. Under a gradient that does not change it tends to 0 and
    the step to α g / √ε: give such problems a larger ε. Graves, *Generating Sequences with Recurrent Neural Networks*, 2013,
    eqs. 38-41; lecture 3.4 names it.
    """

    row = OPTIMIZERS["centered_rmsprop"]
    slots: ClassVar = {"mean_square": "initial_mean_square", "mean": 0.0, "velocity": 0.0}
    choices: ClassVar = {"initial_mean_square": (0.0, 1.0)}

    def update(self, g, x, slots, h):
        """One step; ρ is `rho`, μ is `momentum`, ε is `epsilon`, α is `learning_rate`."""
        mean_square, mean, velocity = slots
        mean_square = mean_square + (1 - h.rho) * (ops.square(g) - mean_square)
        mean = mean + (1 - h.rho) * (g - mean)
        variance = ops.maximum(mean_square - ops.square(mean), 0.0)
        velocity = h.momentum * velocity + h.learning_rate * (g / ops.sqrt(variance + h.epsilon))
        return x - velocity, (mean_square, mean, velocity)
