"""The activations σ, and what keeps the variance of a signal that goes through each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import keras

from models import ACTIVATIONS as NAMES

# What suits the activations that pass about half of the signal (He et al. 2015); selu normalises itself (Klambauer et al. 2017).
_INITIAL = {
    **dict.fromkeys(("relu", "leaky_relu", "elu", "gelu", "silu", "hard_silu"), "he_normal"),
    "selu": "lecun_normal",
}


@dataclass(frozen=True)
class Activation:
    """σ, elementwise, and the initial weights that suit it."""

    function: Callable[[Any], Any]
    initial: str


ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {name: Activation(keras.activations.get(name), _INITIAL.get(name, "glorot_uniform")) for name in NAMES}
)
