"""SAG without its bias."""

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.row_memory import RowMemory


@keras.saving.register_keras_serializable(package="tuner")
class SAGA(RowMemory):
    """x ← x - α (mean over the batch of ∇f_i(x) - y_i, + Σ y_i / N + ∇penalty); then y_i ← the ∇f_i(x) of the batch.

    Unbiased for rows that are drawn at random. Linear rate for a strongly convex f at α = 1/(3L), L the largest smoothness of a
    row.

    Defazio, Bach and Lacoste-Julien, *SAGA: A Fast Incremental Gradient Method With Support for Non-Strongly Convex Composite
    Objectives*, 2014, eq. 1; a penalty is taken by its gradient, not by its proximal map.
    """

    row = OPTIMIZERS["saga"]

    def direction(self, total, change, counts):
        """The gradient of the batch, corrected by what is remembered of it and of all."""
        return change / ops.cast(counts.m, change.dtype) + total / counts.N
