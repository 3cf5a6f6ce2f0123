"""A slow copy of the weights that follows a fast one."""

from typing import ClassVar

import keras.ops as ops

from optimizers.base import Rule
from optimizers.interval import POSITIVE, UNIT


class Lookahead(Rule):
    """The wrapped rule moves the fast weights x; every ⌈`every`⌉ steps the slow ones follow, φ ← φ + `pull` (x - φ), and x ← φ.

    The slot `lead` is u = x - φ, from 0, so weights that are set in between move both. The model's variables hold x while it
    trains; φ is to be evaluated. Decay belongs to the wrapped rule's step. A mixin: it stands in front of the rule's class.

    Zhang et al., *Lookahead Optimizer: k steps forward, 1 step back*, 2019, arXiv:1907.08610, algorithm 1, where `every` is k and
    `pull` is α.
    """

    allowed: ClassVar = {"every": POSITIVE, "pull": UNIT}
    slots: ClassVar = {"lead": 0.0}
    decays_first: ClassVar = False

    def per_step(self, h):
        """The wrapped rule's; the share of u that x takes `back` and the share that is `kept`, 0 and 1 in all but one step."""
        follows = ops.cast(ops.equal(ops.mod(h.k, ops.ceil(h.every)), 0), h.k.dtype)
        return {**super().per_step(h), "back": follows * (1 - h.pull), "kept": 1 - follows}

    def gather(self, g, x, slots, h):
        """The wrapped rule's, at the fast weights."""
        *inner, u = slots
        return super().gather(g, x + h.in_evaluation * u, tuple(inner), h)

    def update(self, g, x, slots, h):
        """One step of the fast weights, and of the slow ones when it is their turn."""
        *inner, u = slots
        fast = x + h.in_evaluation * u
        start = fast - h.decay * fast if super().decays_first else fast
        following, inner = super().update(g, start, tuple(inner), h)
        u = u + (following - fast)
        return following - h.back * u, (*inner, h.kept * u)

    def evaluation_point(self, x, slots, h):
        """The slow weights."""
        return x - slots[-1]

    def training_point(self, x, slots, h):
        """The fast weights."""
        return x + slots[-1]
