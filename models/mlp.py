"""The multilayer perceptron: `depth` fully connected layers of `width` units, then a linear one."""

from collections.abc import Mapping
from typing import Any

import keras

from models import widths
from models.layers import Dropout, Flatten, FullyConnected, augment, entrance


def build(
    params: Mapping[str, Any],
    input_shape: tuple[int, ...],
    outputs: int,
    tensors: frozenset[str] = frozenset(),
    lanes: int | None = None,
    *,
    shared: bool = True,
) -> keras.Model:
    """[B, *input_shape] -> [B, outputs]: logits, or the prediction of a regression; with lanes -> [K, B, outputs], from a
    batch that they share or, unless `shared`, from one for each.

    `params` has a value for every parameter of the table. `tensors` names those whose value may change without another graph: a
    regulariser of these is in the graph even when it is 0, a width is the largest that is possible, and the activation is a
    sequence of all that are.
    """

    def present(name: str) -> float | None:
        return params[name] if params[name] != 0 or name in tensors else None

    use_bias = "either" if "bias" in tensors else params["bias"]
    options = {"initial": params["initial"], "use_bias": use_bias, "l1": present("l1"), "l2": present("l2"), "lanes": lanes}
    inputs = entrance(input_shape, lanes, shared=shared)
    x = augment(inputs, params, tensors, lanes)
    if len(input_shape) > 1:
        x = Flatten(lanes=lanes)(x)
    before = None
    for layer, width in enumerate(widths(params), 1):
        own = f"width_{layer}" if "width" in tensors else None
        x = FullyConnected(width, activation=params["activation"], inputs_of=before, units_of=own, **options)(x)
        before = own
        if (rate := present("dropout")) is not None:
            x = Dropout(rate, lanes=lanes)(x)
    # In half precision the logits of a sure network overflow, and a softmax of the others is coarse.
    single = keras.config.dtype_policy().variable_dtype
    return keras.Model(inputs, FullyConnected(outputs, inputs_of=before, dtype=single, **options)(x), name="mlp")
