"""Group and layer normalisation, which know no other row of the batch and no running statistics."""

from typing import Any, Self

import keras
import keras.ops as ops
import tensorflow as tf

from models.layers.base import Tensor, refuse, sizes_of
from models.layers.normalization import Normalization, check_last_axis, inputs_of, normal_arguments
from models.shapes import largest_divisor, whole


@keras.saving.register_keras_serializable(package="tuner")
class GroupNormalization(Normalization):
    """μ and σ² of each row over its images and a group of channels; lecture IV, Wu and He 2018.

    `groups` is brought down to the largest divisor of the number of channels, so that every width can have it.
    Raises ValueError for `groups` that is not a whole number from 1.
    """

    def __init__(self, groups: int = 32, **layer: Any) -> None:
        super().__init__(**layer)
        self.groups = whole("groups", groups)

    def call(self, x: Tensor) -> Tensor:
        """The shape of `x`, with the lanes in front."""
        x = self.exact(x)
        groups, leading = largest_divisor(self.inputs[-1], self.groups), len(self.laned(1))  # type: ignore[arg-type]
        own = (groups, x.shape[-1] // groups)
        grouped = ops.reshape(x, (*sizes_of(x)[:-1], *own))
        axes = [*range(leading, len(x.shape) - 1), len(x.shape)]
        mean, variance = tf.nn.moments(grouped, axes, keepdims=True)
        z = self.normal(grouped, mean, variance, own)
        return ops.reshape(z, self.laned(*sizes_of(x)[leading - 1 :]))

    def to_keras(self) -> keras.layers.GroupNormalization:
        """The Keras layer with these weights. Raises ValueError with lanes."""
        groups = largest_divisor(self.inputs[-1], self.groups)  # type: ignore[arg-type]
        return self.give(keras.layers.GroupNormalization(groups, **self.as_twin()), self.inputs)

    @classmethod
    def from_keras(cls, twin: keras.layers.GroupNormalization) -> Self:
        """This layer with the weights of a built Keras layer. Raises ValueError for an axis but the last."""
        check_last_axis(twin)
        return cls(twin.groups, **normal_arguments(twin)).take(twin, inputs_of(twin))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "groups": self.groups}


@keras.saving.register_keras_serializable(package="tuner")
class LayerNormalization(Normalization):
    """μ and σ² of each place over its channels; Ba, Kiros and Hinton 2016."""

    def call(self, x: Tensor) -> Tensor:
        """The shape of `x`, with the lanes in front."""
        x = self.exact(x)
        return self.normal(x, *tf.nn.moments(x, [-1], keepdims=True))

    def to_keras(self) -> keras.layers.LayerNormalization:
        """The Keras layer with these weights. Raises ValueError with lanes."""
        return self.give(keras.layers.LayerNormalization(**self.as_twin()), self.inputs)

    @classmethod
    def from_keras(cls, twin: keras.layers.LayerNormalization) -> Self:
        """This layer with the weights of a built Keras layer. Raises ValueError for an axis but the last, and `rms_scaling`."""
        refuse(twin, rms_scaling=False)
        check_last_axis(twin)
        return cls(**normal_arguments(twin)).take(twin, inputs_of(twin))
