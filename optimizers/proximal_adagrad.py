"""Adagrad with a proximal step for l1 and l2."""

from typing import ClassVar

import keras
import keras.ops as ops

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.contract import shrink


@keras.saving.register_keras_serializable(package="tuner")
class ProximalAdagrad(Rule):
    """G ← G + g²; η = α/√(G₀ + G); w = x - η g; x ← sign(w) max(|w| - η l₁, 0) / (1 + η l₂), from G = 0.

    Weights that l₁ takes to zero are exactly zero. G₀ is `initial_accumulator_value`, l₁ and l₂ are `prox_l1` and `prox_l2`.
    Duchi and Singer, *Efficient Online and Batch Learning Using Forward Backward Splitting*, 2009, eqs. 2-3 and section 5, with
    the steps of Duchi, Hazan and Singer 2011, eq. 4; lecture 3.4 names it.
    """

    row = OPTIMIZERS["proximal_adagrad"]
    slots: ClassVar = {"sum_of_squares": 0.0}

    def update(self, g, x, slots, h):
        """One step; α is `learning_rate`."""
        (total,) = slots
        total = total + ops.square(g)
        rate = h.learning_rate / ops.sqrt(h.initial_accumulator_value + total)
        return shrink(x - rate * g, rate * h.prox_l1) / (1 + rate * h.prox_l2), (total,)
