"""The contract of the methods that need more than the gradient of a batch.

An engine hands over a `Closure`: the batch as a function of the weights. A method is a `ClosureRule` that states `descend`, which
asks the closure at whatever weights it likes and makes one step; beside that it is a rule as any other (`optimizers.contract`).

Every evaluation of a closure sees the same batch and the same state of the network: the same dropout masks, and the statistics of
batch normalisation as they were before the step. That state moves once a step, by `Closure.keep`, as the pass at the weights
before the step left it. So a step of a method with five evaluations moves it as far as a step of SGD does.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import keras
import keras.ops as ops
import tensorflow as tf

from optimizers.base import Rule
from optimizers.contract import Tensor


class Pass(NamedTuple):
    """One pass of the batch forwards and backwards: `grads` has the shapes of the weights, `outputs` is the engine's own.

    `state` holds the values of the closure's state after the pass; None where it did not change.
    """

    loss: Tensor
    grads: list[Tensor]
    outputs: Any
    state: list[Tensor | None]


class Closure:
    """The loss of one batch as a function of the values of `variables`, the trainable weights.

    `evaluate()` runs the network on the batch and returns its scalar loss, penalties included, and whatever the engine wants to
    have of the pass. `state` are the variables that it writes besides: statistics, seeds, metrics.
    """

    def __init__(self, evaluate: Callable[[], tuple[Tensor, Any]], variables: Sequence[Any], state: Sequence[Any] = ()) -> None:
        self._evaluate, self._variables, self._state = evaluate, variables, state

    def loss(self, values: Sequence[Tensor]) -> Tensor:
        """f(values), a scalar."""
        return self._at(values)[0]

    def gradient(self, values: Sequence[Tensor]) -> Pass:
        """f and ∇f at `values`; zeros for a weight that f does not depend on."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            loss, outputs, state = self._at(values)
        return Pass(loss, _gradients(tape, loss, values), outputs, state)

    def hessian_times(self, values: Sequence[Tensor], direction: Sequence[Tensor]) -> list[Tensor]:
        """∇²f(values) direction, as ∇⟨∇f, direction⟩ (Pearlmutter 1994)."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            grads = self.gradient(values).grads
            slope = sum(ops.sum(g * v) for g, v in zip(grads, direction, strict=True))
        return _gradients(tape, slope, values)

    def keep(self, passed: Pass) -> None:
        """Gives the state the values that it had after a pass."""
        for variable, value in zip(self._state, passed.state, strict=True):
            if value is not None:
                variable.assign(value)

    def _at(self, values: Sequence[Tensor]) -> tuple[Tensor, Any, list[Tensor | None]]:
        # In one scope, so that penalties are those of `values` (`Model.compute_loss` alone takes the stored weights) and no
        # evaluation writes what the next one reads.
        with keras.StatelessScope(list(zip(self._variables, values, strict=True)), collect_losses=True) as scope:
            loss, outputs = self._evaluate()
        return loss, outputs, [scope.get_current_value(variable) for variable in self._state]


class AskingRule(Rule):
    """A rule whose step is a `descend` of its own, for which gradients are not enough; `wants` says what is.

    An engine that only applies gradients cannot run it: `apply` and Keras' own `fit` raise ValueError.

    Raises ValueError for lanes, whose losses an engine knows only as a sum, and for scaled or accumulated gradients.
    """

    wants: ClassVar[str]

    def __init__(self, learning_rate: Any = None, *, lanes: int | None = None, **options: Any) -> None:
        if lanes is not None:
            raise ValueError(f"{self.row.name} has no lanes: it asks for the loss of one network; got lanes={lanes!r}")
        for name in ("loss_scale_factor", "gradient_accumulation_steps"):
            if options.get(name) is not None:
                raise ValueError(f"{self.row.name} has no {name}: each step asks its batch anew; got {options[name]!r}")
        super().__init__(learning_rate, **options)

    def apply(self, grads: Sequence[Tensor], trainable_variables: Sequence[Any] | None = None) -> None:
        """Raises ValueError: gradients alone do not make a step of this method."""
        del grads, trainable_variables  # not enough
        raise ValueError(f"{self.row.name} needs more than a gradient: {self.wants}")

    def _step(self, grads: Sequence[Tensor], variables: Sequence[Any]) -> None:
        super().apply(grads, variables)


class ClosureRule(AskingRule):
    """A rule whose step asks a closure; `ClosureModel` can run it in Keras' `fit`."""

    wants = "it evaluates its batch several times. Train the model as `optimizers.closure_model.ClosureModel(model)`"

    def descend(self, closure: Closure, variables: Sequence[Any]) -> Pass:
        """One step of `variables`; the pass at the weights before the step. The optimizer must be built."""
        raise NotImplementedError


def values_of(variables: Sequence[Any]) -> list[Tensor]:
    """What the variables hold now."""
    return [tf.identity(ops.convert_to_tensor(variable)) for variable in variables]


def squared_norm(tensors: Sequence[Tensor], dtype: str) -> Tensor:
    """‖tensors‖² over all of them together, a scalar."""
    return sum(ops.sum(ops.square(ops.cast(tensor, dtype))) for tensor in tensors)


def _gradients(tape: tf.GradientTape, target: Tensor, values: Sequence[Tensor]) -> list[Tensor]:
    found = tape.gradient(target, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.convert_to_tensor(gradient) for gradient in found]
