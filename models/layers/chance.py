"""What layers share that draw random numbers while they train."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras.ops as ops
import tensorflow as tf

from models import random
from models.layers.base import Layer, State, Tensor
from models.random import Key


class Chance(Layer):
    """A layer whose draws are a function of (`key`, `step`), two variables; every draw adds one to `step`.

    `seed` decides the key of a layer that no model has initialised: lane k has that of seed + k. With None
    `keras.utils.set_random_seed` decides it.
    """

    stream: ClassVar[int]

    def __init__(self, *, seed: int | None = None, **layer: Any) -> None:
        super().__init__(**layer)
        self.seed = seed

    def create_state(self) -> None:
        """Create key and step, [2] and (), for each lane."""
        state = {"trainable": False, "autocast": False}
        self.key = self.add_weight(name="key", shape=self.laned(2), dtype="uint32", initializer=self._first, **state)
        self.step = self.add_weight(name="step", shape=self.laned(), dtype="int64", initializer="zeros", **state)

    def _first(self, _: Any, dtype: Any) -> Tensor:
        if self.seed is None:
            return ops.cast(self.stacked(self.fresh_keys()), dtype)
        keys = [random.key(self.seed + lane, self.stream, 0) for lane in range(self.lanes or 1)]
        return ops.cast(self.stacked(keys), dtype)

    def initial_state(self, keys: Sequence[Key], params: Sequence[Mapping[str, Any]]) -> State:
        """The draws that belong to the keys, from the first on."""
        del params  # a hyper-parameter moves no draw
        return [(self.key, self.stacked(keys)), (self.step, 0)]

    def draw(self, shape: Sequence[Any]) -> tf.Tensor:
        """The numbers of this step, from 0 to below 1: float32 of `shape`, with the lanes in front."""
        drawn = random.fractions(self.key, self.step, shape)
        self.step.assign(self.step + 1)
        return drawn

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "seed": self.seed}
