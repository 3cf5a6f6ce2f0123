"""Variance reduction by a snapshot, around any method that needs gradients only."""

from collections.abc import Sequence
from typing import Any, ClassVar

import keras.ops as ops

from optimizers.closure import ClosureRule, values_of
from optimizers.contract import Tensor


class SVRG(ClosureRule):
    """The method's step with ∇f_i(x) - c (∇f_i(x_s) - μ) in place of ∇f_i(x), where μ = ∇f(x_s).

    f_i is the loss of the batch and f the mean over the training rows, penalties included in both; x_s is the snapshot, which the
    engine renews with μ at the start of every epoch (`take_snapshot`), so that m of the paper is the number of steps of an epoch.
    Both gradients of a step see the same dropout masks. Without a snapshot x_s and μ are no numbers, nor are the weights then.

    c is `coefficient`: 1 is the paper's method, less of it is the α of α-SVRG, 0 is the method inside.

    Johnson and Zhang 2013, figure 1; Yin et al. 2025 (α-SVRG). Variance reduction is named in the lecture's contents.
    """

    slots: ClassVar = {"snapshot": float("nan"), "full_gradient": float("nan")}

    def take_snapshot(self, variables: Sequence[Any], full_gradient: Sequence[Tensor]) -> None:
        """Makes the point that `variables` hold the snapshot; `full_gradient` is ∇f there."""
        for variable, gradient in zip(variables, full_gradient, strict=True):
            for slot, value in zip(self._anchor(variable), (variable, gradient), strict=True):
                slot.assign(ops.cast(value, slot.dtype))

    def descend(self, closure, variables):
        """One step of the method."""
        found = closure.gradient(values_of(variables))
        anchors = [self._anchor(variable) for variable in variables]
        there = [ops.cast(at, variable.dtype) for (at, _), variable in zip(anchors, variables, strict=True)]
        before = closure.gradient(there).grads
        corrected = [
            g - ops.cast(self._hypers["coefficient"], g.dtype) * (b - ops.cast(mean, g.dtype))
            for g, b, (_, mean) in zip(found.grads, before, anchors, strict=True)
        ]
        self._step(corrected, variables)
        return found

    def gather(self, g, x, slots, h):
        """The method's."""
        return super().gather(g, x, slots[: -len(SVRG.slots)], h)

    def update(self, g, x, slots, h):
        """The method's; the snapshot stays."""
        inside = len(slots) - len(SVRG.slots)
        x, following = super().update(g, x, slots[:inside], h)
        return x, (*following, *slots[inside:])

    def _anchor(self, variable: Any) -> list[Any]:
        """x_s and μ of one weight."""
        return self._slots_of(variable)[-len(SVRG.slots) :]
