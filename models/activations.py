"""The activations σ, and what keeps the variance of a signal that goes through each."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import keras
import tensorflow as tf

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


def several(names: str | Sequence[str]) -> tuple[str, ...]:
    """One or several names of the table. Raises ValueError when one is not in it."""
    found = (names,) if isinstance(names, str) else tuple(names)
    if not found or not set(found) <= set(ACTIVATIONS):
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}; got {names!r}")
    return found


def plain(names: Sequence[str]) -> str | list[str]:
    """What `several` was given, as plain JSON."""
    return names[0] if len(names) == 1 else list(names)


@functools.cache
def _choosing(names: tuple[str, ...]) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """A function of u and a choice: the value and the derivative of the activation chosen.

    XLA runs it, also inside a graph: all activations and their derivatives are many small operations on every element.
    """

    @tf.function(jit_compile=True, autograph=False)
    def choose(u: tf.Tensor, choice: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        value = slope = tf.zeros_like(u)
        for place, name in enumerate(names):
            with tf.GradientTape() as tape:
                tape.watch(u)
                its = ACTIVATIONS[name].function(u)
            mine = tf.equal(choice, place)
            value, slope = tf.where(mine, its, value), tf.where(mine, tape.gradient(its, u), slope)
        return value, slope

    return choose  # type: ignore[no-any-return]


def chosen(u: tf.Tensor, names: Sequence[str], choice: tf.Tensor) -> tf.Tensor:
    """σ(u) with the activation whose place in `names` is `choice`, which broadcasts against `u`.

    All are computed. The derivative is selected like the value: a plain select would multiply the derivative of an activation
    that overflows by 0 and hand NaN to a lane that has another one.
    """

    @tf.custom_gradient
    def select(u: tf.Tensor) -> Any:
        value, slope = _choosing(tuple(names))(u, choice)
        return value, lambda upstream: upstream * slope

    return select(u)
