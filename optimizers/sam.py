"""Sharpness-aware minimisation, around any method that needs gradients only."""

import keras.ops as ops

from optimizers.closure import ClosureRule, squared_norm, values_of


class SAM(ClosureRule):
    """The method's step from x with the gradient at x + ρ g/‖g‖, where g = ∇f(x); both gradients are of the same batch.

    ρ is `radius`, the norm is over all weights together, and a zero gradient moves nothing. Decay and clips are the method's own.

    Foret et al. 2021, eqs. 2-3 and algorithm 1 (p = 2).
    """

    def descend(self, closure, variables):
        """One step of the method."""
        here = values_of(variables)
        found = closure.gradient(here)
        norm = ops.sqrt(squared_norm(found.grads, self._number_dtype))
        reach = ops.where(ops.equal(norm, 0), 0.0, ops.convert_to_tensor(self._hypers["radius"]) / norm)
        there = [x + ops.cast(reach, x.dtype) * g for x, g in zip(here, found.grads, strict=True)]
        self._step(closure.gradient(there).grads, variables)
        return found
