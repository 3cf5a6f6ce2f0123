"""The multilayer perceptron: `depth` fully connected layers of `width` units, then a linear one."""

from collections.abc import Mapping
from typing import Any

from models.plan import Drop, Flat, Full, Plan, Shape, each


def plan(params: Mapping[str, Any], input_shape: Shape, outputs: int) -> Plan:
    """Flatten, then `depth` times: fully connected, σ, dropout."""
    hidden = (
        piece
        for width in each(params, "width", params["depth"])
        for piece in (Full(width, params["activation"], params["bias"]), Drop())
    )
    return (*((Flat(),) if len(input_shape) > 1 else ()), *hidden, Full(outputs, bias=params["bias"]))
