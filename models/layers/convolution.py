"""Convolutional layers."""

from typing import Any, Self

import keras
import tensorflow as tf

from models.layers.base import Shape, Tensor, arguments, refuse, sizes_of
from models.layers.weighted import Weighted, weighted_arguments
from models.shapes import Padding, checked_padding, image_size, pair, whole


@keras.saving.register_keras_serializable(package="tuner")
class Convolution(Weighted):
    """x'(i, j, f) = σ(b_f + Σ_c Σ_p Σ_q W(p, q, c, f) x(i S + p - P, j S + q - P, c)), outside the image x = 0.

    Lecture 1.2, with p and q up to the kernel's size less one, the sum over channels, stride S and padding P: a
    cross-correlation, as everywhere in deep learning. [B, H, W, C] -> [B, H', W', F] with the sizes of
    `models.shapes.output_size`; with lanes [B, H, W, C] or [K, B, H, W, C] -> [K, B, H', W', F]. The kernel is [FH, FW, C, F].

    `kernel_size` and `stride` are a number or (height, width); `padding` is P, "valid" (P = 0) or "same" (ceil(H / S) places).
    Raises ValueError for other values, and in `build` for a kernel that does not fit.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: Padding = "same",
        **layer: Any,
    ) -> None:
        super().__init__(**layer)
        self.filters = whole("filters", filters)
        self.kernel_size, self.stride = pair("kernel_size", kernel_size), pair("stride", stride)
        self.padding = checked_padding(padding)

    def build(self, input_shape: Shape) -> None:
        """Create W [FH, FW, C, F] and b [F]."""
        self.compute_output_shape(input_shape)
        self.create((*self.kernel_size, self.within(input_shape)[-1], self.filters))  # type: ignore[arg-type]

    def call(self, x: Tensor) -> Tensor:
        """[..., H, W, C] -> [..., H', W', F]."""
        self.penalise()
        kernel = self.cast_kernel()
        if self.lanes is None:
            return self.finish(self._convolved(x, kernel))
        if self.is_shared(x.shape):
            return self.finish(self._shared(x, kernel))
        # One convolution for each lane: on a CPU a grouped one takes about twice as long, and its gradient needs oneDNN.
        return self.finish(tf.stack([self._convolved(*own) for own in zip(tf.unstack(x), tf.unstack(kernel), strict=True)]))

    def _convolved(self, x: Tensor, kernel: Tensor) -> Tensor:
        # Not keras.ops.conv, which compiles some convolutions with XLA, on a CPU many times slower. Nor with explicit paddings,
        # which oneDNN leaves to a kernel that takes twice as long.
        P = self.padding
        if isinstance(P, str):
            return tf.nn.conv2d(x, kernel, self.stride, P.upper())
        if self.stride == (1, 1) and self.kernel_size == (2 * P + 1, 2 * P + 1):
            return tf.nn.conv2d(x, kernel, self.stride, "SAME")
        return tf.nn.conv2d(tf.pad(x, [[0, 0], [P, P], [P, P], [0, 0]]), kernel, self.stride, "VALID")

    def _shared(self, x: Tensor, kernel: Tensor) -> Tensor:
        """One convolution with K F filters for a batch that all lanes share."""
        wide = tf.reshape(tf.transpose(kernel, (1, 2, 3, 0, 4)), (*kernel.shape[1:4], kernel.shape[0] * self.filters))
        u = self._convolved(x, wide)
        return tf.transpose(tf.reshape(u, (*sizes_of(u)[:3], self.lanes, self.filters)), (3, 0, 1, 2, 4))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """(B, H, W, C) -> (B, H', W', F), with the lanes in front. Raises ValueError when the kernel does not fit."""
        batch, height, width, _ = self.within(input_shape)
        return self.laned(batch, *image_size((height, width), self.kernel_size, self.stride, self.padding), self.filters)

    def to_keras(self) -> keras.layers.Layer:
        """The Keras layer with these weights, behind a `ZeroPadding2D` when P is a number. Raises ValueError with lanes."""
        explicit = isinstance(self.padding, int)
        twin = keras.layers.Conv2D(
            self.filters, self.kernel_size, self.stride, "valid" if explicit else self.padding, **self.as_twin()
        )
        self.give(twin, (None, None, None, self.kernel.shape[2]))
        if not explicit:
            return twin
        twin.name = f"{self.name}_valid"
        return keras.Sequential([keras.layers.ZeroPadding2D(self.padding, dtype=self.dtype_policy), twin], name=self.name)

    @classmethod
    def from_keras(cls, twin: keras.layers.Layer) -> Self:
        """This layer with the weights of a built Keras layer, or of what `to_keras` made of a number as padding.

        Raises ValueError for dilation, groups, channels that come first, and paddings that differ from side to side.
        """
        if isinstance(twin, keras.Sequential):
            before, conv = twin.layers
            refuse(conv, padding="valid")
            refuse(before, padding=((before.padding[0][0],) * 2,) * 2)
            return cls._like(conv, before.padding[0][0], twin.name)
        return cls._like(twin, twin.padding, twin.name)

    @classmethod
    def _like(cls, twin: keras.layers.Conv2D, padding: Padding, name: str) -> Self:
        refuse(twin, dilation_rate=(1, 1), groups=1, data_format="channels_last")
        mine = {**weighted_arguments(twin), **arguments(twin), "name": name}
        layer = cls(twin.filters, twin.kernel_size, stride=twin.strides, padding=padding, **mine)
        return layer.take(twin, (None, None, None, twin.kernel.shape[2]))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        mine = {"filters": self.filters, "kernel_size": self.kernel_size, "stride": self.stride, "padding": self.padding}
        return {**super().get_config(), **mine}
