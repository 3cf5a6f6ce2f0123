"""Plans as Keras models."""

from collections.abc import Mapping
from functools import reduce
from typing import Any

import keras

from models import layers
from models.plan import Conv, Drop, Flat, Full, GlobalPool, Norm, Piece, Plan, Pool, Residual, Shape, Sigma

Tensor = Any

GROUPS = 8
_NORMAL = {
    "batch": lambda network: layers.BatchNormalization(momentum=network.params["norm_momentum"], lanes=network.lanes),
    "group": lambda network: layers.GroupNormalization(GROUPS, lanes=network.lanes),
    "layer": lambda network: layers.LayerNormalization(lanes=network.lanes),
}
_POOLING = {"max": layers.MaxPooling, "average": layers.AveragePooling}


def assemble(
    plan: Plan,
    params: Mapping[str, Any],
    input_shape: Shape,
    tensors: frozenset[str] = frozenset(),
    lanes: int | None = None,
    *,
    shared: bool = True,
) -> keras.Model:
    """[B, *input_shape] -> [B, outputs]: logits, or the prediction of a regression.

    With lanes -> [K, B, outputs], from a batch that they share or, unless `shared`, from one for each.

    `params` has a value for every parameter of the network's row. `tensors` names those whose value may change without another
    graph: a regulariser of these is in the graph even when it is 0, a width is the largest that is possible, and the activation
    is a sequence of all that are. With `lanes` every layer has K sets of weights. The last piece of the plan is the output.
    """
    network = _Network(params, tensors, lanes)
    inputs = layers.entrance(input_shape, lanes, shared=shared)
    *hidden, last = plan
    # In half precision the logits of a sure network overflow, and a softmax of the others is coarse.
    single = keras.config.dtype_policy().variable_dtype
    features = network.through(hidden, layers.augment(inputs, params, tensors, lanes))
    return keras.Model(inputs, network.full(last, dtype=single)(features))


class _Network:
    """What the layers of one network have in common."""

    def __init__(self, params: Mapping[str, Any], tensors: frozenset[str], lanes: int | None) -> None:
        self.params, self.lanes = params, lanes
        self._tensors = tensors
        self._before: str | None = None  # the parameter that the width of what comes in is
        self._weighted = {name: self._present(name) for name in ("l1", "l2")}

    def through(self, plan: Any, x: Tensor) -> Tensor:
        """What the pieces make of x, one behind the other."""
        return reduce(self._layer, plan, x)

    def full(self, piece: Full, **layer: Any) -> keras.layers.Layer:
        """A fully connected layer."""
        before, self._before = self._before, piece.named if piece.named.rpartition("_")[0] in self._tensors else None
        return layers.FullyConnected(
            piece.units,
            activation=piece.activation,
            use_bias="either" if "bias" in self._tensors else piece.bias,
            initial=self.params["initial"],
            inputs_of=before,
            units_of=self._before,
            lanes=self.lanes,
            **self._weighted,
            **layer,
        )

    def _layer(self, x: Tensor, piece: Piece) -> Tensor:
        match piece:
            case Full():
                return self.full(piece)(x)
            case Conv():
                return self._conv(piece)(x)
            case Norm(kind):
                return _NORMAL[kind](self)(x)
            case Sigma(activation):
                return layers.Activation(activation, lanes=self.lanes)(x)
            case Pool(kind, size):
                return _POOLING[kind](size, lanes=self.lanes)(x)
            case GlobalPool():
                return layers.GlobalAveragePooling(lanes=self.lanes)(x)
            case Flat():
                return layers.Flatten(lanes=self.lanes)(x)
            case Drop():
                rate = self._present("dropout")
                return x if rate is None else layers.Dropout(rate, lanes=self.lanes)(x)
            case Residual(branch, shortcut):
                return keras.layers.Add()([self.through(shortcut, x), self.through(branch, x)])

    def _conv(self, piece: Conv) -> keras.layers.Layer:
        return layers.Convolution(
            piece.filters,
            piece.kernel,
            stride=piece.stride,
            padding=piece.padding,
            activation="linear" if piece.later else piece.activation,
            leads_to=piece.activation,
            use_bias=piece.bias,
            initial=self.params["initial"],
            lanes=self.lanes,
            **self._weighted,
        )

    def _present(self, name: str) -> float | None:
        value = self.params[name]
        return value if value != 0 or name in self._tensors else None
