"""Normalisation: z = γ (x - μ) / sqrt(σ² + ε) + β; the layers differ in what μ and σ² are the mean and the variance of.

Statistics are in float32 when the layer computes in half precision, and each lane has its own.
"""

from collections.abc import Sequence
from typing import Any, Self

import keras
import keras.ops as ops
import tensorflow as tf

from models.layers.base import Layer, Shape, Tensor, arguments, refuse, sizes_of
from models.random import Key
from models.shapes import largest_divisor, whole


class Normalization(Layer):
    """γ = 1 and β = 0 of [C], without γ if not `scale`, without β if not `center`; the shape of x is kept.

    Raises ValueError for an `epsilon` that is not above 0.
    """

    def __init__(self, *, epsilon: float = 1e-3, center: bool = True, scale: bool = True, **layer: Any) -> None:
        if not epsilon > 0:
            raise ValueError(f"epsilon must be above 0; got {epsilon!r}")
        super().__init__(**layer)
        self.epsilon, self.center, self.scale = epsilon, center, scale
        self.gamma: keras.Variable | None = None
        self.beta: keras.Variable | None = None

    def build(self, input_shape: Shape) -> None:
        """Create γ [C] and β [C]."""
        self.inputs = (None, *self.within(input_shape)[1:])
        channels = self.inputs[-1]
        if self.scale:
            self.gamma = self.state("gamma", channels, 1.0, trainable=True)
        if self.center:
            self.beta = self.state("beta", channels, 0.0, trainable=True)

    def state(self, name: str, channels: int | None, value: float, *, trainable: bool) -> keras.Variable:
        """A variable [C], never autocast: it meets statistics in float32."""
        initial = keras.initializers.Constant(value)
        return self.add_weight(name=name, shape=self.laned(channels), initializer=initial, trainable=trainable, autocast=False)

    def initialise(self, keys: Sequence[Key]) -> None:
        """γ = 1, β = 0."""
        del keys  # nothing here is random
        if self.gamma is not None:
            self.gamma.assign(ops.ones_like(self.gamma))
        if self.beta is not None:
            self.beta.assign(ops.zeros_like(self.beta))

    def exact(self, x: Tensor) -> Tensor:
        """`x` in a dtype that statistics can be taken in, with an axis for the lanes."""
        return ops.cast(self.face(x), "float64" if x.dtype == tf.float64 else "float32")

    def normal(self, x: Tensor, mean: Tensor, variance: Tensor, shape: Shape | None = None) -> Tensor:
        """γ (x - μ) / sqrt(σ² + ε) + β in the dtype of the computation; γ and β first take the last axes `shape`."""
        own = None if shape is None else self.laned(*shape)
        gamma, beta = (self._against(x, weight, own) for weight in (self.gamma, self.beta))
        # Of the ways to write it, XLA compiles this one well; with `tf.nn.batch_normalization` a layer takes a fifth longer.
        factor = tf.math.rsqrt(variance + self.epsilon)
        factor = factor if gamma is None else factor * gamma
        shift = -mean * factor
        shift = shift if beta is None else shift + beta
        return self.fill(ops.cast(x * factor + shift, self.compute_dtype))

    def _against(self, x: Tensor, weight: keras.Variable | None, shape: Shape | None) -> Tensor | None:
        if weight is None:
            return None
        value = ops.cast(weight, x.dtype)
        return self.spread(value if shape is None else ops.reshape(value, shape), len(x.shape))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The same, with the lanes in front."""
        return self.laned(*self.within(input_shape))

    def shared_weights(self) -> list[keras.Variable]:
        """γ and β."""
        return [weight for weight in (self.gamma, self.beta) if weight is not None]

    def as_twin(self) -> dict[str, Any]:
        """With ε, and whether there are γ and β."""
        return {**super().as_twin(), "epsilon": self.epsilon, "center": self.center, "scale": self.scale}

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "epsilon": self.epsilon, "center": self.center, "scale": self.scale}


@keras.saving.register_keras_serializable(package="tuner")
class BatchNormalization(Normalization):
    """μ and σ² of each channel over the batch and its images; lecture IV, Ioffe and Szegedy 2015.

    Outside training they are running means: moving = momentum moving + (1 - momentum) batch, of the biased variance, as in Keras.
    A layer that is not trainable uses these in training too. Raises ValueError for a momentum outside 0 to 1.
    """

    def __init__(self, *, momentum: float = 0.99, **layer: Any) -> None:
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be from 0 to 1; got {momentum!r}")
        super().__init__(**layer)
        self.momentum = momentum

    def build(self, input_shape: Shape) -> None:
        """Create γ, β and the running statistics, all [C]."""
        super().build(input_shape)
        channels = self.inputs[-1]
        self.moving_mean = self.state("moving_mean", channels, 0.0, trainable=False)
        self.moving_variance = self.state("moving_variance", channels, 1.0, trainable=False)

    def initialise(self, keys: Sequence[Key]) -> None:
        """γ = 1, β = 0, running mean 0, running variance 1."""
        super().initialise(keys)
        self.moving_mean.assign(ops.zeros_like(self.moving_mean))
        self.moving_variance.assign(ops.ones_like(self.moving_variance))

    def call(self, x: Tensor, *, training: bool = False) -> Tensor:
        """The shape of `x`, with the lanes in front."""
        x = self.exact(x)
        moving = [ops.cast(self.moving_mean, x.dtype), ops.cast(self.moving_variance, x.dtype)]
        if not (training and self.trainable):
            return self.normal(x, *(self.spread(value, len(x.shape)) for value in moving))
        axes = list(range(0 if self.lanes is None else 1, len(x.shape) - 1))
        batch = tf.nn.moments(x, axes, keepdims=self.lanes is not None)
        for variable, old, new in zip((self.moving_mean, self.moving_variance), moving, batch, strict=True):
            flat = new if self.lanes is None else ops.reshape(new, (-1, new.shape[-1]))
            variable.assign(old * self.momentum + flat * (1 - self.momentum))
        return self.normal(x, *batch)

    def shared_weights(self) -> list[keras.Variable]:
        """γ, β and the running statistics."""
        return [*super().shared_weights(), self.moving_mean, self.moving_variance]

    def to_keras(self) -> keras.layers.BatchNormalization:
        """The Keras layer with these weights. Raises ValueError with lanes."""
        twin = keras.layers.BatchNormalization(momentum=self.momentum, **self.as_twin())
        return self.give(twin, self.inputs)

    @classmethod
    def from_keras(cls, twin: keras.layers.BatchNormalization) -> Self:
        """This layer with the weights of a built Keras layer. Raises ValueError for an axis but the last, and for `renorm`."""
        refuse(twin, renorm=False)
        _last_of(twin)
        return cls(momentum=twin.momentum, **_normal_arguments(twin)).take(twin, _inputs(twin))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "momentum": self.momentum}


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
        z = self.normal(grouped, *tf.nn.moments(grouped, axes, keepdims=True), own)
        return ops.reshape(z, self.laned(*sizes_of(x)[leading - 1 :]))

    def to_keras(self) -> keras.layers.GroupNormalization:
        """The Keras layer with these weights. Raises ValueError with lanes."""
        groups = largest_divisor(self.inputs[-1], self.groups)  # type: ignore[arg-type]
        return self.give(keras.layers.GroupNormalization(groups, **self.as_twin()), self.inputs)

    @classmethod
    def from_keras(cls, twin: keras.layers.GroupNormalization) -> Self:
        """This layer with the weights of a built Keras layer. Raises ValueError for an axis but the last."""
        _last_of(twin)
        return cls(twin.groups, **_normal_arguments(twin)).take(twin, _inputs(twin))

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
        _last_of(twin)
        return cls(**_normal_arguments(twin)).take(twin, _inputs(twin))


def _normal_arguments(twin: keras.layers.Layer) -> dict[str, Any]:
    return {**arguments(twin), "epsilon": twin.epsilon, "center": twin.center, "scale": twin.scale}


def _inputs(twin: keras.layers.Layer) -> Shape:
    """The input's shape that a Keras layer was built for, without its batch."""
    return (None, *twin.get_build_config()["input_shape"][1:])


def _last_of(twin: keras.layers.Layer) -> None:
    """Raise ValueError when a Keras layer normalises another axis than the last."""
    axis = twin.axis[0] if isinstance(twin.axis, list | tuple) and len(twin.axis) == 1 else twin.axis
    if axis not in (-1, len(_inputs(twin)) - 1):
        raise ValueError(f"{twin.name} has axis={twin.axis!r}; only the last has a counterpart here")
