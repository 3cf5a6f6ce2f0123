"""SAG and SAGA: each against the paper in NumPy, and what a memory of rows must keep.

Letters: X [N, D] inputs, T [N, C] one-hot classes, W [D, C] and b [C] weights; f the mean cross entropy of XW + b and λ/2 ‖W‖²,
which is the network's own penalty and never in the memory.
"""

import keras
import keras.ops as ops
import numpy as np
import pytest
import tensorflow as tf

from optimizers import load
from optimizers.closure_model import ClosureModel
from optimizers.row_memory import LinearBatch

pytestmark = pytest.mark.usefixtures("double_precision")
NAMES = ("sag", "saga")
ROWS = pytest.mark.parametrize("name", NAMES)
N, D, C, BATCH, RATE, RIDGE = 26, 5, 3, 4, 0.2, 0.03
RNG = np.random.default_rng(4)
X, T = RNG.normal(size=(N, D)), np.eye(C)[RNG.integers(C, size=N)]
START = [RNG.normal(size=(D, C)), RNG.normal(size=C)]


def batches(epochs, seed=2):
    """The rows of each batch; the last of an epoch is filled up with rows from its beginning, which do not count."""
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(N)
        for begin in range(0, N, BATCH):
            rows = order[begin : begin + BATCH]
            yield np.concatenate([rows, order[: BATCH - len(rows)]]), np.arange(BATCH) < len(rows)


def slopes_at(W, b, rows):
    """∂(cross entropy)/∂outputs of some rows, [B, C]."""
    u = X[rows] @ W + b
    p = np.exp(u - u.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True) - T[rows]


def gradients_at(W, b, rows):
    """∇f_i of each of some rows, without the penalty: [B, D, C] and [B, C]."""
    s = slopes_at(W, b, rows)
    return [X[rows][:, :, None] * s[:, None, :], s]


def penalty_at(W, b):
    return [RIDGE * W, np.zeros_like(b)]


def sag_by_schmidt(epochs):
    """d ← d + Σ (∇f_i - y_i); y_i ← ∇f_i; x ← x - α (d/m + ∇r), m the rows met so far. Whole gradients are stored."""
    x = [part.copy() for part in START]
    y, d, met = [np.zeros((N, *part.shape)) for part in START], [np.zeros_like(part) for part in START], set()
    for rows, counts in batches(epochs):
        rows = rows[counts]
        met |= set(rows)
        r = penalty_at(*x)
        for part, found in enumerate(gradients_at(*x, rows)):
            d[part] += (found - y[part][rows]).sum(axis=0)
            y[part][rows] = found
            x[part] = x[part] - RATE * (d[part] / len(met) + r[part])
    return x


def saga_by_defazio(epochs):
    """x ← x - γ (mean of ∇f_i(x) - ∇f_i(φ_i) over the batch + mean of all ∇f_j(φ_j) + ∇r); then φ_i = x for the batch."""
    x, table = [part.copy() for part in START], [np.zeros((N, *part.shape)) for part in START]
    for rows, counts in batches(epochs):
        rows, r = rows[counts], penalty_at(*x)
        for part, found in enumerate(gradients_at(*x, rows)):
            g = (found - table[part][rows]).mean(axis=0) + table[part].mean(axis=0) + r[part]
            table[part][rows] = found
            x[part] = x[part] - RATE * g
    return x


class Softmax:
    """The problem in two variables."""

    def __init__(self, name, **options):
        self.variables = [keras.Variable(part, dtype="float64") for part in START]
        self.rule = load(name)(RATE, **options)
        self.rule.build(self.variables)
        self.rule.remember(N, C)

    def step(self, rows, counts):
        W, b = (variable.value for variable in self.variables)
        x = tf.gather(tf.constant(X), rows)
        slopes = tf.nn.softmax(x @ W + b) - tf.gather(tf.constant(T), rows)
        penalty = [RIDGE * tf.identity(W), tf.zeros_like(b)]
        pull = lambda v: [tf.matmul(x, v, transpose_a=True), tf.reduce_sum(v, axis=0)]  # noqa: E731 two formulas
        self.rule.descend(LinearBatch(rows, tf.cast(counts, "float64"), slopes, pull, penalty), self.variables)

    def trained(self, epochs, wrap=lambda step: step):
        step = wrap(self.step)
        for rows, counts in batches(epochs):
            step(tf.constant(rows), tf.constant(counts))
        return self.values

    @property
    def values(self):
        return [variable.numpy() for variable in self.variables]


def assert_equal(left, right, tolerance=1e-10):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


WAYS = {"eager": lambda step: step, "graph": tf.function, "xla": lambda step: tf.function(step, jit_compile=True)}


@pytest.mark.parametrize("wrap", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("name", "paper"), [("sag", sag_by_schmidt), ("saga", saga_by_defazio)])
def test_a_method_equals_its_paper(name, paper, wrap):
    assert_equal(Softmax(name).trained(5, wrap), paper(5))


@ROWS
def test_the_memory_holds_the_last_slope_of_each_row_and_the_total_is_their_sum(name):
    problem, expected = Softmax(name), np.zeros((N, C))
    for rows, counts in batches(2):
        expected[rows[counts]] = slopes_at(*problem.values, rows[counts])
        problem.step(tf.constant(rows), tf.constant(counts))
    np.testing.assert_allclose(problem.rule.slopes, expected, atol=1e-14)
    for total, sums in zip(problem.rule._slots["total"], [X.T @ expected, expected.sum(axis=0)], strict=True):
        np.testing.assert_allclose(total.numpy(), sums, atol=1e-12)


@ROWS
def test_reset_forgets_every_row(name):
    problem = Softmax(name)
    first = problem.trained(2)
    problem.rule.reset()
    for variable, value in zip(problem.variables, START, strict=True):
        variable.assign(value)
    for again, value in zip(problem.trained(2), first, strict=True):
        np.testing.assert_array_equal(again, value)


@ROWS
def test_the_rate_and_the_common_numbers_are_those_of_every_rule(name):
    plain, decayed = Softmax(name), Softmax(name, weight_decay=0.5)
    rows, counts = next(batches(1))
    for problem in (plain, decayed):
        problem.step(tf.constant(rows), tf.constant(counts))
    assert_equal([w - RATE * 0.5 * start for w, start in zip(plain.values, START, strict=True)], decayed.values)


@ROWS
def test_both_end_where_the_gradient_is_zero(name):
    problem = Softmax(name)
    W, b = problem.trained(400, tf.function)
    _, pull_b = (part.mean(axis=0) for part in gradients_at(W, b, np.arange(N)))
    pull_W = gradients_at(W, b, np.arange(N))[0].mean(axis=0) + RIDGE * W
    assert max(np.abs(pull_W).max(), np.abs(pull_b).max()) < 1e-9


@ROWS
def test_what_does_not_name_its_rows_is_refused(name):
    rule, x = load(name)(), keras.Variable([1.0])
    with pytest.raises(ValueError, match=f"{name} needs more than a gradient: .* rows"):
        rule.apply([tf.ones(1)], [x])
    model = ClosureModel(keras.Sequential([keras.Input((D,)), keras.layers.Dense(1)]))
    model.compile(load(name)(), "mse")
    with pytest.raises(ValueError, match=f"{name} .* rows"):
        model.fit(X, X[:, 0], verbose=0)
    with pytest.raises(ValueError, match=f"{name} has no lanes"):
        load(name)(lanes=2)


@ROWS
def test_a_step_before_the_memory_is_refused(name):
    rule, x = load(name)(), keras.Variable(ops.ones((D, C)))
    rule.build([x])
    batch = LinearBatch(tf.constant([0]), tf.ones(1), tf.ones((1, C)), lambda v: [v], [x.value])
    with pytest.raises(ValueError, match=f"{name}: remember"):
        rule.descend(batch, [x])
