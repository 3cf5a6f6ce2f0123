"""Fully connected layers, and what leads to them."""

import math
from typing import Any

import keras
import keras.ops as ops

from models.layers.base import Layer, Shape, Tensor, Weighted, alone


@keras.saving.register_keras_serializable(package="tuner")
class FullyConnected(Weighted):
    """u = W x + b, x' = σ(u): [B, D] -> [B, F]; with lanes [B, D] or [K, B, D] -> [K, B, F].

    Lecture 1.1. The kernel is [D, F], as in `keras.layers.Dense`: the transpose of the lecture's W.
    """

    def __init__(self, units: int, **layer: Any) -> None:
        super().__init__(**layer)
        self.units = units

    def build(self, input_shape: Shape) -> None:
        """Create W [D, F] and b [F]."""
        self.create((input_shape[-1], self.units))

    def call(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., F]."""
        self.penalise()
        kernel = self.cast_kernel()
        if self.lanes is not None and len(x.shape) == 2:
            return self.finish(self._shared(x, kernel))
        return self.finish(ops.matmul(x, kernel))

    def _shared(self, x: Tensor, kernel: Tensor) -> Tensor:
        """One wide product [B, D] x [D, K F] for a batch that all lanes share."""
        wide = ops.reshape(ops.transpose(kernel, (1, 0, 2)), (kernel.shape[1], self.lanes * self.units))
        return ops.transpose(ops.reshape(ops.matmul(x, wide), (-1, self.lanes, self.units)), (1, 0, 2))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """(..., D) -> (..., F), with the lanes in front."""
        if self.lanes is not None and len(input_shape) == 2:
            return (self.lanes, input_shape[0], self.units)
        return (*input_shape[:-1], self.units)

    def to_keras(self) -> keras.layers.Dense:
        """The Keras layer with these weights. Raises ValueError with lanes."""
        alone(self)
        twin = keras.layers.Dense(self.units, activation=self.activation, use_bias=self.use_bias, name=self.name)
        return self.give(twin, (None, self.kernel.shape[0]))

    @classmethod
    def from_keras(cls, twin: keras.layers.Dense) -> "FullyConnected":
        """This layer with the weights of a built Keras layer."""
        mine = cls(twin.units, activation=keras.activations.serialize(twin.activation), use_bias=twin.use_bias, name=twin.name)
        return mine.take(twin, (None, twin.kernel.shape[0]))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="tuner")
class Flatten(Layer):
    """[B, H, W, C] -> [B, H W C]; with lanes [K, B, H, W, C] -> [K, B, H W C]."""

    def call(self, x: Tensor) -> Tensor:
        """All axes behind the batch become one."""
        shape = self.compute_output_shape(tuple(x.shape))
        return ops.reshape(x, tuple(-1 if size is None else size for size in shape))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The sizes multiplied."""
        kept = 1 if self.lanes is None else 2
        return (*input_shape[:kept], math.prod(input_shape[kept:]))  # type: ignore[arg-type]

    def to_keras(self) -> keras.layers.Flatten:
        """The Keras layer. Raises ValueError with lanes."""
        alone(self)
        return keras.layers.Flatten(name=self.name)
