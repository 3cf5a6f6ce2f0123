"""The multilayer perceptron: `depth` fully connected layers of `width` units, then a linear one."""

from collections.abc import Mapping
from typing import Any

import keras

from models import widths
from models.layers import Dropout, Flatten, FullyConnected, augment


def build(
    params: Mapping[str, Any],
    input_shape: tuple[int, ...],
    outputs: int,
    tensors: frozenset[str] = frozenset(),
) -> keras.Model:
    """[B, *input_shape] -> [B, outputs]: logits, or the prediction of a regression.

    `params` has a value for every parameter of the table. A regulariser is in the graph when its value is not 0, or when it is in
    `tensors`: the parameters whose value may change without another graph.
    """

    def present(name: str) -> float | None:
        return params[name] if params[name] != 0 or name in tensors else None

    shared = {"initial": params["initial"], "use_bias": params["bias"], "l1": present("l1"), "l2": present("l2")}
    inputs = keras.Input(input_shape)
    x = augment(inputs, params, tensors)
    if len(input_shape) > 1:
        x = Flatten()(x)
    for width in widths(params):
        x = FullyConnected(width, activation=params["activation"], **shared)(x)
        if (rate := present("dropout")) is not None:
            x = Dropout(rate)(x)
    # In half precision the logits of a sure network overflow, and a softmax of the others is coarse.
    single = keras.config.dtype_policy().variable_dtype
    return keras.Model(inputs, FullyConnected(outputs, dtype=single, **shared)(x), name="mlp")
