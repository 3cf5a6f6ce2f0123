"""Pooling layers: subsampling without weights, the number of channels unchanged (lecture 1.3)."""

from typing import Any, Self

import keras
import keras.ops as ops
import tensorflow as tf

from models.layers.base import Layer, Shape, Tensor, arguments, refuse, sizes_of
from models.shapes import Padding, checked_padding, image_size, pair


class Pooling(Layer):
    """[B, H, W, C] -> [B, H', W', C] with the sizes of `models.shapes.output_size`; with lanes K B images instead of B.

    `size` and `stride` are a number or (height, width), and a stride of None is the size; `padding` is "valid", "same" or a
    number of at most (size - 1) / 2, so that every window has a place inside. What is padded is never pooled: it is no maximum
    and does not count in a mean. Raises ValueError for other values, and in `build` for a window that does not fit.
    """

    def __init__(
        self,
        size: int | tuple[int, int] = 2,
        *,
        stride: int | tuple[int, int] | None = None,
        padding: Padding = "valid",
        **layer: Any,
    ) -> None:
        super().__init__(**layer)
        self.size = pair("size", size)
        self.stride = self.size if stride is None else pair("stride", stride)
        self.padding = checked_padding(padding, limit=(min(self.size) - 1) // 2)

    def build(self, input_shape: Shape) -> None:
        """Nothing to create. Raises ValueError for a window that does not fit."""
        self.compute_output_shape(input_shape)

    def call(self, x: Tensor) -> Tensor:
        """[..., H, W, C] -> [..., H', W', C]."""
        if len(x.shape) == 4:
            return self.pooled(x)
        lanes_batch, sizes = sizes_of(x)[:2], sizes_of(x)[2:]
        y = self.pooled(ops.reshape(x, (-1, *sizes)))
        return ops.reshape(y, (*lanes_batch, *sizes_of(y)[1:]))

    def pooled(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, H', W', C]."""
        raise NotImplementedError

    def padded(self, x: Tensor, value: float) -> tuple[Tensor, str]:
        """What TensorFlow shall pool, and with which padding: a number is put around the image."""
        if not isinstance(self.padding, int):
            return x, self.padding.upper()
        around = [self.padding] * 2
        return tf.pad(x, [[0, 0], around, around, [0, 0]], constant_values=tf.cast(value, x.dtype)), "VALID"

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """(..., H, W, C) -> (..., H', W', C). Raises ValueError when the window does not fit."""
        _, height, width, channels = self.within(input_shape)
        sizes = image_size((height, width), self.size, self.stride, self.padding)
        return (*input_shape[:-3], *sizes, channels)

    def twin(self, kind: type[keras.layers.Layer]) -> keras.layers.Layer:
        """A Keras layer of this kind. A number as padding takes three: pool everywhere, cut off what is before P, stride."""
        if not isinstance(self.padding, int):
            return kind(self.size, self.stride, self.padding, **self.as_twin())
        cut = tuple(((size - 1) // 2 - self.padding, size // 2 - self.padding) for size in self.size)
        policy = {"dtype": self.dtype_policy}
        steps = [kind(self.size, 1, "same", **policy), keras.layers.Cropping2D(cut, **policy), kind(1, self.stride, **policy)]
        return keras.Sequential(steps, name=self.as_twin()["name"])

    @classmethod
    def from_keras(cls, twin: keras.layers.Layer) -> Self:
        """The same for a Keras layer, or for what `to_keras` made of a number as padding.

        Raises ValueError for channels that come first.
        """
        if isinstance(twin, keras.Sequential):
            every, cut, strided = twin.layers
            padding: Padding = (every.pool_size[0] - 1) // 2 - cut.cropping[0][0]
            return cls(every.pool_size, stride=strided.strides, padding=padding, **{**arguments(every), "name": twin.name})
        refuse(twin, data_format="channels_last")
        return cls(twin.pool_size, stride=twin.strides, padding=twin.padding, **arguments(twin))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "size": self.size, "stride": self.stride, "padding": self.padding}


@keras.saving.register_keras_serializable(package="tuner")
class MaxPooling(Pooling):
    """The largest value of every window; its gradient goes to the first place that has it."""

    def pooled(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, H', W', C]."""
        x, padding = self.padded(x, x.dtype.min)
        return tf.nn.max_pool2d(x, self.size, self.stride, padding)

    def to_keras(self) -> keras.layers.Layer:
        """The Keras layer, or three of them for a number as padding. Raises ValueError with lanes."""
        return self.twin(keras.layers.MaxPooling2D)


@keras.saving.register_keras_serializable(package="tuner")
class AveragePooling(Pooling):
    """The mean of every window, over its places inside the image."""

    def pooled(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, H', W', C]."""
        around, padding = self.padded(x, 0)
        y = tf.nn.avg_pool2d(around, self.size, self.stride, padding)
        if padding == "SAME" or around is x:
            return y
        inside, _ = self.padded(tf.ones_like(x[:1, :, :, :1]), 0)
        return y / tf.nn.avg_pool2d(inside, self.size, self.stride, padding)

    def to_keras(self) -> keras.layers.Layer:
        """The Keras layer, or three of them for a number as padding. Raises ValueError with lanes."""
        return self.twin(keras.layers.AveragePooling2D)


@keras.saving.register_keras_serializable(package="tuner")
class GlobalAveragePooling(Layer):
    """The mean of every channel: [B, H, W, C] -> [B, C]; with lanes [K, B, H, W, C] -> [K, B, C] (Lin, Chen and Yan 2014)."""

    def build(self, input_shape: Shape) -> None:
        """Nothing to create."""
        self.within(input_shape)

    def call(self, x: Tensor) -> Tensor:
        """[..., H, W, C] -> [..., C]."""
        return ops.mean(x, axis=(-3, -2))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """(..., H, W, C) -> (..., C)."""
        return (*input_shape[:-3], input_shape[-1])

    def to_keras(self) -> keras.layers.GlobalAveragePooling2D:
        """The Keras layer. Raises ValueError with lanes."""
        return keras.layers.GlobalAveragePooling2D(**self.as_twin())

    @classmethod
    def from_keras(cls, twin: keras.layers.GlobalAveragePooling2D) -> Self:
        """The same for a Keras layer. Raises ValueError for channels that come first and for `keepdims`."""
        refuse(twin, data_format="channels_last", keepdims=False)
        return cls(**arguments(twin))
