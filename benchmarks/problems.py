"""Convex problems whose constants are known: what `benchmarks.convergence` descends.

Everything is float64. `x` is [..., d]: a point, or one for each lane. L is the Lipschitz constant of the gradient, μ that of
strong convexity, f* the least value, found by a solver that has nothing to do with the method under test.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.optimize
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

from optimizers.row_memory import LinearBatch

Array = NDArray[np.float64]
Tensor = Any


@dataclass(frozen=True)
class Quadratic:
    """f(x) = ½ Σ λ_i (x_i - x*_i)², which is 0 at its minimum; every convex quadratic is one in the right coordinates."""

    name: str
    eigenvalues: Array
    start: Array
    solution: Array

    @property
    def smoothness(self) -> float:
        """L."""
        return float(self.eigenvalues.max())

    @property
    def convexity(self) -> float:
        """μ."""
        return float(self.eigenvalues.min())

    @property
    def distance(self) -> float:
        """‖x⁰ - x*‖²."""
        return float(np.sum((self.start - self.solution) ** 2))

    def gap(self, x: Tensor) -> Tensor:
        """f(x) - f*."""
        return 0.5 * tf.reduce_sum(self.eigenvalues * tf.square(x - self.solution), axis=-1)

    def gradient(self, x: Tensor) -> Tensor:
        """∇f(x)."""
        return self.eigenvalues * (x - self.solution)


def spread() -> Quadratic:
    """Fifty eigenvalues from 0.1 to 10: κ = 100."""
    return Quadratic("quadratic, κ = 100", np.linspace(0.1, 10.0, 50), np.ones(50), np.zeros(50))


def power_law() -> Quadratic:
    """λ_i = 1/i² and x_i = 1/√i in 20,000 dimensions, where gradient descent stays at 1/k and does not turn linear."""
    i = np.arange(1, 20_001, dtype=float)
    return Quadratic("power-law quadratic", i**-2, i**-0.5, np.zeros_like(i))


def diabetes() -> Quadratic:
    """Least squares on scikit-learn's diabetes data (442 rows, 10 standardised features), in coordinates of the eigenvectors."""
    data = load_diabetes()
    A, b = (data.data - data.data.mean(0)) / data.data.std(0), data.target - data.target.mean()
    eigenvalues, vectors = np.linalg.eigh(A.T @ A / len(A))
    return Quadratic("least squares, diabetes", eigenvalues, np.zeros(10), vectors.T @ np.linalg.lstsq(A, b, rcond=None)[0])


@dataclass(frozen=True)
class LeastSquares:
    """f_i(x) = ½ (a_i·x - b_i)² over rows `A` [N, d], `b` [N]."""

    A: Array
    b: Array

    @cached_property
    def solution(self) -> Array:
        """x*, by LAPACK."""
        return np.linalg.lstsq(self.A, self.b, rcond=None)[0]

    @cached_property
    def eigenvalues(self) -> Array:
        """Of the Hessian AᵀA/N, ascending: μ first, L last."""
        return np.linalg.eigvalsh(self.A.T @ self.A / len(self.A))

    @property
    def steepest(self) -> float:
        """The largest L of a single row, max ‖a_i‖²."""
        return float(np.max(np.sum(self.A**2, axis=1)))

    def row_gradient(self, x: Tensor, rows: Tensor) -> Tensor:
        """∇f_i(x) of one row i a lane: `x` [K, d], `rows` [K]."""
        a, b = tf.gather(tf.constant(self.A), rows), tf.gather(tf.constant(self.b), rows)
        return a * (tf.reduce_sum(a * x, axis=1) - b)[:, None]

    def distance(self, x: Array) -> Array:
        """‖x - x*‖² of each lane."""
        return np.sum((x - self.solution) ** 2, axis=-1)

    def gap(self, x: Array) -> Array:
        """f(x) - f* of each lane."""
        return 0.5 * np.sum((x - self.solution) @ (self.A.T @ self.A / len(self.A)) * (x - self.solution), axis=-1)

    def square_gradient(self, x: Array) -> Array:
        """E_i ‖∇f_i(x)‖² of each lane: the M² of the theorem, at this point."""
        return np.mean((x @ self.A.T - self.b) ** 2 * np.sum(self.A**2, axis=1), axis=-1)


def noisy_rows() -> LeastSquares:
    """200 rows of 5 Gaussian features and noise of standard deviation 1."""
    rng = np.random.default_rng(1)
    A = rng.normal(size=(200, 5))
    return LeastSquares(A, A @ np.ones(5) + rng.normal(size=200))


@dataclass(frozen=True)
class Logistic:
    """f(x) = mean log(1 + exp(-m_i·x)) + ½ λ ‖x‖² over margins `m` [N, d] (a row times its label, -1 or 1)."""

    margins: Array
    ridge: float

    @cached_property
    def smoothness(self) -> float:
        """L = λ_max(mᵀm)/(4N) + λ."""
        return float(np.linalg.eigvalsh(self.margins.T @ self.margins).max() / (4 * len(self.margins)) + self.ridge)

    @property
    def steepest(self) -> float:
        """The largest L of a single row."""
        return float(np.max(np.sum(self.margins**2, axis=1)) / 4 + self.ridge)

    def value(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """f(x), or the mean over some `rows` [B]."""
        margins = tf.constant(self.margins) if rows is None else tf.gather(tf.constant(self.margins), rows)
        return tf.reduce_mean(tf.nn.softplus(-tf.linalg.matvec(margins, x))) + 0.5 * self.ridge * tf.reduce_sum(x * x)

    def gradient(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """∇f(x), or the mean over some `rows` [B]."""
        margins = tf.constant(self.margins) if rows is None else tf.gather(tf.constant(self.margins), rows)
        pull = -tf.nn.sigmoid(-tf.linalg.matvec(margins, x))
        return tf.linalg.matvec(margins, pull, transpose_a=True) / tf.cast(tf.shape(pull)[0], tf.float64) + self.ridge * x

    def rows_at(self, x: Tensor, rows: Tensor) -> LinearBatch:
        """The losses of some `rows` [B] as functions of the outputs m_i·x, and the gradient of the penalty."""
        margins = tf.gather(tf.constant(self.margins), rows)
        slopes = -tf.nn.sigmoid(-tf.linalg.matvec(margins, x))[:, None]
        present = tf.ones(tf.shape(rows), tf.float64)
        return LinearBatch(
            rows, present, slopes, lambda v: [tf.linalg.matvec(margins, v[:, 0], transpose_a=True)], [self.ridge * x]
        )

    @cached_property
    def least(self) -> float:
        """f*, by Newton's method until ‖∇f‖ < 1e-13."""
        x = np.zeros(self.margins.shape[1])
        for _ in range(100):
            p = 1 / (1 + np.exp(self.margins @ x))
            gradient = -self.margins.T @ p / len(p) + self.ridge * x
            if np.linalg.norm(gradient) < 1e-13:
                break
            hessian = (self.margins * (p * (1 - p))[:, None]).T @ self.margins / len(p) + self.ridge * np.eye(len(x))
            x = x - np.linalg.solve(hessian, gradient)
        return float(np.mean(np.logaddexp(0, -self.margins @ x)) + 0.5 * self.ridge * x @ x)


def separable() -> Logistic:
    """Iris setosa against the rest, without a regulariser: f* = 0 is not attained."""
    data = load_iris()
    x = np.column_stack([(data.data - data.data.mean(0)) / data.data.std(0), np.ones(len(data.data))])
    return Logistic(x * np.where(data.target == 0, 1.0, -1.0)[:, None], 0.0)


def tumours(ridge: float) -> Logistic:
    """Breast cancer (569 rows), each row scaled to length 1."""
    data = load_breast_cancer()
    x = (data.data - data.data.mean(0)) / data.data.std(0)
    x = np.column_stack([x, np.ones(len(x))])
    return Logistic(x / np.linalg.norm(x, axis=1, keepdims=True) * np.where(data.target == 1, 1.0, -1.0)[:, None], ridge)


@dataclass(frozen=True)
class Hinge:
    """f(x) = mean max(0, 1 - m_i·x) over margins `m` [N, d]: the support vector machine without a regulariser."""

    margins: Array

    @cached_property
    def optimum(self) -> tuple[Array, float]:
        """(x*, f*) by linear programming: min mean s, s ≥ 1 - m·x, s ≥ 0."""
        N, d = self.margins.shape
        cost = np.concatenate([np.zeros(d), np.full(N, 1 / N)])
        bounds = [(None, None)] * d + [(0, None)] * N
        found = scipy.optimize.linprog(
            cost, A_ub=np.hstack([-self.margins, -np.eye(N)]), b_ub=-np.ones(N), bounds=bounds, method="highs"
        )
        return found.x[:d], float(found.fun)

    def value(self, x: Array) -> Array:
        """f(x) of each lane."""
        return np.mean(np.maximum(0.0, 1 - x @ self.margins.T), axis=-1)

    def row_gradient(self, x: Tensor, rows: Tensor) -> Tensor:
        """A subgradient of one row a lane: `x` [K, d], `rows` [K]."""
        m = tf.gather(tf.constant(self.margins), rows)
        return -m * tf.cast(tf.reduce_sum(m * x, axis=1) < 1, tf.float64)[:, None]


def support_vectors() -> Hinge:
    """Breast cancer with its first five features, standardised."""
    data = load_breast_cancer()
    x = (data.data[:, :5] - data.data[:, :5].mean(0)) / data.data[:, :5].std(0)
    return Hinge(np.column_stack([x, np.ones(len(x))]) * np.where(data.target == 1, 1.0, -1.0)[:, None])
