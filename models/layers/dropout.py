"""Dropout."""

from collections.abc import Sequence
from typing import Any

import keras
import keras.ops as ops
import numpy as np
from numpy.typing import NDArray

from models import random
from models.layers.base import Layer, Shape, Tensor, alone


@keras.saving.register_keras_serializable(package="tuner")
class Dropout(Layer):
    """Inverted dropout: while training each element is 0 with probability `rate`, else it is divided by 1 - rate.

    Srivastava et al. 2014, section 10 (scaled in training). The mask is a function of (`key`, `step`), two variables; every call
    with `training=True` adds one to `step`.
    """

    stream = random.MASKS

    def __init__(self, rate: float, *, seed: int | None = None, **layer: Any) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be from 0 to below 1; got {rate!r}")
        super().__init__(**layer)
        self.rate, self.seed = rate, seed

    def build(self, input_shape: Shape) -> None:
        """Create the rate and what the masks follow from."""
        del input_shape  # a mask has the shape of what it masks
        self.add_hyper("dropout", self.rate)
        counter = {"initializer": "zeros", "trainable": False, "autocast": False}
        self.key = self.add_weight(name="key", shape=self.laned(2), dtype="uint32", **counter)
        self.step = self.add_weight(name="step", shape=self.laned(), dtype="int64", **counter)
        first = int(keras.random.draw_seed(self.seed)[0]) if self.seed is None else self.seed
        self.initialise([random.key(first + lane, self.stream, 0) for lane in range(self.lanes or 1)])

    def initialise(self, keys: Sequence[NDArray[np.uint32]]) -> None:
        """Begin the masks that belong to the keys."""
        self.key.assign(keys[0] if self.lanes is None else np.stack(keys))
        self.step.assign(ops.zeros_like(self.step))

    def call(self, x: Tensor, *, training: bool = False) -> Tensor:
        """The shape of `x`."""
        if not training:
            return x
        shape = tuple(ops.shape(x))[0 if self.lanes is None else 1 :]
        drawn = random.fractions(random.bits(ops.convert_to_tensor(self.key), ops.convert_to_tensor(self.step), shape))
        self.step.assign(self.step + 1)
        rate = self.spread(ops.convert_to_tensor(self.hyper["dropout"]), len(x.shape))
        return x * ops.cast(ops.cast(drawn >= ops.cast(rate, "float32"), rate.dtype) / (1 - rate), x.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The same."""
        return input_shape

    def to_keras(self) -> keras.layers.Dropout:
        """The Keras layer of the same rate. Raises ValueError with lanes."""
        alone(self)
        return keras.layers.Dropout(float(self.hyper["dropout"].numpy()), name=self.name)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
