"""Convolutional networks whose structure is searched: by the number of layers of each kind, or layer by layer.

A convolution may be followed by a normalisation, σ, and a pooling over 2×2; behind the last one the image is flattened. Where
nothing is searched in it, a network of three convolutions is what LeCun et al. (1998) would recognise.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models.plan import Conv, Drop, Flat, Full, Plan, Pool, Shape, convolved, each

CONVOLUTION, LINEAR = "convolution", "linear"
OF_CONVOLUTIONS = ("filters", "kernel", "stride", "padding", "bias", "pooling", "normalisation")


def plan(params: Mapping[str, Any], input_shape: Shape, outputs: int) -> Plan:
    """`convolutions` of them, then `dense` fully connected layers of `units`, then a linear one."""
    units = each(params, "units", params["dense"])
    return (*_maps(params, params["convolutions"]), *_flat(input_shape), *_hidden(params, units), Full(outputs))


def plan_chain(params: Mapping[str, Any], input_shape: Shape, outputs: int) -> Plan:
    """`depth` hidden layers: layer l is a convolution while every `kind` up to l is, else it is linear; then a linear one."""
    convolutions = leading(params)
    units = each(params, "units", params["depth"])[convolutions:]
    return (*_maps(params, convolutions), *_flat(input_shape), *_hidden(params, units), Full(outputs))


def leading(params: Mapping[str, Any]) -> int:
    """How many layers are convolutions before the first that is not."""
    kinds = each(params, "kind", params["depth"])
    return next((place for place, kind in enumerate(kinds) if kind != CONVOLUTION), len(kinds))


def _maps(params: Mapping[str, Any], count: int) -> Iterator[Any]:
    """The convolutions with what follows each of them."""
    own = (each(params, name, count) for name in OF_CONVOLUTIONS)
    for filters, kernel, stride, padding, bias, pooling, normalisation in zip(*own, strict=True):
        yield from convolved(Conv(filters, kernel, stride, padding, bias, params["activation"]), normalisation)
        if pooling != "none":
            yield Pool(pooling)


def _flat(input_shape: Shape) -> Plan:
    return (Flat(),) if len(input_shape) > 1 else ()


def _hidden(params: Mapping[str, Any], units: Sequence[int]) -> Iterator[Any]:
    for width in units:
        yield from (Full(width, params["activation"]), Drop())
