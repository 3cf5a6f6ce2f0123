"""An average over the iterates of a method."""

from typing import ClassVar

import keras.ops as ops

from optimizers.base import Rule
from optimizers.interval import NON_NEGATIVE


class Averaged(Rule):
    """The wrapped rule makes the iterates x^k; x̄ ← x̄ + c (x^k - x̄) with c = w_k / Σ w and w_k = k^p α_k^q is to be evaluated.

    p = q = 0 is the plain average of Polyak and Ruppert, q = 1 with c/√k the one of the theorem on subgradients, and p = 1 the
    one that forgets the beginning and wins back the logarithm. The average never acts on the iterates. p is `step_power`, q is
    `rate_power` and α_k is the rate.

    The slot `lead` is x - x̄, from 0, so weights that are set in between move both. The model's variables hold x while it trains.
    A mixin: it stands in front of the rule's class.

    Polyak and Juditsky, *Acceleration of Stochastic Approximation by Averaging*, 1992; Nemirovski et al., *Robust Stochastic
    Approximation*, 2009, eq. 2.15; Lacoste-Julien, Schmidt and Bach, *A simpler approach to obtaining an O(1/t) convergence rate
    for the projected stochastic subgradient method*, 2012. Lecture 3.3.
    """

    allowed: ClassVar = {"step_power": NON_NEGATIVE, "rate_power": NON_NEGATIVE}
    slots: ClassVar = {"lead": 0.0}
    carried: ClassVar = {"weight_sum": 0.0}
    decays_first: ClassVar = False

    def per_step(self, h):
        """The wrapped rule's, Σ w, and 1 - c as `kept`."""
        weight = ops.power(h.k, h.step_power) * ops.power(h.learning_rate, h.rate_power)
        total = h.weight_sum + weight
        return {**super().per_step(h), "weight_sum": total, "kept": 1 - weight / ops.where(total > 0, total, 1.0)}

    def gather(self, g, x, slots, h):
        """The wrapped rule's, at the iterate."""
        *inner, lead = slots
        return super().gather(g, x + h.in_evaluation * lead, tuple(inner), h)

    def update(self, g, x, slots, h):
        """One step of the iterate, which the average then follows."""
        *inner, lead = slots
        iterate = x + h.in_evaluation * lead
        start = iterate - h.decay * iterate if super().decays_first else iterate
        following, inner = super().update(g, start, tuple(inner), h)
        return following, (*inner, h.kept * (lead + (following - iterate)))

    def evaluation_point(self, x, slots, h):
        """The average."""
        return x - slots[-1]

    def training_point(self, x, slots, h):
        """The iterate."""
        return x + slots[-1]
