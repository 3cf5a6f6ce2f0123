"""Dropout."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras
import keras.ops as ops

from models import random
from models.layers.base import Layer, Shape, State, Tensor, arguments
from models.random import Key


@keras.saving.register_keras_serializable(package="tuner")
class Dropout(Layer):
    """Inverted dropout: while training each element is 0 with probability `rate`, else it is divided by 1 - rate.

    Srivastava et al. 2014, section 10 (scaled in training). The mask is a function of (`key`, `step`), two variables; every call
    with `training=True` adds one to `step`. [B, ...] keeps its shape; with lanes every lane has its own masks, [K, B, ...].
    Raises ValueError for a rate outside 0 to below 1.
    """

    stream = random.MASKS

    def __init__(self, rate: float, *, seed: int | None = None, **layer: Any) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be from 0 to below 1; got {rate!r}")
        super().__init__(**layer)
        self.rate, self.seed = rate, seed

    def build(self, input_shape: Shape) -> None:
        """Create the rate and what the masks follow from."""
        self.within(input_shape)
        self.add_hyper("dropout", self.rate)
        state = {"trainable": False, "autocast": False}
        self.key = self.add_weight(name="key", shape=self.laned(2), dtype="uint32", initializer=self._first, **state)
        self.step = self.add_weight(name="step", shape=self.laned(), dtype="int64", initializer="zeros", **state)

    def _first(self, _: Any, dtype: Any) -> Tensor:
        """The keys of a layer that no model has initialised."""
        if self.seed is None:
            return ops.cast(self.stacked(self.fresh_keys()), dtype)
        keys = [random.key(self.seed + lane, self.stream, 0) for lane in range(self.lanes or 1)]
        return ops.cast(self.stacked(keys), dtype)

    def initial_state(self, keys: Sequence[Key], params: Sequence[Mapping[str, Any]]) -> State:
        """The masks that belong to the keys, from the first on."""
        del params  # no lane differs in more than its rate
        return [(self.key, self.stacked(keys)), (self.step, 0)]

    def call(self, x: Tensor, *, training: bool = False) -> Tensor:
        """The shape of `x`, with the lanes in front."""
        x = self.face(x)
        if not training:
            return self.fill(x)
        shape = tuple(ops.shape(x))[0 if self.lanes is None else 1 :]
        drawn = random.fractions(self.key, self.step, shape)
        self.step.assign(self.step + 1)
        rate = self.spread(ops.convert_to_tensor(self.hyper["dropout"]), len(x.shape))
        kept = drawn >= ops.cast(rate, "float32")
        return x * (ops.cast(kept, x.dtype) * ops.cast(1 / (1 - rate), x.dtype))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The same, with the lanes in front."""
        return self.laned(*self.within(input_shape))

    def to_keras(self) -> keras.layers.Dropout:
        """The Keras layer of the same rate, whose masks are others. Raises ValueError with lanes."""
        both = self.as_twin()
        return keras.layers.Dropout(float(self.hyper["dropout"].numpy()) if self.built else self.rate, **both)

    @classmethod
    def from_keras(cls, twin: keras.layers.Dropout) -> Self:
        """The same for a Keras layer. Raises ValueError for a `noise_shape`."""
        if twin.noise_shape is not None:
            raise ValueError(f"{twin.name} has noise_shape={twin.noise_shape!r}; here every element has its own chance")
        return cls(twin.rate, **arguments(twin))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
