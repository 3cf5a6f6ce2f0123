"""Deterministic gradient descent with the step 1/L."""

from collections.abc import Sequence
from typing import ClassVar

import keras
import keras.ops as ops
import tensorflow as tf

from optimizers import OPTIMIZERS
from optimizers.closure import Closure, ClosureRule, squared_norm, values_of
from optimizers.contract import Tensor

ITERATIONS = 500
GROWTH = 1e-5  # relative; of the norm in the last iteration of the power method


@keras.saving.register_keras_serializable(package="tuner")
class GradientDescent(ClosureRule):
    """x ← x - (α/L) ∇f(x), where f is the loss of all training rows.

    `learning_rate` is α, the step in units of 1/L: f falls for 0 < α < 2. `smoothness` is L, the Lipschitz constant of ∇f. When
    it is not given, L is the largest |eigenvalue| of ∇²f where training begins, found by the power method: L itself for a
    quadratic f; for any other it says nothing of the curvature further on. Where that is 0 or no number, the weights become no
    numbers.

    Weight decay and clips would make it the descent of another function and are refused.

    Cauchy 1847; Nesterov 2004, theorems 2.1.14-2.1.15; lecture 3.2, eq. 3.
    """

    row = OPTIMIZERS["gradient_descent"]
    carried: ClassVar = {"curvature": 0.0}

    def descend(self, closure, variables):
        """One step; the first one finds L, unless it is given."""
        here = values_of(variables)
        found = closure.gradient(here)
        if "smoothness" not in self._hypers:
            known = self._carried["curvature"]
            unknown = ops.equal(known, 0)
            known.assign(tf.cond(unknown, lambda: spectral_norm(closure, here, known.dtype), lambda: tf.identity(known.value)))
        self._step(found.grads, variables)
        return found

    def per_step(self, h):
        """The step α/L."""
        return {"learning_rate": h.learning_rate / (h.smoothness if "smoothness" in self._hypers else h.curvature)}

    def update(self, g, x, slots, h):
        """One step."""
        return x - h.learning_rate * g, slots


def spectral_norm(closure: Closure, values: Sequence[Tensor], dtype: str) -> Tensor:
    """max |eigenvalue of ∇²f(values)| by the power method, a scalar; from below.

    ‖∇²f v‖ for unit vectors v ← ∇²f v / ‖∇²f v‖ never falls, and never exceeds the norm, because ∇²f is symmetric.
    """

    def grows(k: Tensor, direction: list[Tensor], norm: Tensor, last: Tensor) -> Tensor:
        del direction  # its length alone
        return ops.logical_and(k < ITERATIONS, norm - last > GROWTH * norm)

    def multiply(k: Tensor, direction: list[Tensor], norm: Tensor, last: Tensor) -> tuple:
        del last  # replaced
        image = closure.hessian_times(values, direction)
        length = ops.sqrt(squared_norm(image, dtype))
        return k + 1, _scaled(image, 1 / length), length, ops.where(k > 0, norm, 0)

    start = [_spread(value) for value in values]
    unit = _scaled(start, ops.rsqrt(squared_norm(start, dtype)))
    one, zero = tf.ones((), dtype), tf.zeros((), dtype)
    return tf.while_loop(grows, multiply, (0, unit, one, zero), parallel_iterations=1)[2]


def _scaled(tensors: Sequence[Tensor], by: Tensor) -> list[Tensor]:
    return [tensor * ops.cast(by, tensor.dtype) for tensor in tensors]


def _spread(like: Tensor) -> Tensor:
    """Numbers in [-1/2, 1/2) that follow no pattern of a network, the same ones in every graph: i² φ mod 1."""
    i = tf.range(1, tf.size(like, tf.int64) + 1, dtype=tf.int64)
    turns = tf.cast(tf.math.floormod(i * i * 2654435769, 2**32), like.dtype) / 2**32 - 0.5
    return tf.reshape(turns, tf.shape(like))
