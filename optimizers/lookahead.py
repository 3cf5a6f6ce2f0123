"""A slow copy of the weights that follows a fast one."""

import keras.ops as ops

from optimizers.leading import Leading


class Lookahead(Leading):
    """The wrapped rule moves the fast weights x; every ⌈`every`⌉ steps the slow ones follow, φ ← φ + `pull` (x - φ), and x ← φ.

    The slot `lead` is u = x - φ.

    Zhang et al., *Lookahead Optimizer: k steps forward, 1 step back*, 2019, arXiv:1907.08610, algorithm 1, where `every` is k and
    `pull` is α.
    """

    def per_step(self, h):
        """The wrapped rule's; the share of u that x takes `back` and the share that is `kept`, 0 and 1 in all but one step."""
        follows = ops.cast(ops.equal(ops.mod(h.k, ops.ceil(h.every)), 0), h.k.dtype)
        return {**super().per_step(h), "back": follows * (1 - h.pull), "kept": 1 - follows}

    def update(self, g, x, slots, h):
        """One step of the fast weights, and of the slow ones when it is their turn."""
        following, inner, u = self.go_ahead(g, x, slots, h)
        return following - h.back * u, (*inner, h.kept * u)
