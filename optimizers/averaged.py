"""An average over the iterates of a method."""

from typing import ClassVar

import keras.ops as ops

from optimizers.leading import Leading


class Averaged(Leading):
    """The wrapped rule makes the iterates x^k; x̄ ← x̄ + c (x^k - x̄) with c = w_k / Σ w and w_k = k^p α_k^q is to be evaluated.

    p = q = 0 is the plain average of Polyak and Ruppert, q = 1 with c/√k the one of the theorem on subgradients, and p = 1 the
    one that forgets the beginning and wins back the logarithm. The average never acts on the iterates. p is `step_power`, q is
    `rate_power` and α_k is the rate.

    The slot `lead` is x - x̄.

    Polyak and Juditsky, *Acceleration of Stochastic Approximation by Averaging*, 1992; Nemirovski et al., *Robust Stochastic
    Approximation*, 2009, eq. 2.15; Lacoste-Julien, Schmidt and Bach, *A simpler approach to obtaining an O(1/t) convergence rate
    for the projected stochastic subgradient method*, 2012. Lecture 3.3.
    """

    carried: ClassVar = {"weight_sum": 0.0}

    def per_step(self, h):
        """The wrapped rule's, Σ w, and 1 - c as `kept`."""
        weight = ops.power(h.k, h.step_power) * ops.power(h.learning_rate, h.rate_power)
        total = h.weight_sum + weight
        return {**super().per_step(h), "weight_sum": total, "kept": 1 - weight / ops.where(total > 0, total, 1.0)}

    def update(self, g, x, slots, h):
        """One step of the iterate, which the average then follows."""
        following, inner, lead = self.go_ahead(g, x, slots, h)
        return following, (*inner, h.kept * lead)
