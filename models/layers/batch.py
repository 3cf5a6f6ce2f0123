"""Batch normalisation."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras
import keras.ops as ops
import tensorflow as tf

from models.layers.base import Shape, State, Tensor, refuse
from models.layers.normalization import Normalization, check_last_axis, inputs_of, normal_arguments
from models.random import Key


@keras.saving.register_keras_serializable(package="tuner")
class BatchNormalization(Normalization):
    """μ and σ² of each channel over the batch and its images; lecture IV, Ioffe and Szegedy 2015.

    Outside training they are running means: moving = momentum moving + (1 - momentum) batch, of the biased variance, as in Keras.
    The momentum is a hyper-parameter, `norm_momentum`. A layer that is not trainable uses the running means in training too.
    Raises ValueError for a momentum outside 0 to 1.
    """

    def __init__(self, *, momentum: float = 0.99, **layer: Any) -> None:
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be from 0 to 1; got {momentum!r}")
        super().__init__(**layer)
        self.momentum = momentum

    def build(self, input_shape: Shape) -> None:
        """Create γ, β and the running statistics, all [C], and the momentum."""
        super().build(input_shape)
        self.add_hyper("norm_momentum", self.momentum)
        channels = self.inputs[-1]
        self.moving_mean = self.state("moving_mean", channels, 0.0, trainable=False)
        self.moving_variance = self.state("moving_variance", channels, 1.0, trainable=False)

    def initial_state(self, keys: Sequence[Key], params: Sequence[Mapping[str, Any]]) -> State:
        """γ = 1, β = 0, running mean 0, running variance 1."""
        return [*super().initial_state(keys, params), (self.moving_mean, 0.0), (self.moving_variance, 1.0)]

    def call(self, x: Tensor, *, training: bool = False) -> Tensor:
        """The shape of `x`, with the lanes in front."""
        x = self.exact(x)
        moving = [ops.cast(self.moving_mean, x.dtype), ops.cast(self.moving_variance, x.dtype)]
        if not (training and self.trainable):
            return self.normal(x, *(self.spread(value, len(x.shape)) for value in moving))
        axes = list(range(0 if self.lanes is None else 1, len(x.shape) - 1))
        batch = tf.nn.moments(x, axes, keepdims=self.lanes is not None)
        momentum = self.spread(ops.cast(self.hyper["norm_momentum"], x.dtype), 2)
        for variable, old, new in zip((self.moving_mean, self.moving_variance), moving, batch, strict=True):
            flat = new if self.lanes is None else ops.reshape(new, (-1, new.shape[-1]))
            variable.assign(old * momentum + flat * (1 - momentum))
        return self.normal(x, *batch)

    def shared_weights(self) -> list[keras.Variable]:
        """γ, β and the running statistics."""
        return [*super().shared_weights(), self.moving_mean, self.moving_variance]

    def to_keras(self) -> keras.layers.BatchNormalization:
        """The Keras layer with these weights. Raises ValueError with lanes."""
        twin = keras.layers.BatchNormalization(momentum=float(self.hyper["norm_momentum"].numpy()), **self.as_twin())
        return self.give(twin, self.inputs)

    @classmethod
    def from_keras(cls, twin: keras.layers.BatchNormalization) -> Self:
        """This layer with the weights of a built Keras layer. Raises ValueError for an axis but the last, and for `renorm`."""
        refuse(twin, renorm=False)
        check_last_axis(twin)
        return cls(momentum=twin.momentum, **normal_arguments(twin)).take(twin, inputs_of(twin))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "momentum": self.momentum}
