"""The multilayer perceptron: `depth` fully connected layers of `width` units, then a linear one."""

from collections.abc import Mapping
from typing import Any

from models.plan import Drop, Flat, Full, Plan, Shape, each


def plan(params: Mapping[str, Any], input_shape: Shape, outputs: int) -> Plan:
    """Flatten, then `depth` times: fully connected, σ, dropout."""
    sigma, bias = params["activation"], params["bias"]
    hidden = (
        piece
        for layer, width in enumerate(each(params, "width", params["depth"]), 1)
        for piece in (Full(width, sigma, bias, named=f"width_{layer}"), Drop())
    )
    return (*((Flat(),) if len(input_shape) > 1 else ()), *hidden, Full(outputs, bias=bias))
