"""Adam in the eigenbasis of Shampoo's preconditioner."""

import math
from typing import Any, ClassVar

import keras
import keras.ops as ops
import tensorflow as tf

from optimizers import OPTIMIZERS
from optimizers.base import Rule
from optimizers.contract import unbias


@keras.saving.register_keras_serializable(package="tuner")
class SOAP(Rule):
    """AdamW on G' = Q_Lᵀ G Q_R and M' = Q_Lᵀ M Q_R, whose step Q_L (M̂' / (√V̂' + ε)) Q_Rᵀ moves the matrix x, [n, m].

    M ← β₁ M + (1-β₁) G and V' ← β₂ V' + (1-β₂) G'²; then L ← β₂ L + (1-β₂) G Gᵀ and R ← β₂ R + (1-β₂) Gᵀ G from 0, and every
    ⌈`precondition_frequency`⌉ steps Q ← the orthogonal factor of P Q, one step of power iteration, for P = L and P = R. A weight
    of more than two axes is the matrix [product of the others, last], a side longer than `max_precond_dim` keeps Q = I, and
    weights with less than two axes or two long sides go to AdamW.

    The first step of a matrix, which the paper leaves open, is that of the authors' code: it gathers L and R, takes their
    eigenvectors for Q, the largest eigenvalue first, and moves nothing but by decay, because the gradient that made the basis
    is diagonal in it and rounding alone would fill the rest of Adam's step. The moments count their steps from the next on.

    Vyas et al., *SOAP: Improving and Stabilizing Shampoo using Adam*, 2024, arXiv:2409.11321, algorithms 3 and 4. Raises
    ValueError for a `max_precond_dim` that is not a whole number from 0.
    """

    row = OPTIMIZERS["soap"]
    slots: ClassVar = {
        "mean": 0.0,
        "mean_square": 0.0,
        "left_statistics": 0.0,
        "right_statistics": 0.0,
        "left_basis": 0.0,
        "right_basis": 0.0,
    }

    def __init__(self, learning_rate: Any = None, *, max_precond_dim: int = 1024, **options: Any) -> None:
        if not isinstance(max_precond_dim, int) or max_precond_dim < 0:
            raise ValueError(f"max_precond_dim must be a whole number from 0; got {max_precond_dim!r}")
        super().__init__(learning_rate, **options)
        self.max_precond_dim = max_precond_dim

    def get_config(self):
        """As for every rule, with `max_precond_dim`."""
        return {**super().get_config(), "max_precond_dim": self.max_precond_dim}

    def traits(self, shapes, paths):
        """`left` and `right`: the length of the side if it has a basis, else 0."""
        del paths  # the shapes decide
        sides = [(math.prod(shape[:-1]), shape[-1]) if len(shape) >= 2 else (0, 0) for shape in shapes]
        kept = [[side if side <= self.max_precond_dim else 0 for side in both] for both in sides]
        return [{"left": left, "right": right} for left, right in kept]

    def slot_shape(self, name, shape, traits):
        """Statistics and bases are square, of the length of their side."""
        side = traits.get(name.split("_")[0])
        return shape if side is None else (side, side) if side else ()

    def per_step(self, h):
        """α/(1-β₁ᵏ) and 1/(1-β₂ᵏ), both for matrices with k-1 in place of k; whether bases are made or refreshed now."""
        done = ops.maximum(h.k - 1, 1.0)
        due = ops.equal(ops.mod(h.k - 1, ops.ceil(h.precondition_frequency)), 0)
        return {
            "rate": h.learning_rate * unbias(h.beta_1, h.k),
            "unbias": unbias(h.beta_2, h.k),
            "matrix_rate": h.learning_rate * unbias(h.beta_1, done),
            "matrix_unbias": unbias(h.beta_2, done),
            "first": ops.equal(h.k, 1),
            "refresh": due & (h.k > 1),
        }

    def update(self, g, x, slots, h):
        """One step; β₁ is `beta_1`, β₂ is `beta_2`, ε is `epsilon`, α is `learning_rate`."""
        m, v, left, right, q_left, q_right = slots
        if not (h.left or h.right):
            m, v = moments(g, g, m, v, h)
            return x - h.rate * m / (ops.sqrt(h.unbias * v) + h.epsilon), (m, v, *slots[2:])
        used = (1 - h.first) * g
        m, v = moments(used, self.rotated(used, q_left, q_right, h), m, v, h)
        step = h.matrix_rate * self.rotated(m, q_left, q_right, h) / (ops.sqrt(h.matrix_unbias * v) + h.epsilon)
        x = x - self.rotated(step, q_left, q_right, h, back=True)
        matrix = self.matrix(g)
        if h.left:
            left, q_left = self.side(tf.linalg.matmul(matrix, matrix, transpose_b=True), left, q_left, h)
        if h.right:
            right, q_right = self.side(tf.linalg.matmul(matrix, matrix, transpose_a=True), right, q_right, h)
        return x, (m, v, left, right, q_left, q_right)

    def rotated(self, values, q_left, q_right, h, *, back=False):
        """Q_Lᵀ A Q_R of the values A of a weight, or with `back` Q_L A Q_Rᵀ; in the weight's shape."""
        matrix = self.matrix(values)
        if h.left:
            matrix = tf.linalg.matmul(q_left, matrix, transpose_a=not back)
        if h.right:
            matrix = tf.linalg.matmul(matrix, q_right, transpose_b=back)
        return ops.reshape(matrix, values.shape)

    def side(self, square, statistics, basis, h):
        """The statistics P of one side after a gradient whose `square` is G Gᵀ or Gᵀ G, and its basis Q; all [..., n, n]."""
        beta_2, first, refresh = (self.by_matrix(number) for number in (h.beta_2, h.first > 0, h.refresh > 0))
        p = beta_2 * statistics + (1 - beta_2) * square
        q = tf.cond(ops.any(first), lambda: ops.where(first, eigenvectors(p), basis), lambda: basis)
        return p, tf.cond(ops.any(refresh), lambda: ops.where(refresh, tf.linalg.qr(p @ q)[0], q), lambda: q)

    def by_matrix(self, number):
        """One of the numbers of `h`, which broadcast against the weight, so that it broadcasts against matrices."""
        return number if self.lanes is None else ops.reshape(number, (self.lanes, 1, 1))


def moments(g, rotated, m, v, h):
    """Adam's two averages: of the gradient `g`, and of the squares of the one that is `rotated`."""
    return h.beta_1 * m + (1 - h.beta_1) * g, h.beta_2 * v + (1 - h.beta_2) * ops.square(rotated)


def eigenvectors(p):
    """Those of symmetric [..., n, n] as columns, the largest eigenvalue first; of I where `p` is 0 or not finite.

    The solver fails as a whole, with all lanes in it, if one number is not finite.
    """
    scaled = p / ops.max(ops.abs(p), axis=(-2, -1), keepdims=True)
    finite = ops.where(ops.isfinite(scaled), scaled, tf.eye(p.shape[-1], dtype=p.dtype))
    return tf.linalg.eigh(finite)[1][..., ::-1]
