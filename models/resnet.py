"""Residual networks for small images, from 8 to 200 layers.

He, Zhang, Ren and Sun, "Deep residual learning for image recognition" (2016), section 4.2: a convolution, three stages of n
blocks with two convolutions each, whose filters double and whose images halve from stage to stage, global average pooling, a
fully connected layer: 6 n + 2 layers. The blocks are those of "Identity mappings in deep residual networks" (the same, 2016):
normalisation and σ stand before a convolution, so that the identity goes through the whole network; where a block changes the
shape, a convolution of 1×1 takes its place. Dropout stands between the two convolutions, and `width_factor` multiplies all
filters (Zagoruyko and Komodakis, "Wide residual networks", 2016).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from models.plan import Conv, Drop, Full, GlobalPool, Piece, Plan, Residual, Shape, Sigma, normal

FILTERS = 16  # of the first stage


def plan(params: Mapping[str, Any], input_shape: Shape, outputs: int) -> Plan:
    """With `residual` false every block is its branch alone: the plain network of the same depth."""
    del input_shape  # every image fits: a stride of 2 halves it at most down to one place
    stem = _conv(params, _filters(params, 0), stride=1)
    return (stem, *_blocks(params), *_before(params), GlobalPool(), Full(outputs))


def _blocks(params: Mapping[str, Any]) -> Iterator[Piece]:
    for stage in range(3):
        for block in range((params["depth"] - 2) // 6):
            halves = stage > 0 and block == 0
            yield from _block(params, _filters(params, stage), stride=2 if halves else 1)


def _block(params: Mapping[str, Any], filters: int, *, stride: int) -> Plan:
    """Normalisation, σ, convolution, twice."""
    before, second = _before(params), _conv(params, filters, stride=1)
    branch = (_conv(params, filters, stride=stride), *before, Drop(), second)
    if not params["residual"]:
        return (*before, *branch)
    if stride == 1:
        return (Residual((*before, *branch)),)
    return (*before, Residual(branch, shortcut=(_conv(params, filters, stride=stride, kernel=1),)))


def _before(params: Mapping[str, Any]) -> Plan:
    return (*normal(params["normalisation"]), Sigma(params["activation"]))


def _conv(params: Mapping[str, Any], filters: int, *, stride: int, kernel: int = 3) -> Conv:
    """A convolution without σ; its bias would be lost in a normalisation behind it."""
    biased = params["normalisation"] == "none"
    return Conv(filters, kernel, stride, bias=biased, activation=params["activation"], later=True)


def _filters(params: Mapping[str, Any], stage: int) -> int:
    return max(1, round(FILTERS * params["width_factor"])) * 2**stage
