"""The table of networks: name → builder, its parameters, and which of them shape the graph.

A row is added by writing one file with a `build` function and one entry here. Importing this module loads no Keras; `load`
resolves the builder on use.
"""

import importlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

ACTIVATIONS = (
    "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "sigmoid", "tanh", "softplus",
    "hard_sigmoid", "hard_tanh", "hard_silu", "linear",
)  # fmt: skip
INITIALS = (
    "he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "lecun_normal", "lecun_uniform", "orthogonal",
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What a parameter may be: `choices`, or numbers of the default's type from `low` to `high`.

    `shapes` says whether a change of value needs another graph; the others are tensors inside it.
    """

    default: int | float | str | bool
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str | bool, ...] = ()
    shapes: bool = False

    def refuses(self, value: object) -> str:
        """Why the value is not allowed; empty when it is."""
        if self.choices:
            names = ", ".join(str(c).lower() if isinstance(c, bool) else c for c in self.choices)
            same_kind = [c for c in self.choices if type(c) is type(value)]
            return "" if value in same_kind else f"is not one of {names}"
        kinds = (int,) if isinstance(self.default, int) else (int, float)
        if type(value) not in kinds or not self.low <= value <= self.high:  # type: ignore[operator]
            return f"is not {'a whole number' if kinds == (int,) else 'a number'} from {self.low:g} to {self.high:g}"
        return ""


@dataclass(frozen=True)
class Network:
    """A row of the table.

    `build` is "module:function"; `per_layer` names the parameters that may differ from layer to layer, counted by `layers`;
    `size` counts trainable weights and activations per row without building anything. `beyond_backprop` names the parameters
    that `models.backprop` has no formulas for; None: it has none for the network. `linear` says that the network is one linear
    layer where `layers` is 0. `in_lanes` names the parameters that shape the graph and may nevertheless differ from lane to lane:
    "padded" numbers of units, a "chosen" activation or bias, and what only decides the weights that are "drawn" in the beginning.
    """

    build: str
    parameters: Mapping[str, Limits]
    size: Callable[[Mapping[str, Any], tuple[int, ...], int], tuple[int, int]]
    per_layer: tuple[str, ...] = ()
    layers: str = "depth"
    convolutional: bool = False
    beyond_backprop: tuple[str, ...] | None = None
    linear: bool = False
    in_lanes: Mapping[str, str] = field(default_factory=dict)

    def defaults(self) -> dict[str, Any]:
        """The value of every parameter that a study does not name."""
        return {name: limits.default for name, limits in self.parameters.items()}


AUGMENTATION: Mapping[str, Limits] = {
    "shift": Limits(0.0, 0.0, 0.5),
    "flip": Limits(0.0, 0.0, 1.0),
    "crop": Limits(0.0, 0.0, 0.9),
    "cutout": Limits(0.0, 0.0, 1.0),
    "rotation": Limits(0.0, 0.0, 180.0),
}
"""What may happen to an image in training; `models.layers.Augmentation` says what the numbers mean."""


def load(name: str) -> Callable[..., Any]:
    """The builder of a network: `(params, input_shape, outputs, tensors=frozenset()) -> keras.Model`.

    `tensors` names the parameters whose values may change without another graph (see `models.layers.set_hyper`).
    """
    module, function = NETWORKS[name].build.split(":")
    builder: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return builder


def widths(params: Mapping[str, Any]) -> list[int]:
    """The width of every hidden layer: `width_1`, `width_2`, ... where they are given, else `width` for all."""
    return [params.get(f"width_{layer}", params.get("width")) for layer in range(1, params["depth"] + 1)]


def _mlp_size(params: Mapping[str, Any], input_shape: tuple[int, ...], outputs: int) -> tuple[int, int]:
    """Weights: the sum of (n_{l-1} + 1) n_l over layers; activations: the sum of n_l."""
    flat = 1
    for extent in input_shape:
        flat *= extent
    sizes = [flat, *widths(params), outputs]
    bias = 1 if params["bias"] else 0
    return sum((a + bias) * b for a, b in itertools.pairwise(sizes)), sum(sizes)


NETWORKS: Mapping[str, Network] = {
    "mlp": Network(
        build="models.mlp:build",
        parameters={
            "depth": Limits(2, 0, 1_000, shapes=True),
            "width": Limits(64, 1, 100_000, shapes=True),
            "activation": Limits("relu", choices=ACTIVATIONS, shapes=True),
            "initial": Limits("auto", choices=("auto", *INITIALS), shapes=True),
            "bias": Limits(True, choices=(True, False), shapes=True),
            "dropout": Limits(0.0, 0.0, 0.95),
            "l1": Limits(0.0, 0.0, 10.0),
            "l2": Limits(0.0, 0.0, 10.0),
            **AUGMENTATION,
        },
        size=_mlp_size,
        per_layer=("width",),
        beyond_backprop=("dropout", "l1", "l2", *AUGMENTATION),
        linear=True,
        in_lanes={"width": "padded", "activation": "chosen", "bias": "chosen", "initial": "drawn"},
    ),
}
