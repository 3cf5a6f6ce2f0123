"""Dropout."""

from typing import Any, Self

import keras
import keras.ops as ops

from models import random
from models.layers.base import Shape, Tensor, arguments
from models.layers.chance import Chance


@keras.saving.register_keras_serializable(package="tuner")
class Dropout(Chance):
    """Inverted dropout: while training each element is 0 with probability `rate`, else it is divided by 1 - rate.

    Srivastava et al. 2014, section 10 (scaled in training). [B, ...] keeps its shape; with lanes every lane has its own masks,
    [K, B, ...]. Raises ValueError for a rate outside 0 to below 1.
    """

    stream = random.MASKS

    def __init__(self, rate: float, **layer: Any) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be from 0 to below 1; got {rate!r}")
        super().__init__(**layer)
        self.rate = rate

    def build(self, input_shape: Shape) -> None:
        """Create the rate and what the masks follow from."""
        self.within(input_shape)
        self.add_hyper("dropout", self.rate)
        self.create_state()

    def call(self, x: Tensor, *, training: bool = False) -> Tensor:
        """The shape of `x`, with the lanes in front."""
        x = self.face(x)
        if not training:
            return self.fill(x)
        shape = tuple(ops.shape(x))[0 if self.lanes is None else 1 :]
        drawn = self.draw(shape)
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
        return {**super().get_config(), "rate": self.rate}
