"""Normalisation: z = γ (x - μ) / sqrt(σ² + ε) + β; the layers differ in what μ and σ² are the mean and the variance of.

Statistics are in float32 when the layer computes in half precision, and each lane has its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras.ops as ops
import tensorflow as tf

from models.layers.base import Layer, Shape, State, Tensor, arguments, refuse
from models.random import Key


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

    def initial_state(self, keys: Sequence[Key], params: Sequence[Mapping[str, Any]]) -> State:
        """γ = 1, β = 0."""
        del keys, params  # nothing here is random, or another in another lane
        return [(weight, value) for weight, value in ((self.gamma, 1.0), (self.beta, 0.0)) if weight is not None]

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


def normal_arguments(twin: keras.layers.Layer) -> dict[str, Any]:
    """ε, and whether there are γ and β, of a Keras layer. Raises ValueError for penalties and constraints."""
    refuse(twin, gamma_regularizer=None, beta_regularizer=None, gamma_constraint=None, beta_constraint=None)
    return {**arguments(twin), "epsilon": twin.epsilon, "center": twin.center, "scale": twin.scale}


def inputs_of(twin: keras.layers.Layer) -> Shape:
    """The input's shape that a Keras layer was built for, without its batch."""
    return (None, *twin.get_build_config()["input_shape"][1:])


def check_last_axis(twin: keras.layers.Layer) -> None:
    """Raise ValueError when a Keras layer normalises another axis than the last."""
    axis = twin.axis[0] if isinstance(twin.axis, list | tuple) and len(twin.axis) == 1 else twin.axis
    if axis not in (-1, len(inputs_of(twin)) - 1):
        raise ValueError(f"{twin.name} has axis={twin.axis!r}; only the last has a counterpart here")
