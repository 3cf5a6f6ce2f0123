"""Every layer of `models.layers` in the variants that matter, each with its NumPy reference: a formula in plain loops."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from models.layers import (
    Activation,
    Augmentation,
    AveragePooling,
    BatchNormalization,
    Convolution,
    Dropout,
    Flatten,
    FullyConnected,
    GlobalAveragePooling,
    GroupNormalization,
    LayerNormalization,
    MaxPooling,
)
from models.shapes import output_size

VECTOR, IMAGE = (5, 4), (3, 7, 6, 4)
MODES = {"eager": None, "graph": False, "jit": True}


@dataclass(frozen=True)
class Row:
    """A class, its arguments, an input's shape with its batch, and what inference computes: `reference(layer, x)` in float64."""

    kind: Any
    arguments: dict[str, Any]
    shape: tuple[int, ...]
    reference: Callable[[Any, Any], Any]
    config: dict[str, Any] = field(default_factory=dict)

    def build(self, **layer: Any) -> Any:
        """A built layer with weights that are neither 0 nor 1."""
        made = self.kind(**self.arguments, **layer)
        made.build(self.shape)
        scatter(made)
        return made


def scatter(layer: Any, seed: int = 0) -> None:
    """Give every float weight that a Keras layer has too a value of its own, positive where a variance stands."""
    rng = np.random.default_rng(seed)
    for weight in layer.shared_weights():
        values = rng.normal(size=weight.shape)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.path else values)


def in_mode(mode: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as it is, as a graph, or compiled by XLA."""
    return function if mode == "eager" else tf.function(function, jit_compile=MODES[mode], autograph=False)


def arrays(layer: Any) -> list[Any]:
    """The weights that a Keras layer has too."""
    return [np.asarray(weight, np.float64) for weight in layer.shared_weights()]


def pads(size: int, kernel: int, stride: int, padding: Any) -> int:
    """How many places are in front of an axis; "same" puts the smaller half there."""
    if padding == "same":
        return max((math.ceil(size / stride) - 1) * stride + kernel - size, 0) // 2
    return 0 if padding == "valid" else padding


def windows(x: Any, kernel: Any, stride: Any, padding: Any) -> Any:
    """For every place (i, j) of the result: what lies under the window, as (p, q, x[:, row, column]) for places inside."""
    (H, W), before = x.shape[1:3], [pads(x.shape[1 + a], kernel[a], stride[a], padding) for a in (0, 1)]
    for i in range(output_size(H, kernel[0], stride[0], padding)):
        for j in range(output_size(W, kernel[1], stride[1], padding)):
            rows = [(p, i * stride[0] + p - before[0]) for p in range(kernel[0])]
            columns = [(q, j * stride[1] + q - before[1]) for q in range(kernel[1])]
            inside = [(p, q, x[:, r, c]) for p, r in rows for q, c in columns if 0 <= r < H and 0 <= c < W]
            yield i, j, inside


def image(x: Any, layer: Any, kernel: Any, channels: int) -> Any:
    """Zeros of the size of a layer's result."""
    sizes = [output_size(x.shape[1 + a], kernel[a], layer.stride[a], layer.padding) for a in (0, 1)]
    return np.zeros((len(x), *sizes, channels))


def dense(layer: Any, x: Any) -> Any:
    """Lecture 1.1."""
    W, *b = arrays(layer)
    return np.tanh(sum(x[:, [d]] * W[d] for d in range(len(W))) + (b[0] if b else 0))


def convolution(layer: Any, x: Any) -> Any:
    """Lecture 1.2 with the errata: u(i, j, f) = b_f + sum of W(p, q, c, f) x(i S + p - P, j S + q - P, c)."""
    W, *b = arrays(layer)
    u = image(x, layer, layer.kernel_size, layer.filters)
    for i, j, inside in windows(x, layer.kernel_size, layer.stride, layer.padding):
        u[:, i, j] = sum(x_pq @ W[p, q] for p, q, x_pq in inside) + (b[0] if b else 0)
    return np.tanh(u)


def pooled(of: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """The largest, or the mean, of what lies under every window."""

    def reference(layer: Any, x: Any) -> Any:
        y = image(x, layer, layer.size, x.shape[-1])
        for i, j, inside in windows(x, layer.size, layer.stride, layer.padding):
            y[:, i, j] = of([x_pq for *_, x_pq in inside], axis=0)
        return y

    return reference


def scaled(layer: Any, normal: Any) -> Any:
    """gamma x + beta, where there are such."""
    gamma = np.asarray(layer.gamma, np.float64) if layer.scale else 1
    beta = np.asarray(layer.beta, np.float64) if layer.center else 0
    return gamma * normal + beta


def standard(x: Any, mean: Any, variance: Any, epsilon: float) -> Any:
    """(x - mean) / sqrt(variance + epsilon)."""
    return (x - mean) / np.sqrt(variance + epsilon)


def batch(layer: Any, x: Any) -> Any:
    """With the running statistics."""
    mean, variance = (np.asarray(v, np.float64) for v in (layer.moving_mean, layer.moving_variance))
    return scaled(layer, standard(x, mean, variance, layer.epsilon))


def group(layer: Any, x: Any) -> Any:
    """Row by row, the channels of a group together."""
    groups = max(d for d in range(1, layer.groups + 1) if x.shape[-1] % d == 0)
    normal = np.empty_like(x)
    for row in range(len(x)):
        for channels in np.split(np.arange(x.shape[-1]), groups):
            part = x[row][..., channels]
            normal[row][..., channels] = standard(part, part.mean(), part.var(), layer.epsilon)
    return scaled(layer, normal)


def channels(layer: Any, x: Any) -> Any:
    """Place by place."""
    return scaled(layer, standard(x, x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True), layer.epsilon))


TANH = {"activation": "tanh"}
ROWS = {
    "dense": Row(FullyConnected, {"units": 3, **TANH, "l1": 0.1, "l2": 0.2}, VECTOR, dense),
    "dense, no bias": Row(FullyConnected, {"units": 3, **TANH, "use_bias": False}, VECTOR, dense),
    "dense, one unit": Row(FullyConnected, {"units": 1, **TANH}, VECTOR, dense),
    "conv": Row(Convolution, {"filters": 3, "kernel_size": 3, **TANH, "l2": 0.2}, IMAGE, convolution),
    "conv, same, stride 2": Row(Convolution, {"filters": 2, "kernel_size": (4, 3), "stride": 2, **TANH}, IMAGE, convolution),
    "conv, valid": Row(
        Convolution,
        {"filters": 2, "kernel_size": (3, 2), "stride": (1, 2), "padding": "valid", "use_bias": False, **TANH},
        IMAGE,
        convolution,
    ),
    "conv, P = 2": Row(Convolution, {"filters": 2, "kernel_size": 3, "stride": 2, "padding": 2, **TANH}, IMAGE, convolution),
    "conv, P = 1": Row(Convolution, {"filters": 2, "kernel_size": 3, "padding": 1, **TANH}, IMAGE, convolution),
    "max": Row(MaxPooling, {}, IMAGE, pooled(np.max)),
    "max, same": Row(MaxPooling, {"size": 3, "stride": 2, "padding": "same"}, IMAGE, pooled(np.max)),
    "max, P = 1": Row(MaxPooling, {"size": (4, 3), "stride": 2, "padding": 1}, IMAGE, pooled(np.max)),
    "average": Row(AveragePooling, {"size": (2, 3), "stride": 1}, IMAGE, pooled(np.mean)),
    "average, same": Row(AveragePooling, {"size": 3, "stride": 2, "padding": "same"}, IMAGE, pooled(np.mean)),
    "average, P = 1": Row(AveragePooling, {"size": 3, "stride": (2, 1), "padding": 1}, IMAGE, pooled(np.mean)),
    "global average": Row(GlobalAveragePooling, {}, IMAGE, lambda _, x: x.mean(axis=(1, 2))),
    "batch": Row(BatchNormalization, {"momentum": 0.9}, IMAGE, batch),
    "batch, vector": Row(BatchNormalization, {"center": False, "epsilon": 1e-5}, VECTOR, batch),
    "group": Row(GroupNormalization, {"groups": 3}, IMAGE, group),
    "group, vector": Row(GroupNormalization, {"groups": 2, "scale": False}, VECTOR, group),
    "layer": Row(LayerNormalization, {}, IMAGE, channels),
    "layer, vector": Row(LayerNormalization, {"center": False, "scale": False, "epsilon": 1e-5}, VECTOR, channels),
    "flatten": Row(Flatten, {}, IMAGE, lambda _, x: x.reshape(len(x), -1)),
    "activation": Row(Activation, TANH, IMAGE, lambda _, x: np.tanh(x)),
    "dropout": Row(Dropout, {"rate": 0.4, "seed": 3}, VECTOR, lambda _, x: x),
    "dropout, image": Row(Dropout, {"rate": 0.4, "seed": 3}, IMAGE, lambda _, x: x),
    "augmentation, exact": Row(Augmentation, {"shift": 0.3, "flip": 0.5, "seed": 3}, IMAGE, lambda _, x: x),
    "augmentation": Row(
        Augmentation,
        {"shift": 0.3, "flip": 0.5, "crop": 0.4, "cutout": 0.5, "rotation": 30.0, "seed": 3},
        IMAGE,
        lambda _, x: x,
    ),
}


def inputs(shape: tuple[int, ...], dtype: str = "float32", seed: int = 1) -> Any:
    """Normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)
