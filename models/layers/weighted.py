"""What layers with a kernel share: initial weights, bias, activation, penalties."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras.ops as ops
import tensorflow as tf

from models import activations, random
from models.initial import INITIALS, draw
from models.layers.base import Layer, Tensor
from models.random import Key


class Weighted(Layer):
    """A layer u = W * x + b, x' = σ(u), with W of [..., D, F] and b of [F].

    `activation` is one of `models.ACTIVATIONS`; `initial` one of `models.INITIALS`, or "auto" for what suits the activation. `l1`
    and `l2` add l1 Σ|W| + l2 ΣW² to the loss, whose gradient is l1 sign(W) + 2 l2 W (the factor of the lecture and of
    `keras.regularizers`; Caffe's and a `weight_decay` of plain SGD are half of it); with None the term is not in the graph.
    Raises ValueError for other names.
    """

    stream = random.WEIGHTS

    def __init__(
        self,
        *,
        activation: str = "linear",
        use_bias: bool = True,
        initial: str = "auto",
        l1: float | None = None,
        l2: float | None = None,
        **layer: Any,
    ) -> None:
        if activation not in activations.ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(activations.ACTIVATIONS)}; got {activation!r}")
        if initial not in ("auto", *INITIALS):
            raise ValueError(f"initial must be one of auto, {', '.join(INITIALS)}; got {initial!r}")
        super().__init__(**layer)
        self.activation, self.use_bias, self.initial = activation, use_bias, initial
        self._penalties = {name: value for name, value in (("l1", l1), ("l2", l2)) if value is not None}

    def create(self, shape: tuple[int, ...]) -> None:
        """Create W of `shape` [..., D, F], b, and the hyper-parameters; `keras.utils.set_random_seed` decides W."""

        def first(_: Any, dtype: Any) -> Tensor:
            return ops.cast(self._drawn(self.fresh_keys(), shape), dtype)

        # Not autocast: a penalty summed in half precision would overflow.
        self.kernel = self.add_weight(name="kernel", shape=self.laned(*shape), initializer=first, autocast=False)
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=self.laned(shape[-1]), initializer="zeros")
        for name, value in self._penalties.items():
            self.add_hyper(name, value)

    def initialise(self, keys: Sequence[Key]) -> None:
        """As `initial` says; b = 0."""
        self.kernel.assign(self._drawn(keys, tuple(self.kernel.shape)[0 if self.lanes is None else 1 :]))
        if self.bias is not None:
            self.bias.assign(ops.zeros_like(self.bias))

    def _drawn(self, keys: Sequence[Key], shape: tuple[int, ...]) -> Any:
        kind = activations.ACTIVATIONS[self.activation].initial if self.initial == "auto" else self.initial
        return self.stacked([draw(kind, key, shape) for key in keys])

    def penalise(self) -> None:
        """Add the penalty to the losses, if there is one."""
        if self._penalties:
            self.add_loss(self.penalty())

    def penalty(self) -> Tensor:
        """l1 Σ|W| + l2 ΣW² at the present weights, () or (K,)."""
        terms = {"l1": ops.abs, "l2": ops.square}
        axes = None if self.lanes is None else tuple(range(1, len(self.kernel.shape)))
        sums = []
        for name in self._penalties:
            rate = self.hyper[name]
            sums.append(rate * ops.sum(terms[name](ops.cast(self.kernel, rate.dtype)), axis=axes))
        return sum(sums[1:], sums[0])

    def cast_kernel(self) -> Tensor:
        """W in the dtype of the computation."""
        return ops.cast(self.kernel, self.compute_dtype)

    def finish(self, u: Tensor) -> Tensor:
        """σ(u + b)."""
        return activations.ACTIVATIONS[self.activation].function(u if self.bias is None else self._biased(u))

    def _biased(self, u: Tensor) -> Tensor:
        bias = tf.cast(self.bias, u.dtype)
        if self.lanes is None:
            return tf.nn.bias_add(u, bias)
        # Not keras.ops.add: it takes [K, 1, 1] for the bias of an axis when any axis happens to have K places.
        return tf.add(u, self.spread(bias, len(u.shape)))

    def shared_weights(self) -> list[keras.Variable]:
        """W and b."""
        return [weight for weight in (self.kernel, self.bias) if weight is not None]

    def as_twin(self) -> dict[str, Any]:
        """With activation, bias and penalty."""
        both = super().as_twin()
        penalties = {name: float(self.hyper[name].numpy()) for name in self._penalties}
        penalty = keras.regularizers.L1L2(**penalties) if penalties else None
        return {**both, "activation": self.activation, "use_bias": self.use_bias, "kernel_regularizer": penalty}

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        mine = {"activation": self.activation, "use_bias": self.use_bias, "initial": self.initial}
        return {**super().get_config(), **mine, **self._penalties}


def weighted_arguments(twin: keras.layers.Layer) -> Mapping[str, Any]:
    """Activation, bias and penalty of a Keras layer with a kernel."""
    penalty = twin.kernel_regularizer.get_config() if twin.kernel_regularizer else {}
    activation = keras.activations.serialize(twin.activation)
    return {"activation": activation, "use_bias": twin.use_bias, **{k: penalty[k] for k in ("l1", "l2") if k in penalty}}
