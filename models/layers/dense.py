"""Fully connected layers, what leads to them, and an activation on its own."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras
import keras.ops as ops

from models.activations import ACTIVATIONS, chosen, plain, several
from models.layers.base import Layer, Shape, Tensor, arguments, refuse
from models.layers.weighted import Weighted, weighted_arguments
from models.shapes import whole


@keras.saving.register_keras_serializable(package="tuner")
class FullyConnected(Weighted):
    """u = W x + b, x' = σ(u): [B, D] -> [B, F]; with lanes [B, D] or [K, B, D] -> [K, B, F].

    Lecture 1.1. The kernel is [D, F], as in `keras.layers.Dense`: the transpose of the lecture's W. Raises ValueError for `units`
    that is not a whole number from 1.

    Lanes of different widths share the largest kernel: `inputs_of` and `units_of` name the parameters that say how many inputs
    and units a lane has. The other units return 0, and with W and b of 0 their gradients are 0 too.
    """

    def __init__(self, units: int, *, inputs_of: str | None = None, units_of: str | None = None, **layer: Any) -> None:
        super().__init__(**layer)
        self.units = whole("units", units)
        self.inputs_of, self.units_of = inputs_of, units_of

    def build(self, input_shape: Shape) -> None:
        """Create W [D, F] and b [F]."""
        self.create((self.within(input_shape)[-1], self.units))  # type: ignore[arg-type]
        if self.units_of is not None:
            self.add_hyper(self.units_of, self.units)

    def used(self, whole: tuple[int, ...], params: Mapping[str, Any]) -> tuple[int, ...]:
        """[D, F] of a lane."""
        return params.get(self.inputs_of or "", whole[0]), params.get(self.units_of or "", whole[1])

    def call(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., F]."""
        self.penalise()
        kernel = self.cast_kernel()
        y = self.finish(self._shared(x, kernel) if self.is_shared(x.shape) else ops.matmul(x, kernel))
        if self.units_of is None:
            return y
        return y * ops.cast(ops.arange(self.units) < ops.cast(self._hyper_of(self.units_of, len(y.shape)), "int32"), y.dtype)

    def _shared(self, x: Tensor, kernel: Tensor) -> Tensor:
        """One wide product [B, D] x [D, K F] for a batch that all lanes share."""
        wide = ops.reshape(ops.transpose(kernel, (1, 0, 2)), (kernel.shape[1], kernel.shape[0] * self.units))
        return ops.transpose(ops.reshape(ops.matmul(x, wide), (-1, self.lanes, self.units)), (1, 0, 2))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """(..., D) -> (..., F), with the lanes in front."""
        return self.laned(*self.within(input_shape)[:-1], self.units)

    def to_keras(self) -> keras.layers.Dense:
        """The Keras layer with these weights. Raises ValueError with lanes."""
        return self.give(keras.layers.Dense(self.units, **self.as_twin()), (None, self.kernel.shape[0]))

    @classmethod
    def from_keras(cls, twin: keras.layers.Dense) -> Self:
        """This layer with the weights of a built Keras layer.

        Raises ValueError for an activation that is not in the table, other penalties than l1 and l2 of W, and constraints.
        """
        return cls(twin.units, **weighted_arguments(twin), **arguments(twin)).take(twin, (None, twin.kernel.shape[0]))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "units": self.units, "inputs_of": self.inputs_of, "units_of": self.units_of}


@keras.saving.register_keras_serializable(package="tuner")
class Flatten(Layer):
    """[B, H, W, C] -> [B, H W C]; with lanes [K, B, H, W, C] -> [K, B, H W C]."""

    def build(self, input_shape: Shape) -> None:
        """Nothing to create. Raises ValueError when height or width is unknown."""
        self.compute_output_shape(input_shape)

    def call(self, x: Tensor) -> Tensor:
        """All axes behind the batch become one."""
        shape = self.compute_output_shape(tuple(x.shape))
        return ops.reshape(x, tuple(-1 if size is None else size for size in shape))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The sizes multiplied."""
        batch, *sizes = self.within(input_shape)
        if None in sizes:
            raise ValueError(f"{self.name} must know all sizes but the batch's, not {input_shape}")
        leading = input_shape[: len(input_shape) - len(sizes) - 1]
        return (*leading, batch, math.prod(sizes))  # type: ignore[arg-type]

    def to_keras(self) -> keras.layers.Flatten:
        """The Keras layer. Raises ValueError with lanes."""
        return keras.layers.Flatten(**self.as_twin())

    @classmethod
    def from_keras(cls, twin: keras.layers.Flatten) -> Self:
        """The same for a Keras layer. Raises ValueError for channels that come first."""
        refuse(twin, data_format="channels_last")
        return cls(**arguments(twin))


@keras.saving.register_keras_serializable(package="tuner")
class Activation(Layer):
    """x' = σ(x), for an activation that does not follow a kernel at once.

    Several activations make their choice a hyper-parameter, as in `Weighted`. Raises ValueError when one is not in the table.
    """

    def __init__(self, activation: str | Sequence[str], **layer: Any) -> None:
        self.activations = several(activation)
        super().__init__(**layer)

    @property
    def activation(self) -> str:
        """The only activation, or the first of several."""
        return self.activations[0]

    def build(self, input_shape: Shape) -> None:
        """Create the choice, if there is one."""
        self.within(input_shape)
        if len(self.activations) > 1:
            self.add_hyper("activation", 0)

    def call(self, x: Tensor) -> Tensor:
        """The shape of `x`, with the lanes in front where they choose."""
        if len(self.activations) == 1:
            return ACTIVATIONS[self.activation].function(x)
        x = self.fill(self.face(x))
        return chosen(x, self.activations, self.spread(keras.ops.convert_to_tensor(self.hyper["activation"]), len(x.shape)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The same, with the lanes in front where they choose."""
        return input_shape if len(self.activations) == 1 else self.laned(*self.within(input_shape))

    def to_keras(self) -> keras.layers.Activation:
        """The Keras layer. Raises ValueError with lanes."""
        return keras.layers.Activation(self.activation, **self.as_twin())

    @classmethod
    def from_keras(cls, twin: keras.layers.Activation) -> Self:
        """The same for a Keras layer. Raises ValueError for an activation that is not in the table."""
        return cls(keras.activations.serialize(twin.activation), **arguments(twin))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "activation": plain(self.activations)}
