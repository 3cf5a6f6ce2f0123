"""What the wrappers share whose weights lead a point that follows them."""

from typing import ClassVar

from optimizers.base import Rule


class Leading(Rule):
    """The wrapped rule moves the weights x, which the model's variables hold in training; the point that follows is evaluated.

    The slot `lead` is x less that point, from 0, so weights that are set in between move both. Decay belongs to the step of the
    wrapped rule. A mixin: it stands in front of the rule's class.
    """

    slots: ClassVar = {"lead": 0.0}
    decays_first: ClassVar = False
    leads = "lead"

    def gather(self, g, x, slots, h):
        """The wrapped rule's, at the weights that lead."""
        *inner, lead = slots
        return super().gather(g, x + h.in_evaluation * lead, tuple(inner), h)

    def go_ahead(self, g, x, slots, h):
        """The weights after the wrapped rule's step, its slots, and the lead with the point left where it was."""
        *inner, lead = slots
        before = x + h.in_evaluation * lead
        start = before - h.decay * before if super().decays_first else before
        following, inner = super().update(g, start, tuple(inner), h)
        return following, inner, lead + (following - before)

    def evaluation_point(self, x, slots, h):
        """The point that follows."""
        return x - slots[-1]

    def training_point(self, x, slots, h):
        """The weights that lead."""
        return x + slots[-1]
