"""The activations σ, and what keeps the variance of a signal that goes through each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import keras.ops as ops

from models import ACTIVATIONS as NAMES


@dataclass(frozen=True)
class Activation:
    """σ, elementwise, and the initial weights that suit it."""

    function: Callable[[Any], Any]
    initial: str


_ROWS = {
    "relu": Activation(ops.relu, "he_normal"),
    "leaky_relu": Activation(ops.leaky_relu, "he_normal"),
    "elu": Activation(ops.elu, "he_normal"),
    "selu": Activation(ops.selu, "lecun_normal"),
    "gelu": Activation(ops.gelu, "he_normal"),
    "silu": Activation(ops.silu, "he_normal"),
    "sigmoid": Activation(ops.sigmoid, "glorot_uniform"),
    "tanh": Activation(ops.tanh, "glorot_uniform"),
    "softplus": Activation(ops.softplus, "glorot_uniform"),
    "hard_sigmoid": Activation(ops.hard_sigmoid, "glorot_uniform"),
    "hard_tanh": Activation(ops.hard_tanh, "glorot_uniform"),
    "hard_silu": Activation(ops.hard_silu, "he_normal"),
    "linear": Activation(lambda u: u, "glorot_uniform"),
}

ACTIVATIONS: Mapping[str, Activation] = MappingProxyType({name: _ROWS[name] for name in NAMES})
