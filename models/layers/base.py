"""What all layers share: lanes, hyper-parameters, initial values.

Shapes, for all layers: K lanes, B batch, D inputs, F units or filters, H W height and width, C channels. With `lanes=K` every weight
of a layer has a first axis K, and so have its output and its input; the first layer of a network may be given the batch that all
lanes share, without that axis. Nothing is ever summed across lanes.

The hyper-parameters of a layer are variables of shape (), or (K,): a graph that was compiled once serves every value.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import keras.ops as ops
import numpy as np
from numpy.typing import NDArray

from models import activations, random
from models.initial import INITIALS, draw

Tensor = Any
Shape = tuple[int | None, ...]


class Layer(keras.layers.Layer):
    """A Keras layer that can have lanes. Raises ValueError for `lanes` that is neither None nor a whole number from 1."""

    stream: ClassVar[int | None] = None  # of the random numbers that it is made of

    def __init__(self, *, lanes: int | None = None, **layer: Any) -> None:
        if lanes is not None and (type(lanes) is not int or lanes < 1):
            raise ValueError(f"lanes must be None or a whole number from 1; got {lanes!r}")
        super().__init__(**layer)
        self.lanes = lanes
        self.hyper: dict[str, keras.Variable] = {}

    def laned(self, *shape: int | None) -> Shape:
        """A shape with the axis of the lanes in front, if there are lanes."""
        return shape if self.lanes is None else (self.lanes, *shape)

    def within(self, shape: Shape, rank: int) -> Shape:
        """An input's shape without the axis of the lanes, which one of `rank` axes lacks."""
        return shape if self.lanes is None or len(shape) == rank else shape[1:]

    def spread(self, values: Tensor, rank: int) -> Tensor:
        """Values [...] or [K, ...], which belong to the last axes, so that they broadcast against `rank` axes."""
        if self.lanes is None:
            return values
        own = tuple(values.shape)[1:]
        return ops.reshape(values, (self.lanes, *(1,) * (rank - 1 - len(own)), *own))

    def add_hyper(self, name: str, value: float) -> None:
        """Create the variable of a hyper-parameter."""
        dtype = "float64" if self.variable_dtype == "float64" else "float32"
        initial = keras.initializers.Constant(value)
        self.hyper[name] = self.add_weight(
            name=name, shape=self.laned(), initializer=initial, trainable=False, dtype=dtype, autocast=False
        )

    def initialise(self, keys: Sequence[NDArray[np.uint32]]) -> None:
        """Take the initial state that belongs to a key [2], one for each lane."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "lanes": self.lanes}


class Weighted(Layer):
    """A layer u = W * x + b, x' = σ(u), with W of [..., D, F] and b of [F].

    `activation` is one of `models.activations.ACTIVATIONS`; `initial` one of `models.initial.INITIALS`, "auto" for what suits the
    activation. `l1` and `l2` add l1 Σ|W| + l2 ΣW² to the loss, whose gradient is l1 sign(W) + 2 l2 W (the factor of the lecture
    and of `keras.regularizers`; Caffe's and a `weight_decay` of plain SGD are half of it); with None the term is not in the graph.
    """

    stream = random.WEIGHTS

    def __init__(
        self,
        *,
        activation: str = "linear",
        use_bias: bool = True,
        initial: str = "auto",
        l1: float | None = None,
        l2: float | None = None,
        **layer: Any,
    ) -> None:
        if activation not in activations.ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(activations.ACTIVATIONS)}; got {activation!r}")
        if initial not in ("auto", *INITIALS):
            raise ValueError(f"initial must be one of auto, {', '.join(INITIALS)}; got {initial!r}")
        super().__init__(**layer)
        self.activation, self.use_bias, self.initial = activation, use_bias, initial
        self._penalties = {name: value for name, value in (("l1", l1), ("l2", l2)) if value is not None}

    def create(self, shape: tuple[int, ...]) -> None:
        """Create W of `shape` [..., D, F], b, and the hyper-parameters; the values are those of a random seed."""
        # Not autocast: a penalty summed in half precision would overflow.
        self.kernel = self.add_weight(name="kernel", shape=self.laned(*shape), initializer="zeros", autocast=False)
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=self.laned(shape[-1]), initializer="zeros")
        for name, value in self._penalties.items():
            self.add_hyper(name, value)
        seeds = (keras.random.draw_seed(None) for _ in range(self.lanes or 1))
        self.initialise([np.asarray(seed, np.uint32) for seed in seeds])

    def initialise(self, keys: Sequence[NDArray[np.uint32]]) -> None:
        """As `initial` says; b = 0."""
        kind = activations.ACTIVATIONS[self.activation].initial if self.initial == "auto" else self.initial
        shape = tuple(self.kernel.shape)[0 if self.lanes is None else 1 :]
        values = np.stack([draw(kind, key, shape) for key in keys])
        self.kernel.assign(values[0] if self.lanes is None else values)
        if self.bias is not None:
            self.bias.assign(ops.zeros_like(self.bias))

    def penalise(self) -> None:
        """Add the penalty to the losses, if there is one."""
        if self._penalties:
            self.add_loss(self.penalty())

    def penalty(self) -> Tensor:
        """l1 Σ|W| + l2 ΣW² at the present weights, () or (K,)."""
        terms = {"l1": ops.abs, "l2": ops.square}
        axes = None if self.lanes is None else tuple(range(1, len(self.kernel.shape)))
        sums = (self.hyper[name] * ops.sum(terms[name](self.kernel), axis=axes) for name in self._penalties)
        return sum(sums)

    def cast_kernel(self) -> Tensor:
        """W in the dtype of the computation."""
        return ops.cast(self.kernel, self.compute_dtype)

    def finish(self, u: Tensor) -> Tensor:
        """σ(u + b)."""
        if self.bias is not None:
            u = ops.add(u, self.spread(ops.convert_to_tensor(self.bias), len(u.shape)))
        return activations.ACTIVATIONS[self.activation].function(u)

    def give(self, twin: keras.layers.Layer, inputs: Shape) -> keras.layers.Layer:
        """The Keras layer `twin`, built for `inputs`, with these weights."""
        twin.build(inputs)
        twin.set_weights([np.asarray(weight) for weight in (self.kernel, self.bias) if weight is not None])
        return twin

    def take(self, twin: keras.layers.Layer, inputs: Shape) -> "Weighted":
        """This layer, built for `inputs`, with the weights of the Keras layer `twin`."""
        self.build(inputs)
        for mine, its in zip([w for w in (self.kernel, self.bias) if w is not None], twin.get_weights(), strict=True):
            mine.assign(its)
        return self

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        mine = {"activation": self.activation, "use_bias": self.use_bias, "initial": self.initial}
        return {**super().get_config(), **mine, **self._penalties}


def alone(layer: Layer) -> None:
    """Raise ValueError for a layer with lanes, which no Keras layer is like."""
    if layer.lanes is not None:
        raise ValueError(f"{layer.name} has {layer.lanes} lanes; a Keras layer has none")


def initialise(model: keras.Model, *seeds: int) -> None:
    """Give every layer its initial state: a function of the seed, one for each lane, and of its place among the layers of its kind.

    A fresh model and one that has been trained come out the same, and a layer of another kind moves nobody's weights.
    """
    places: dict[int | None, int] = {}
    for layer in model.layers:
        if isinstance(layer, Layer) and (layer.stream is not None or layer.trainable_variables):
            place = places[layer.stream] = places.get(layer.stream, -1) + 1
            layer.initialise([random.key(seed, layer.stream or 0, place) for seed in seeds])


def set_hyper(model: keras.Model, values: Mapping[str, Any]) -> None:
    """Set hyper-parameters, each to a number or one for each lane, in every layer that has them."""
    for layer in model.layers:
        for name in values.keys() & (layer.hyper.keys() if isinstance(layer, Layer) else set()):
            layer.hyper[name].assign(np.broadcast_to(values[name], layer.hyper[name].shape))
