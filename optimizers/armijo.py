"""Gradient descent with a backtracking line search."""

from collections.abc import Sequence
from typing import ClassVar

import keras
import keras.ops as ops
import tensorflow as tf

from optimizers import OPTIMIZERS
from optimizers.closure import Closure, ClosureRule, Pass, squared_norm, values_of
from optimizers.contract import Tensor

SHORTENINGS = 50


@keras.saving.register_keras_serializable(package="tuner")
class Armijo(ClosureRule):
    """x ← x - α ∇f(x) with the first α of α₀, bα₀, b²α₀, ... for which f(x - α∇f) <= f(x) - cα‖∇f‖².

    α₀ is `learning_rate`, b `backtrack`, c `decrease`. The first search begins at α₀, each other one at α/b with the last α, but
    not above α₀: it costs one or two evaluations instead of j, and for an L-smooth f every accepted α is at least
    min(α₀, 2b(1-c)/L) either way. When 50 shortenings do not do, as at the end of the digits or where f is no number, the weights
    stay and the next search begins at α₀.

    It descends the f that it is given: the loss of all training rows for the lecture's method, or that of one batch with one
    set of dropout masks. `evaluations` counts how often f was asked, the one that gives the gradient included.

    Weight decay and clips would leave the line that is searched and are refused; a constraint of a weight acts after the step.

    Armijo 1966; Bertsekas 1999, section 1.2; lecture 3.2.
    """

    row = OPTIMIZERS["armijo"]
    carried: ClassVar = {"step": 0.0, "evaluations": 0.0}

    @property
    def evaluations(self) -> int:
        """How often f was evaluated so far."""
        return int(self._carried["evaluations"])

    @property
    def step(self) -> float:
        """The last accepted α; 0 before the first search and where 50 shortenings did not do."""
        return float(self._carried["step"])

    def descend(self, closure, variables):
        """One search and its step."""
        here = values_of(variables)
        found = closure.gradient(here)
        step, tried = self._search(closure, here, found)
        self._carried["step"].assign(step)
        self._carried["evaluations"].assign_add(ops.cast(tried + 1, self._number_dtype))
        self._step(found.grads, variables)
        return found

    def update(self, g, x, slots, h):
        """The step that was found."""
        return x - h.step * g, slots

    def _search(self, closure: Closure, here: Sequence[Tensor], found: Pass) -> tuple[Tensor, Tensor]:
        """The accepted α, or 0, and the number of those tried."""
        before, square = ops.cast(found.loss, self._number_dtype), squared_norm(found.grads, self._number_dtype)
        backtrack, decrease = (ops.convert_to_tensor(self._hypers[name]) for name in ("backtrack", "decrease"))

        def after(step: Tensor) -> Tensor:
            pairs = zip(here, found.grads, strict=True)
            return ops.cast(closure.loss([x - ops.cast(step, x.dtype) * g for x, g in pairs]), self._number_dtype)

        def accepted(step: Tensor, value: Tensor) -> Tensor:
            return value <= before - decrease * step * square

        def goes_on(step: Tensor, value: Tensor, tried: Tensor) -> Tensor:
            return ops.logical_and(ops.logical_not(accepted(step, value)), tried <= SHORTENINGS)

        def shorten(step: Tensor, value: Tensor, tried: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            del value  # of the longer step
            return step * backtrack, after(step * backtrack), tried + 1

        start = self._start(backtrack)
        step, value, tried = tf.while_loop(goes_on, shorten, (start, after(start), 1), parallel_iterations=1)
        return ops.where(accepted(step, value), step, 0.0), tried

    def _start(self, backtrack: Tensor) -> Tensor:
        longest, last = self._tensor(self.learning_rate), ops.convert_to_tensor(self._carried["step"])
        return ops.where(last > 0, ops.minimum(longest, last / backtrack), longest)
