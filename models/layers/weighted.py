"""What layers with a kernel share: initial weights, bias, activation, penalties."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras.ops as ops
import numpy as np
import tensorflow as tf

from models import activations, random
from models.initial import INITIALS, draw
from models.layers.base import Layer, State, Tensor, refuse
from models.random import Key


class Weighted(Layer):
    """A layer u = W * x + b, x' = σ(u), with W of [..., D, F] and b of [F].

    `activation` is one of `models.ACTIVATIONS`; `initial` one of `models.INITIALS`, or "auto" for what suits the activation,
    or the one that `leads_to` names when it only comes behind a normalisation.
    Several activations make their choice a hyper-parameter, `activation`, the place in the sequence; with `use_bias="either"` the
    hyper-parameter `bias` is 1 with and 0 without. `l1`
    and `l2` add l1 Σ|W| + l2 ΣW² to the loss, whose gradient is l1 sign(W) + 2 l2 W (the factor of the lecture and of
    `keras.regularizers`; Caffe's and a `weight_decay` of plain SGD are half of it); with None the term is not in the graph.
    Raises ValueError for other names.
    """

    stream = random.WEIGHTS

    def __init__(
        self,
        *,
        activation: str | Sequence[str] = "linear",
        use_bias: bool | str = True,
        initial: str = "auto",
        leads_to: str | Sequence[str] | None = None,
        l1: float | None = None,
        l2: float | None = None,
        **layer: Any,
    ) -> None:
        self.activations = activations.several(activation)
        if initial not in ("auto", *INITIALS):
            raise ValueError(f"initial must be one of auto, {', '.join(INITIALS)}; got {initial!r}")
        super().__init__(**layer)
        self.use_bias, self.initial, self.leads_to = use_bias, initial, leads_to
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
        if len(self.activations) > 1:
            self.add_hyper("activation", 0)
        if self.use_bias == "either":
            self.add_hyper("bias", 1)

    def initial_state(self, keys: Sequence[Key], params: Sequence[Mapping[str, Any]]) -> State:
        """W as `initial` says, for the inputs and outputs that a lane has; b = 0."""
        whole = tuple(self.kernel.shape)[0 if self.lanes is None else 1 :]
        state: list[tuple[keras.Variable, Any]] = [(self.kernel, self._drawn(keys, whole, params))]
        return state if self.bias is None else [*state, (self.bias, 0.0)]

    def used(self, whole: tuple[int, ...], params: Mapping[str, Any]) -> tuple[int, ...]:
        """The part of a kernel of `whole` shape that a lane with these parameters has."""
        del params  # all of it
        return whole

    def _drawn(self, keys: Sequence[Key], whole: tuple[int, ...], params: Sequence[Mapping[str, Any]] = ()) -> Any:
        values = []
        for key, its in zip(keys, params or [{}] * len(keys), strict=True):
            shape = self.used(whole, its)
            kernel = draw(self._kind(its), key, shape)
            values.append(np.pad(kernel, [(0, a - b) for a, b in zip(whole, shape, strict=True)]))
        return self.stacked(values)

    def _kind(self, params: Mapping[str, Any]) -> str:
        initial = params.get("initial", self.initial)
        if initial != "auto":
            return str(initial)
        sigma = self.leads_to or self.activations
        if isinstance(sigma, str):
            return activations.ACTIVATIONS[sigma].initial
        return activations.ACTIVATIONS[params.get("activation", sigma[0]) if len(sigma) > 1 else sigma[0]].initial

    @property
    def activation(self) -> str:
        """The only activation, or the first of several."""
        return self.activations[0]

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
        u = u if self.bias is None else self._biased(u)
        if len(self.activations) == 1:
            return activations.ACTIVATIONS[self.activation].function(u)
        return activations.chosen(u, self.activations, self._hyper_of("activation", len(u.shape)))

    def _hyper_of(self, name: str, rank: int) -> Tensor:
        """A hyper-parameter so that it broadcasts against `rank` axes."""
        return self.spread(ops.convert_to_tensor(self.hyper[name]), rank)

    def _biased(self, u: Tensor) -> Tensor:
        bias = tf.cast(self.bias, u.dtype)
        if "bias" in self.hyper:
            bias = bias * tf.cast(self._hyper_of("bias", len(bias.shape)), u.dtype)
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
        sigma = activations.plain(self.activations)
        mine = {"activation": sigma, "use_bias": self.use_bias, "initial": self.initial, "leads_to": self.leads_to}
        return {**super().get_config(), **mine, **self._penalties}


def weighted_arguments(twin: keras.layers.Layer) -> Mapping[str, Any]:
    """Activation, bias and penalty of a Keras layer with a kernel.

    Raises ValueError for other penalties than l1 and l2 of the kernel, and for constraints.
    """
    refuse(twin, bias_regularizer=None, activity_regularizer=None, kernel_constraint=None, bias_constraint=None)
    penalty = twin.kernel_regularizer.get_config() if twin.kernel_regularizer else {}
    if penalty.keys() - {"l1", "l2"}:
        refuse(twin, kernel_regularizer=None)
    activation = keras.activations.serialize(twin.activation)
    return {"activation": activation, "use_bias": twin.use_bias, **{k: penalty[k] for k in ("l1", "l2") if k in penalty}}
