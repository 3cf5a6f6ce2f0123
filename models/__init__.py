"""The table of networks: name → its plan, its parameters, and which of them shape the graph.

A row is added by writing one file with a `plan` function and one entry here. Importing this module loads no Keras; `load`
resolves the builder on use.
"""

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from models import convnet, lenet, mlp, resnet
from models.plan import Plan, measure

ACTIVATIONS = (
    "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "sigmoid", "tanh", "softplus",
    "hard_sigmoid", "hard_tanh", "hard_silu", "linear",
)  # fmt: skip
INITIALS = (
    "he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "lecun_normal", "lecun_uniform", "orthogonal",
)  # fmt: skip

NORMALISATIONS = ("none", "batch", "group", "layer")


@dataclass(frozen=True)
class Limits:
    """What a parameter may be: one of `choices`, or a number from `low` to `high`: whole and in steps of `step`, unless the
    default is a fraction.

    `shapes` says whether a change of value needs another graph; the others are tensors inside it.
    """

    default: int | float | str | bool
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str | bool, ...] = ()
    shapes: bool = False
    step: int = 1

    def refuses(self, value: object) -> str:
        """Why the value is not allowed; empty when it is."""
        if value in [c for c in self.choices if type(c) is type(value)] or self._in_range(value):
            return ""
        names = ", ".join(str(c).lower() if isinstance(c, bool) else c for c in self.choices)
        return f"is not {' or '.join(filter(None, [f'one of {names}' if names else '', self._range()]))}"

    def _in_range(self, value: object) -> bool:
        if isinstance(self.default, float):
            return type(value) in (int, float) and self.low <= value <= self.high  # type: ignore[operator]
        ranged = self.low < self.high and type(value) is int and self.low <= value <= self.high
        return ranged and (value - self.low) % self.step == 0  # type: ignore[operator]

    def _range(self) -> str:
        if self.low >= self.high:
            return ""
        kind = "a number" if isinstance(self.default, float) else "a whole number"
        return f"{kind} from {self.low:g} to {self.high:g}{f' in steps of {self.step}' if self.step > 1 else ''}"


@dataclass(frozen=True)
class Kinds:
    """A list of layers each of which is of one of two kinds, chosen by `parameter`: behind the first `then` no `first` comes.

    `owners` are the parameters that only one kind of layer has, each with that kind.
    """

    parameter: str
    first: str
    then: str
    owners: Mapping[str, str]


@dataclass(frozen=True)
class Network:
    """A row of the table.

    `plan` says of which pieces the network consists; `per_layer` names the parameters that may differ from layer to layer, each
    with the parameter that counts these layers; `kinds` says of which kind a layer can be where that is a choice.
    `beyond_backprop` names the parameters that `models.backprop` has no formulas for; None: it has none for the network.
    `linear` is the parameter at whose 0 the network is one linear layer, if there is one. `in_lanes` names the parameters that
    shape the graph and may nevertheless differ from lane to lane: "padded" numbers of units, a "chosen" activation or bias, and
    what only decides the weights that are "drawn" in the beginning.
    """

    plan: Callable[[Mapping[str, Any], tuple[int, ...], int], Plan]
    parameters: Mapping[str, Limits]
    per_layer: Mapping[str, str] = field(default_factory=dict)
    kinds: Kinds | None = None
    convolutional: bool = False
    beyond_backprop: tuple[str, ...] | None = None
    linear: str | None = None
    in_lanes: Mapping[str, str] = field(default_factory=dict)

    def defaults(self) -> dict[str, Any]:
        """The value of every parameter that a study does not name."""
        return {name: limits.default for name, limits in self.parameters.items()}

    def size(self, params: Mapping[str, Any], input_shape: tuple[int, ...], outputs: int) -> tuple[int, int]:
        """Trainable weights, and the numbers that are computed of one row, by formula.

        Raises `models.plan.Impossible` with the reason when there is no such network: an output size below one.
        """
        shape = tuple(input_shape)
        found = measure(self.plan(params, shape, outputs), shape)
        return found.weights, math.prod(shape) + found.activations

    def kept(self, params: Mapping[str, Any], input_shape: tuple[int, ...], outputs: int) -> tuple[int, int]:
        """Trainable weights, and the numbers that a trained network is kept in: these and its statistics.

        Raises what `size` raises.
        """
        found = measure(self.plan(params, tuple(input_shape), outputs), tuple(input_shape))
        return found.weights, found.weights + found.statistics


AUGMENTATION: Mapping[str, Limits] = {
    "shift": Limits(0.0, 0.0, 0.5),
    "flip": Limits(0.0, 0.0, 1.0),
    "crop": Limits(0.0, 0.0, 0.9),
    "cutout": Limits(0.0, 0.0, 1.0),
    "rotation": Limits(0.0, 0.0, 180.0),
}
"""What may happen to an image in training; `models.layers.Augmentation` says what the numbers mean."""


def load(name: str) -> Callable[..., Any]:
    """The builder of a network: `(params, input_shape, outputs, tensors=frozenset(), lanes=None, *, shared=True) -> keras.Model`.

    `models.assembly.assemble` says what the arguments mean. Raises `Impossible` where `size` does.
    """
    row, assemble = NETWORKS[name], importlib.import_module("models.assembly").assemble

    def build(params: Mapping[str, Any], input_shape: tuple[int, ...], outputs: int, *options: Any, **named: Any) -> Any:
        row.size(params, input_shape, outputs)
        return assemble(row.plan(params, input_shape, outputs), params, input_shape, *options, **named)

    return build


_EVERY = {
    "activation": Limits("relu", choices=ACTIVATIONS, shapes=True),
    "initial": Limits("auto", choices=("auto", *INITIALS), shapes=True),
    "dropout": Limits(0.0, 0.0, 0.95),
    "l1": Limits(0.0, 0.0, 10.0),
    "l2": Limits(0.0, 0.0, 10.0),
    **AUGMENTATION,
}
# Of the running statistics. Keras' 0.99 takes hundreds of steps to forget the values that they begin with.
_MOMENTUM = Limits(0.9, 0.0, 0.9999)

_CONVOLUTIONS = {
    "filters": Limits(16, 1, 100_000, shapes=True),
    "kernel": Limits(3, 1, 64, shapes=True),
    "stride": Limits(1, 1, 64, shapes=True),
    "padding": Limits("same", 0, 64, choices=("same", "valid"), shapes=True),
    "bias": Limits(True, choices=(True, False), shapes=True),
    "pooling": Limits("max", choices=("none", "max", "average"), shapes=True),
    "normalisation": Limits("none", choices=NORMALISATIONS, shapes=True),
    "norm_momentum": _MOMENTUM,
}
_IN_LANES = {"activation": "chosen", "initial": "drawn"}
_UNITS = Limits(64, 1, 100_000, shapes=True)

NETWORKS: Mapping[str, Network] = {
    "mlp": Network(
        plan=mlp.plan,
        parameters={
            "depth": Limits(2, 0, 1_000, shapes=True),
            "width": Limits(64, 1, 100_000, shapes=True),
            "bias": Limits(True, choices=(True, False), shapes=True),
            **_EVERY,
        },
        per_layer={"width": "depth"},
        beyond_backprop=("dropout", "l1", "l2", *AUGMENTATION),
        linear="depth",
        in_lanes={**_IN_LANES, "width": "padded", "bias": "chosen"},
    ),
    "lenet": Network(
        plan=lenet.plan,
        parameters={
            "preset": Limits("lenet5", choices=tuple(lenet.PRESETS), shapes=True),
            "kernel": Limits(5, 1, 64, shapes=True),
            "bias": Limits(True, choices=(True, False), shapes=True),  # of the convolutions
            "pooling": Limits("max", choices=("max", "average"), shapes=True),
            "normalisation": Limits("none", choices=NORMALISATIONS, shapes=True),
            "norm_momentum": _MOMENTUM,
            **_EVERY,
        },
        convolutional=True,
        in_lanes={**_IN_LANES, "bias": "chosen"},
    ),
    "convnet": Network(
        plan=convnet.plan,
        parameters={
            "convolutions": Limits(2, 0, 64, shapes=True),
            **_CONVOLUTIONS,
            "dense": Limits(1, 0, 64, shapes=True),
            "units": _UNITS,
            **_EVERY,
        },
        per_layer={**dict.fromkeys(convnet.OF_CONVOLUTIONS, "convolutions"), "units": "dense"},
        convolutional=True,
        in_lanes=_IN_LANES,
    ),
    "chain": Network(
        plan=convnet.plan_chain,
        parameters={
            "depth": Limits(2, 0, 64, shapes=True),
            "kind": Limits("convolution", choices=("convolution", "linear"), shapes=True),
            **_CONVOLUTIONS,
            "units": _UNITS,
            **_EVERY,
        },
        per_layer=dict.fromkeys(("kind", *convnet.OF_CONVOLUTIONS, "units"), "depth"),
        kinds=Kinds(
            "kind",
            convnet.CONVOLUTION,
            convnet.LINEAR,
            {**dict.fromkeys((*convnet.OF_CONVOLUTIONS, "norm_momentum"), convnet.CONVOLUTION), "units": convnet.LINEAR},
        ),
        convolutional=True,
        in_lanes=_IN_LANES,
    ),
    "resnet": Network(
        plan=resnet.plan,
        parameters={
            "depth": Limits(20, 8, 200, shapes=True, step=6),
            "width_factor": Limits(1.0, 0.1, 64.0, shapes=True),
            "residual": Limits(True, choices=(True, False), shapes=True),
            "normalisation": Limits("batch", choices=NORMALISATIONS, shapes=True),
            "norm_momentum": _MOMENTUM,
            **_EVERY,
        },
        convolutional=True,
        in_lanes=_IN_LANES,
    ),
}
