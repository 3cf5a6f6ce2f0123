"""Momentum, orthogonalised."""

import re
from collections.abc import Sequence
from typing import Any

import keras
import keras.ops as ops
import tensorflow as tf

from optimizers import OPTIMIZERS
from optimizers.adam import Adam

EMBEDDING = re.compile("embedding", re.IGNORECASE)
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
CARRIED = COEFFICIENTS[2] ** 0.25
ITERATIONS = 5
RMS = 0.2
"""The root mean square of AdamW's steps, in units of the rate, to which the orthogonal steps are scaled."""


@keras.saving.register_keras_serializable(package="tuner")
class Muon(Adam):
    """B ← μ B + G; x ← x - α (0.2 √max(n, m) O(G + μ B) + λ x) for matrices [n, m]; AdamW for the other weights.

    O(M) is 5 iterations X ← a X + b A X + c A² X, A = X Xᵀ, from X = M / (‖M‖ + 1e-7), which bring all singular values near 1.
    A weight of more than two axes is the matrix [product of the others, last], so a convolution kernel is [H·W·I, O]. μ is
    `momentum`, α is `learning_rate` and λ is `weight_decay`, for all weights; the rates are those of AdamW.

    To AdamW go weights with less than two axes and those whose path matches one of the regular expressions `exclude`. None
    stands for embeddings and, where there are several weights of two or more axes, the last of them: the output layer.

    Jordan et al., *Muon: An Optimizer for Hidden Layers in Neural Networks*, 2024; the scale and the decay are those of Liu et
    al., *Muon is Scalable for LLM Training*, 2025, arXiv:2502.16982, eq. 4. Keras' Muon is the same for matrices; it gives
    AdamW every kernel of a convolution, keeps the output layer unless told its name, has an ε in AdamW that grows by 1/√(1-β₂ᵏ)
    and two more knobs for AdamW. Raises ValueError for an `exclude` that is a string.
    """

    row = OPTIMIZERS["muon"]

    def __init__(self, learning_rate: Any = None, *, exclude: Sequence[str] | None = None, **options: Any) -> None:
        if isinstance(exclude, str):
            raise ValueError(f"exclude must be None or several regular expressions; got {exclude!r}")
        super().__init__(learning_rate, **options)
        self.exclude = None if exclude is None else tuple(re.compile(pattern).pattern for pattern in exclude)

    def get_config(self):
        """As for every rule, with `exclude`."""
        return {**super().get_config(), "exclude": None if self.exclude is None else list(self.exclude)}

    def traits(self, shapes, paths):
        """`orthogonal`: whether the weight is one of the matrices."""
        matrices = [len(shape) >= 2 for shape in shapes]
        if self.exclude is not None:
            excluded = [any(re.search(pattern, path) for pattern in self.exclude) for path in paths]
        else:
            output = len(matrices) - 1 - matrices[::-1].index(True) if sum(matrices) > 1 else None
            excluded = [EMBEDDING.search(path) or index == output for index, path in enumerate(paths)]
        return [{"orthogonal": matrix and not out} for matrix, out in zip(matrices, excluded, strict=True)]

    def slot_shape(self, name, shape, traits):
        """A matrix has no mean square."""
        return () if name == "mean_square" and traits["orthogonal"] else shape

    def per_step(self, h):
        """Adam's numbers under Adam's names."""
        h.beta_1, h.beta_2 = h.adam_beta_1, h.adam_beta_2
        return {"beta_1": h.beta_1, "beta_2": h.beta_2, **super().per_step(h)}

    def update(self, g, x, slots, h):
        """One step; B is the slot `mean`."""
        if not h.orthogonal:
            return super().update(g, x, slots, h)
        momentum, unused = slots
        momentum = h.momentum * momentum + g
        matrix = self.matrix(g + h.momentum * momentum)
        rate = h.learning_rate * (RMS * max(matrix.shape[-2:]) ** 0.5 / CARRIED)
        return x - rate * ops.reshape(orthogonal(matrix), x.shape), (momentum, unused)


def orthogonal(matrix):
    """c^¼ U Vᵀ, roughly, of the decomposition U Σ Vᵀ of each [..., n, m]; transposed so that X Xᵀ is the smaller Gram matrix.

    What is carried is c^¼ X, for its Gram matrix A makes the factor a I + b A/√c + A² = (A + d I)² + (a - d²) I, d = b/(2√c):
    fewer passes over memory than the sum of three.
    """
    a, b, c = COEFFICIENTS
    rows, columns = matrix.shape[-2:]
    wide = matrix if rows <= columns else tf.linalg.matrix_transpose(matrix)
    d, unit = b / (2 * c**0.5), tf.eye(min(rows, columns), dtype=matrix.dtype)
    inside, outside = d * unit, (a - d * d) * unit
    x = wide * (CARRIED / (tf.norm(wide, axis=(-2, -1), keepdims=True) + 1e-7))
    for _ in range(ITERATIONS):
        root = tf.linalg.matmul(x, x, transpose_b=True) + inside
        x = (tf.linalg.matmul(root, root) + outside) @ x
    return x if rows <= columns else tf.linalg.matrix_transpose(x)
