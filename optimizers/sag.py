"""The stochastic average gradient."""

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.row_memory import RowMemory


@keras.saving.register_keras_serializable(package="tuner")
class SAG(RowMemory):
    """y_i ← ∇f_i(x) for the rows of the batch; x ← x - α (Σ y_i / m + ∇penalty), m the rows met so far.

    Biased, with little variance. Linear rate for a strongly convex f at α = 1/(16L), L the largest smoothness of a row; 1/L
    is what the authors use.

    Schmidt, Le Roux and Bach, *Minimizing Finite Sums with the Stochastic Average Gradient*, 2017, algorithm 1 and section 4
    (re-weighting on early iterations, exact regularisation, mini-batches).
    """

    row = OPTIMIZERS["sag"]

    def direction(self, total, change, counts):
        """The mean of the gradients that are remembered, those of the batch included."""
        return (total + change) / ops.cast(counts.met, change.dtype)
