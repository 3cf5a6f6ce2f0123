"""What a network is made of, as a list of pieces whose sizes, weights and activations follow by formula. Pure.

A network's file says of which pieces it consists; here they are measured, and `models.assembly` makes layers of them. So what is
counted before a trial and what is trained cannot differ.

Shapes are those of one row: (D,) for a vector, (H, W, C) for an image.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from models.shapes import Padding, output_size

Shape: TypeAlias = tuple[int, ...]


class Impossible(ValueError):
    """A network that cannot be: a kernel or a window is larger than what it should look at."""


@dataclass(frozen=True)
class Flat:
    """A row as a vector."""


@dataclass(frozen=True)
class Full:
    """A fully connected layer, then σ; `named` is the parameter that says how many units, if one does for this layer alone."""

    units: int
    activation: str = "linear"
    bias: bool | str = True  # "either": lanes have it or not
    named: str = ""


@dataclass(frozen=True)
class Conv:
    """A convolution, then σ; with `later` σ comes in a piece behind it, and only decides the initial weights."""

    filters: int
    kernel: int
    stride: int = 1
    padding: Padding = "same"
    bias: bool | str = True  # "either": lanes have it or not
    activation: str = "linear"
    later: bool = False


@dataclass(frozen=True)
class Norm:
    """A normalisation: `kind` is "batch", "group" or "layer"."""

    kind: str


@dataclass(frozen=True)
class Sigma:
    """σ on its own."""

    activation: str


@dataclass(frozen=True)
class Pool:
    """The maximum or the average of windows of size × size that lie side by side: `kind` is "max" or "average"."""

    kind: str
    size: int = 2


@dataclass(frozen=True)
class GlobalPool:
    """The mean of every channel."""


@dataclass(frozen=True)
class Drop:
    """Dropout, at the rate of the network."""


@dataclass(frozen=True)
class Residual:
    """x + branch(x), or shortcut(x) + branch(x) where there is a shortcut."""

    branch: "tuple[Piece, ...]"
    shortcut: "tuple[Piece, ...]" = ()


Piece: TypeAlias = Flat | Full | Conv | Norm | Sigma | Pool | GlobalPool | Drop | Residual
Plan: TypeAlias = tuple[Piece, ...]


def normal(kind: str) -> Plan:
    """The normalisation of that kind, or nothing for "none"."""
    return () if kind == "none" else (Norm(kind),)


def convolved(conv: Conv, normalisation: str) -> Plan:
    """A convolution, a normalisation unless it is "none", σ: in this order (Ioffe and Szegedy 2015)."""
    if normalisation == "none":
        return (conv,)
    return (Conv(**{**vars(conv), "later": True}), Norm(normalisation), Sigma(conv.activation))


def each(params: Mapping[str, Any], name: str, count: int) -> list[Any]:
    """A parameter of every layer: `name_1`, `name_2`, ... where they are given, else `name` for all."""
    return [params.get(f"{name}_{layer}", params.get(name)) for layer in range(1, count + 1)]


@dataclass(frozen=True)
class Measure:
    """What a plan comes to: the shape that leaves it, its trainable weights, and the numbers that it computes of one row.

    `statistics` are the means and variances that batch normalisation keeps.
    """

    shape: Shape
    weights: int
    activations: int
    statistics: int = 0


def measure(plan: Plan, shape: Shape) -> Measure:
    """Walk through the plan with a row of `shape`.

    Raises `Impossible` where the row is no image, or a size comes out below one.
    """
    return _walk(plan, shape, Counter())


def _walk(plan: Plan, shape: Shape, places: Counter[str]) -> Measure:
    weights = activations = statistics = 0
    for piece in plan:
        step = _step(piece, shape, places)
        shape, weights, activations = step.shape, weights + step.weights, activations + step.activations
        statistics += step.statistics
    return Measure(shape, weights, activations, statistics)


def _step(piece: Piece, shape: Shape, places: Counter[str]) -> Measure:
    """One piece; `places` counts convolutions and poolings, so that a message can say which one."""
    match piece:
        case Full(units, bias=bias):
            return _made((units,), (math.prod(shape) + bool(bias)) * units)
        case Conv(filters, kernel, stride, padding, bias):
            channels = _image(shape)[2]
            size = _smaller("convolution", shape, kernel, stride, padding, places)
            return _made((*size, filters), (kernel * kernel * channels + bool(bias)) * filters)
        case Pool(kind, size):
            return _made((*_smaller(f"{kind} pooling", shape, size, size, "valid", places), shape[2]), 0)
        case GlobalPool():
            return _made((_image(shape)[2],), 0)
        case Norm(kind):
            return replace(_made(shape, 2 * shape[-1]), statistics=2 * shape[-1] if kind == "batch" else 0)
        case Sigma():
            return _made(shape, 0)
        case Residual(branch, shortcut):
            main, beside = _walk(branch, shape, places), _walk(shortcut, shape, places)
            added = _made(main.shape, main.weights + beside.weights)
            activations = added.activations + main.activations + beside.activations
            return Measure(added.shape, added.weights, activations, main.statistics + beside.statistics)
        case Flat():
            return Measure((math.prod(shape),), 0, 0)
        case Drop():
            return Measure(shape, 0, 0)


def _made(shape: Shape, weights: int) -> Measure:
    return Measure(shape, weights, math.prod(shape))


def _image(shape: Shape) -> Shape:
    if len(shape) != 3:
        raise Impossible(f"a convolution takes images; a row of the data has shape {'×'.join(map(str, shape))}")
    return shape


def _smaller(kind: str, shape: Shape, kernel: int, stride: int, padding: Padding, places: Counter[str]) -> Shape:
    """Height and width behind a convolution or a pooling."""
    height, width, _ = _image(shape)
    places[kind] += 1
    sizes = tuple(output_size(size, kernel, stride, padding) for size in (height, width))
    if min(sizes) < 1:
        raise Impossible(f"{kind} {places[kind]}: {kernel}×{kernel} with padding {padding} does not fit into {height}×{width}")
    return sizes
