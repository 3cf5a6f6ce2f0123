"""What all layers share: lanes, hyper-parameters, initial state, and the way to Keras' own layers and back.

Shapes, for all layers: K lanes, B batch, D inputs, F units or filters, H W height and width, C channels. With `lanes=K` every
weight of a layer has a first axis K, and so have its input and its output: [K, B, D] or [K, B, H, W, C]. A batch that all lanes
share comes without that axis, as [B, D] or [B, H, W, C]. Nothing is ever summed across lanes.

The hyper-parameters of a layer are variables of shape (), or (K,): a graph that was compiled once serves every value.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import keras
import keras.ops as ops
import numpy as np
import tensorflow as tf

from models import random
from models.random import Key
from models.shapes import whole

Tensor = Any
Shape = tuple[int | None, ...]
State = Iterable[tuple[keras.Variable, Any]]


class Layer(keras.layers.Layer):
    """A Keras layer that can have lanes. Raises ValueError for `lanes` that is neither None nor a whole number from 1."""

    stream: ClassVar[int | None] = None  # of the random numbers that its state is made of

    def __init__(self, *, lanes: int | None = None, **layer: Any) -> None:
        super().__init__(**layer)
        self.lanes = None if lanes is None else whole("lanes", lanes)
        self.hyper: dict[str, keras.Variable] = {}

    # Lanes

    def laned(self, *shape: int | None) -> Shape:
        """A shape with the axis of the lanes in front, if there are lanes."""
        return shape if self.lanes is None else (self.lanes, *shape)

    def is_shared(self, shape: Shape) -> bool:
        """Whether an input of this shape is a batch that all lanes share: a vector or an image for each row, and no more axes."""
        return self.lanes is not None and len(shape) in (2, 4)

    def within(self, shape: Shape) -> Shape:
        """An input's shape without the axis of the lanes. Raises ValueError when there are more or fewer of them than here."""
        if self.lanes is None or self.is_shared(shape):
            return shape
        if shape[0] not in (self.lanes, None):
            raise ValueError(f"{self.name} has {self.lanes} lanes; its input, {shape}, has {shape[0]}")
        return shape[1:]

    def face(self, x: Tensor) -> Tensor:
        """`x` so that it broadcasts against what has lanes: a shared batch gets an axis of 1."""
        return ops.expand_dims(x, 0) if self.is_shared(x.shape) else x

    def fill(self, y: Tensor) -> Tensor:
        """`y` with as many lanes as there are, when what was computed from a shared batch has an axis of 1."""
        return y if self.lanes in (None, y.shape[0]) else ops.broadcast_to(y, self.laned(*ops.shape(y)[1:]))

    def spread(self, values: Tensor, rank: int) -> Tensor:
        """Values [...] or [K, ...], which belong to the last axes, so that they broadcast against `rank` axes."""
        if self.lanes is None:
            return values
        own = tuple(values.shape)[1:]
        return ops.reshape(values, (self.lanes, *(1,) * (rank - 1 - len(own)), *own))

    # State

    @property
    def number_dtype(self) -> str:
        """What hyper-parameters are stored in: float64 if the weights are, else float32."""
        return "float64" if self.variable_dtype == "float64" else "float32"

    def add_hyper(self, name: str, value: float) -> None:
        """Create the variable of a hyper-parameter."""
        initial = keras.initializers.Constant(np.float64(value))  # Keras rounds a plain number to float32
        self.hyper[name] = self.add_weight(
            name=name, shape=self.laned(), initializer=initial, trainable=False, dtype=self.number_dtype, autocast=False
        )

    def fresh_keys(self) -> list[Key]:
        """Keys for a layer that nobody gave a seed, one for each lane."""
        return [random.fresh_key() for _ in range(self.lanes or 1)]

    def stacked(self, values: Sequence[Any]) -> Any:
        """One value for each lane as one array; without lanes the only value."""
        return values[0] if self.lanes is None else np.stack(values)

    def initial_state(self, keys: Sequence[Key], params: Sequence[Mapping[str, Any]]) -> State:
        """Variables with the values that lanes begin with, [lanes that begin, ...]; without lanes [...].

        A class with a `stream` gets a key for each of them. `params` is empty, or has for each the parameters of its network,
        where those that differ from lane to lane count.
        """
        del keys, params  # nothing to begin with
        return []

    def initialise(
        self, keys: Sequence[Key], lanes: Sequence[int] | None = None, params: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Take the initial state, with `lanes` in these only."""
        for variable, values in self.initial_state(keys, params):
            put(variable, values, lanes)

    # Keras' own layers

    def shared_weights(self) -> list[keras.Variable]:
        """The weights that Keras' layer of the same meaning has too, in its order."""
        return []

    def as_twin(self) -> dict[str, Any]:
        """The arguments that every Keras layer takes. Raises ValueError with lanes, which no Keras layer has."""
        if self.lanes is not None:
            raise ValueError(f"{self.name} has {self.lanes} lanes; a Keras layer has none")
        return arguments(self)

    def give(self, twin: keras.layers.Layer, inputs: Shape = ()) -> keras.layers.Layer:
        """The Keras layer `twin`, built for `inputs`, with these weights."""
        if inputs:
            twin.build(inputs)
            twin.set_weights([keras.ops.convert_to_numpy(weight) for weight in self.shared_weights()])
        return twin

    def take(self, twin: keras.layers.Layer, inputs: Shape) -> Self:
        """This layer, built for `inputs`, with the weights of the Keras layer `twin`."""
        self.build(inputs)
        for mine, its in zip(self.shared_weights(), twin.get_weights(), strict=True):
            mine.assign(its)
        return self

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "lanes": self.lanes}


def entrance(input_shape: tuple[int, ...], lanes: int | None = None, *, shared: bool = True) -> Tensor:
    """The input of a network: [B, *input_shape], which lanes share, or [K, B, *input_shape]."""
    return keras.Input(input_shape) if shared or lanes is None else keras.Input(batch_shape=(lanes, None, *input_shape))


def sizes_of(x: Tensor) -> list[Any]:
    """The sizes of `x` for a reshape: -1 for the only one that is unknown, tensors when there are more."""
    known = [-1 if size is None else size for size in x.shape]
    return known if known.count(-1) < 2 else list(ops.shape(x))


def arguments(layer: keras.layers.Layer) -> dict[str, Any]:
    """What a layer and its twin have in common, whatever their kind."""
    return {"name": layer.name, "dtype": layer.dtype_policy, "trainable": layer.trainable}


def refuse(twin: keras.layers.Layer, **expected: Any) -> None:
    """Raise ValueError when an attribute of a Keras layer is not the only value that our layers know."""
    for name, value in expected.items():
        if getattr(twin, name) != value:
            raise ValueError(f"{twin.name} has {name}={getattr(twin, name)!r}; only {value!r} has a counterpart here")


def layers_of(model: keras.Model) -> Iterator[Layer]:
    """The layers of ours in a model and in the models inside it, in order."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)
        elif isinstance(layer, Layer):
            yield layer


def initialise(
    model: keras.Model, *seeds: int, lanes: Sequence[int] | None = None, params: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Give every layer its initial state: a function of a seed, one for each lane, and of its place among the layers of its kind.

    With `lanes` only these begin, each with its seed and its `params`; their neighbours keep what they have. A fresh model and
    one that has been trained come out the same, and a layer of another kind moves nobody's weights.
    """
    places: Counter[int] = Counter()
    for layer in layers_of(model):
        keys = []
        if (stream := layer.stream) is not None:
            keys = [random.key(seed, stream, places[stream]) for seed in seeds]
            places[stream] += 1
        layer.initialise(keys, lanes, params)


def put(variable: keras.Variable, values: Any, lanes: Sequence[int] | None = None) -> None:
    """Assign what broadcasts against the variable, or against those of its rows that are `lanes`."""
    if lanes is None:
        variable.assign(np.broadcast_to(values, variable.shape))
        return
    rows = np.broadcast_to(np.asarray(values, variable.dtype), (len(lanes), *variable.shape[1:]))
    variable.value.scatter_update(tf.IndexedSlices(rows, tf.constant(lanes, tf.int32)))


def set_hyper(model: keras.Model, values: Mapping[str, Any], lanes: Sequence[int] | None = None) -> None:
    """Set hyper-parameters, each to a number or one for each lane, in every layer that has them; with `lanes` only theirs."""
    for layer in layers_of(model):
        for name in values.keys() & layer.hyper.keys():
            put(layer.hyper[name], values[name], lanes)
