"""Clipping of gradients: within a lane, after the replicas have summed them."""

from collections.abc import Sequence

import keras.ops as ops
import tensorflow as tf

from optimizers.contract import Tensor
from optimizers.numbers import Numbers


class Clipping(Numbers):
    """`clipvalue`, `clipnorm` or `global_clipnorm`, in place of Keras' own, which know no lanes."""

    def _clip_gradients(self, grads: Sequence[Tensor]) -> list[Tensor]:
        grads = self._summed_over_replicas([ops.convert_to_tensor(gradient) for gradient in grads])
        if "clipvalue" in self._hypers:
            limits = [self._limit("clipvalue", gradient) for gradient in grads]
            return [ops.maximum(ops.minimum(g, limit), -limit) for g, limit in zip(grads, limits, strict=True)]
        if not self._hypers.keys() & {"clipnorm", "global_clipnorm"}:
            return grads
        squares = [self.total(ops.square(gradient)) for gradient in grads]
        if "clipnorm" in self._hypers:
            return [self._shrunk("clipnorm", g, square) for g, square in zip(grads, squares, strict=True)]
        total = sum(ops.cast(square, self._number_dtype) for square in squares)
        return [self._shrunk("global_clipnorm", gradient, total) for gradient in grads]

    def _shrunk(self, name: str, gradient: Tensor, square: Tensor) -> Tensor:
        norm = ops.cast(self._expand(ops.sqrt(square), len(gradient.shape)), gradient.dtype)
        limit = self._limit(name, gradient)
        scale = ops.where(ops.isfinite(norm), ops.minimum(1.0, limit / norm), float("nan"))
        return gradient * ops.where(ops.isinf(limit), 1.0, scale)  # a lane without a limit, beside others with one

    def _limit(self, name: str, gradient: Tensor) -> Tensor:
        return ops.cast(self._expand(self._hypers[name], len(gradient.shape)), gradient.dtype)

    def _summed_over_replicas(self, grads: list[Tensor]) -> list[Tensor]:
        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return grads
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, grads)

    def _all_reduce_sum_gradients(self, grads_and_vars: Sequence[tuple]) -> Sequence[tuple]:
        return grads_and_vars  # `_clip_gradients` has summed them, so that the clip sees the gradient of the whole batch
