"""The methods that ask a batch more than once: what all of them keep, and each against its formula.

Oracles are NumPy in float64 and closed forms. Letters: X [N, D] inputs, y [N] targets, w [D] weights, f the mean over rows of
half the squared error, whose Hessian XᵀX/N has the largest eigenvalue L.
"""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from optimizers import OPTIMIZERS, find, load
from optimizers.closure import Closure, values_of
from optimizers.gradient_descent import spectral_norm

pytestmark = pytest.mark.usefixtures("double_precision")
PLAIN = [name for name, row in OPTIMIZERS.items() if row.requires == {"gradient"}]
OWN = [name for name, row in OPTIMIZERS.items() if "closure" in row.requires]
WRAPPED = pytest.mark.parametrize("method", PLAIN)
NAMES = [*OWN, "sam:adam", "sam:lamb", "svrg:sgd", "svrg:adamw"]
ROWS = pytest.mark.parametrize("name", NAMES)
JIT = pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])

N, D, BATCH = 24, 5, 6
RNG = np.random.default_rng(11)
X = RNG.normal(size=(N, D)) * [1.0, 2.0, 0.5, 1.0, 0.7]
Y = X @ RNG.normal(size=D) + RNG.normal(size=N)
START = RNG.normal(size=D)
L = np.linalg.eigvalsh(X.T @ X / N)[-1]


def f(w, rows=slice(None)):
    return np.mean((X[rows] @ w - Y[rows]) ** 2) / 2


def gradient(w, rows=slice(None)):
    return X[rows].T @ (X[rows] @ w - Y[rows]) / len(Y[rows])


class Line:
    """The least-squares problem in two variables, the weights of the first two and those of the other columns."""

    def __init__(self, start=START):
        self.variables = [keras.Variable(part, dtype="float64") for part in (start[:2], start[2:])]
        self.evaluations = 0

    @property
    def w(self):
        return np.concatenate([variable.numpy() for variable in self.variables])

    def closure(self, rows=slice(None)):
        def evaluate():
            self.evaluations += 1
            w = keras.ops.concatenate([keras.ops.convert_to_tensor(variable) for variable in self.variables])
            return tf.reduce_mean(tf.square(tf.linalg.matvec(tf.constant(X[rows]), w) - Y[rows])) / 2, None

        return Closure(evaluate, self.variables)

    def built(self, name, **options):
        optimizer = load(name)(**options)
        optimizer.build(self.variables)
        if "snapshot" in optimizer.row.requires:
            self.snapshot(optimizer)
        return optimizer

    def snapshot(self, optimizer):
        optimizer.take_snapshot(self.variables, self.closure().gradient(values_of(self.variables)).grads)

    def step(self, optimizer, rows=slice(None)):
        return optimizer.descend(self.closure(rows), self.variables)


def batches(epochs, seed=5):
    """The rows of every batch, epoch after epoch."""
    rng = np.random.default_rng(seed)
    return [np.split(rng.permutation(N), N // BATCH) for _ in range(epochs)]


def split(w):
    return [tf.constant(w[:2]), tf.constant(w[2:])]


def trained(name, *, wrap=lambda step: step, steps=6, **options):
    line = Line()
    optimizer = line.built(name, **options)
    step = wrap(lambda: line.step(optimizer).loss)
    return [float(step()) for _ in range(steps)], line.w


# What all of them keep


@ROWS
def test_gradients_alone_are_refused(name):
    optimizer, x = load(name)(), keras.Variable([1.0])
    for step in (lambda: optimizer.apply([tf.ones(1)], [x]), lambda: optimizer.apply_gradients([(tf.ones(1), x)])):
        with pytest.raises(ValueError, match=f"{name} needs more than a gradient.*ClosureModel"):
            step()
    model = keras.Sequential([keras.Input((D,)), keras.layers.Dense(1)])
    model.compile(load(name)(), "mse")
    with pytest.raises(ValueError, match=f"{name} needs more than a gradient.*ClosureModel"):
        model.fit(X, Y, verbose=0)


@ROWS
def test_what_has_no_meaning_for_them_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} has no lanes: it asks for the loss of one network; got lanes=2"):
        load(name)(lanes=2)
    for option in ({"loss_scale_factor": 2.0}, {"gradient_accumulation_steps": 2}):
        with pytest.raises(ValueError, match=f"{name} has no {next(iter(option))}"):
            load(name)(**option)


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("common", ["weight_decay", "clipnorm", "clipvalue", "global_clipnorm"])
def test_a_step_that_is_computed_from_the_loss_is_not_decayed_or_clipped(name, common):
    with pytest.raises(ValueError, match=f"has no option {common}; there are learning_rate"):
        load(name)(**{common: 0.1})


@ROWS
def test_eager_graph_and_jit_agree(name):
    losses, w = trained(name)
    assert losses[-1] < losses[0]
    for wrap in (tf.function, lambda step: tf.function(step, jit_compile=True)):
        its_losses, its_w = trained(name, wrap=wrap)
        np.testing.assert_allclose(its_losses, losses, rtol=1e-9)
        np.testing.assert_allclose(its_w, w, rtol=1e-9)


@ROWS
def test_the_config_makes_the_same_optimizer(name):
    low = {hyper: scope.low for hyper, scope in find(name).hyper.items()}
    optimizer = load(name)(learning_rate=0.3, name="mine", **low)
    again = keras.optimizers.deserialize(json.loads(json.dumps(keras.optimizers.serialize(optimizer))))
    assert type(again) is load(name)
    assert again.get_config() == optimizer.get_config() == {**optimizer.get_config(), "learning_rate": 0.3, **low}
    assert type(keras.optimizers.get(f"tuner>{load(name).__name__}")) is load(name)


def again(line, optimizer, step):
    """As `trained`, reusing everything."""
    optimizer.reset()
    for variable, value in zip(line.variables, split(START), strict=True):
        variable.assign(value)
    if "snapshot" in optimizer.row.requires:
        line.snapshot(optimizer)
    for rows in [*batches(1)[0], slice(None)]:
        step(tf.constant(np.arange(N)[rows]))
    return line.w


@ROWS
def test_hyper_parameters_are_set_and_the_past_forgotten_without_a_new_trace(name):
    given = {"smoothness": 2 * L} if name == "gradient_descent" else {}
    line, traces = Line(), []
    optimizer = line.built(name, **given)
    built = [variable.numpy() for variable in optimizer.variables]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
    def step(rows):
        traces.append(1)

        def evaluate():
            w = keras.ops.concatenate([keras.ops.convert_to_tensor(variable) for variable in line.variables])
            return tf.reduce_mean(tf.square(tf.linalg.matvec(tf.gather(X, rows), w) - tf.gather(Y, rows))) / 2, None

        return optimizer.descend(Closure(evaluate, line.variables), line.variables).loss

    first = again(line, optimizer, step)
    assert int(optimizer.steps) == 5
    np.testing.assert_array_equal(again(line, optimizer, step), first)
    for hyper, other in {"learning_rate": 0.7, **dict.fromkeys(find(name).hyper, 0.7), "decrease": 0.99}.items():
        if hyper in {"learning_rate", *find(name).hyper}:
            before = float(optimizer.hyper(hyper))
            optimizer.set_hyper(hyper, other)
            assert not np.array_equal(again(line, optimizer, step), first), hyper
            optimizer.set_hyper(hyper, before)
    np.testing.assert_array_equal(again(line, optimizer, step), first)
    assert len(traces) == 1
    optimizer.reset()
    for variable, value in zip(optimizer.variables, built, strict=True):
        if "snapshot" not in variable.path and "full_gradient" not in variable.path:
            np.testing.assert_array_equal(variable.numpy(), value)


@ROWS
def test_one_evaluation_of_the_state_is_kept_whatever_the_number_of_evaluations(name):
    """Dropout and batch normalisation: every evaluation sees the same masks, and the statistics move once a step."""
    keras.utils.set_random_seed(3)
    norm, dropout = keras.layers.BatchNormalization(momentum=0.5), keras.layers.Dropout(0.4)
    model = keras.Sequential([keras.Input((D,)), keras.layers.Dense(4, "tanh"), norm, dropout, keras.layers.Dense(1)])
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    for variable, its in zip(twin.non_trainable_variables, model.non_trainable_variables, strict=True):
        variable.assign(its)
    twin(X, training=True)

    def evaluate():
        return tf.reduce_mean(tf.square(model(X, training=True)[:, 0] - Y)), None

    closure = Closure(evaluate, model.trainable_variables, model.non_trainable_variables)
    here = values_of(model.trainable_variables)
    assert len({float(closure.loss(here)) for _ in range(3)} | {float(closure.gradient(here).loss)}) == 1
    optimizer = load(name)()
    optimizer.build(model.trainable_variables)
    if "snapshot" in find(name).requires:
        optimizer.take_snapshot(model.trainable_variables, closure.gradient(here).grads)
    passed = optimizer.descend(closure, model.trainable_variables)
    closure.keep(passed)
    for mine, its in zip(model.non_trainable_variables, twin.non_trainable_variables, strict=True):
        np.testing.assert_allclose(mine.numpy(), its.numpy(), rtol=1e-12)
    assert float(closure.loss(here)) != float(passed.loss)


# Gradient descent


def test_the_closure_multiplies_by_the_hessian():
    line = Line()
    image = line.closure().hessian_times(values_of(line.variables), split(np.ones(D)))
    np.testing.assert_allclose(np.concatenate(image), X.T @ X @ np.ones(D) / N, rtol=1e-12)


@JIT
def test_gradient_descent_finds_the_largest_eigenvalue(jit):
    line = Line()
    found = tf.function(lambda: spectral_norm(line.closure(), values_of(line.variables), "float64"), jit_compile=jit)()
    assert L * (1 - 1e-3) <= float(found) <= L * (1 + 1e-12)


def test_the_largest_eigenvalue_may_be_negative():
    x = keras.Variable([0.3, 0.4, 0.5], dtype="float64")
    closure = Closure(lambda: (tf.reduce_sum([1.0, -3.0, 2.0] * keras.ops.square(x)) / 2, None), [x])
    assert float(spectral_norm(closure, [x.value], "float64")) == pytest.approx(3.0, rel=1e-3)


def test_gradient_descent_equals_its_formula_and_the_bound_of_the_theorem():
    mu, best = np.linalg.eigvalsh(X.T @ X / N)[0], f(np.linalg.lstsq(X, Y, rcond=None)[0])
    line, w = Line(), START
    optimizer = line.built("gradient_descent", smoothness=L)
    for k in range(40):
        assert f(w) - best <= (1 - mu / L) ** k * (f(START) - best) * (1 + 1e-12)
        assert float(line.step(optimizer).loss) == pytest.approx(f(w), rel=1e-12)
        w = w - gradient(w) / L
        np.testing.assert_allclose(line.w, w, rtol=1e-10)


def test_gradient_descent_estimates_once_and_anew_after_reset():
    line, w = Line(), START
    optimizer = line.built("gradient_descent", learning_rate=1.5)
    line.step(optimizer)
    estimate = float(optimizer._carried["curvature"])
    assert estimate == pytest.approx(L, rel=1e-3)
    asked = line.evaluations
    for _ in range(3):
        line.step(optimizer)
    assert line.evaluations == asked + 3
    for _ in range(4):
        w = w - 1.5 / estimate * gradient(w)
    np.testing.assert_allclose(line.w, w, rtol=1e-10)
    optimizer.reset()
    assert float(optimizer._carried["curvature"]) == 0
    line.step(optimizer)
    assert float(optimizer._carried["curvature"]) == estimate


def test_beyond_two_over_l_gradient_descent_climbs():
    (below, _), (beyond, _) = (trained("gradient_descent", learning_rate=rate, smoothness=L, steps=60) for rate in (1.99, 2.05))
    assert np.all(np.diff(below) <= 0)
    assert beyond[-1] > beyond[-2] > beyond[30]


# Armijo


def armijo_by_hand(steps, *, longest, backtrack, decrease):
    """The accepted steps, the weights after each, and how often f was asked."""
    w, last, asked, path = START, 0.0, 0, []
    for _ in range(steps):
        g, asked = gradient(w), asked + 2
        alpha = min(longest, last / backtrack) if last else longest
        while f(w - alpha * g) > f(w) - decrease * alpha * g @ g:
            alpha, asked = alpha * backtrack, asked + 1
        w, last = w - alpha * g, alpha
        path.append((alpha, w))
    return path, asked


@pytest.mark.parametrize(
    ("longest", "backtrack", "decrease"), [(1.0, 0.5, 1e-4), (100.0, 0.3, 0.1), (1e-3, 0.5, 1e-4), (50.0, 0.9, 0.5)]
)
def test_armijo_equals_its_formula_and_its_theorem(longest, backtrack, decrease):
    line = Line()
    optimizer = line.built("armijo", learning_rate=longest, backtrack=backtrack, decrease=decrease)
    path, asked = armijo_by_hand(12, longest=longest, backtrack=backtrack, decrease=decrease)
    before = START
    for alpha, w in path:
        line.step(optimizer)
        found, g = float(optimizer._carried["step"]), gradient(before)
        assert found == pytest.approx(alpha, rel=1e-12)
        assert f(line.w) <= f(before) - decrease * found * g @ g + 1e-14
        assert found >= min(longest, 2 * backtrack * (1 - decrease) / L) * (1 - 1e-12)
        np.testing.assert_allclose(line.w, w, rtol=1e-10)
        before = line.w
    assert optimizer.evaluations == line.evaluations == asked


def test_armijo_stays_where_no_step_is_accepted_and_searches_again():
    """The first function is a number at 1 only."""
    x = keras.Variable([1.0], dtype="float64")

    def evaluate():
        inside = tf.where(tf.equal(x.value, 1.0), 0.0, float("nan"))
        return tf.reduce_sum(x.value + tf.stop_gradient(tf.cast(inside, x.dtype))), None

    optimizer = load("armijo")()
    optimizer.build([x])
    optimizer.descend(Closure(evaluate, [x]), [x])
    assert (x.numpy(), float(optimizer._carried["step"]), optimizer.evaluations) == ([1.0], 0.0, 52)
    optimizer.descend(Closure(lambda: (tf.reduce_sum(keras.ops.square(x)), None), [x]), [x])
    assert (x.numpy(), float(optimizer._carried["step"])) == ([0.0], 0.5)


# SAM


@WRAPPED
def test_sam_is_the_method_with_the_gradient_further_up(method):
    line, w = Line(), [keras.Variable(part) for part in split(START)]
    optimizer, inside = line.built(f"sam:{method}", radius=0.3), load(method)()
    for rows in [*batches(1)[0], *batches(1, seed=6)[0]]:
        here = np.concatenate([variable.numpy() for variable in w])
        g = gradient(here, rows)
        inside.apply(split(gradient(here + 0.3 * g / np.linalg.norm(g), rows)), w)
        assert float(line.step(optimizer, rows).loss) == pytest.approx(f(here, rows), rel=1e-10)
    np.testing.assert_allclose(line.w, np.concatenate([variable.numpy() for variable in w]), rtol=1e-10, atol=1e-12)


def test_sam_stays_where_the_gradient_is_zero():
    x = keras.Variable([0.0, 0.0], dtype="float64")
    optimizer = load("sam:sgd")()
    optimizer.build([x])
    optimizer.descend(Closure(lambda: (tf.reduce_sum(keras.ops.square(x)), None), [x]), [x])
    np.testing.assert_array_equal(x.numpy(), [0.0, 0.0])


# SVRG


@WRAPPED
def test_svrg_is_the_method_with_the_corrected_gradient(method):
    line, w = Line(), [keras.Variable(part) for part in split(START)]
    optimizer, inside = line.built(f"svrg:{method}", coefficient=0.8), load(method)()
    for epoch in batches(3):
        snapshot = np.concatenate([variable.numpy() for variable in w])
        line.snapshot(optimizer)
        for rows in epoch:
            here = np.concatenate([variable.numpy() for variable in w])
            correction = gradient(snapshot, rows) - gradient(snapshot)
            inside.apply(split(gradient(here, rows) - 0.8 * correction), w)
            assert float(line.step(optimizer, rows).loss) == pytest.approx(f(here, rows), rel=1e-10)
    np.testing.assert_allclose(line.w, np.concatenate([variable.numpy() for variable in w]), rtol=1e-10, atol=1e-12)


def test_the_first_step_of_svrg_is_one_of_gradient_descent():
    for rows in batches(1)[0]:
        line = Line()
        line.step(line.built("svrg:sgd", learning_rate=0.1), rows)
        np.testing.assert_allclose(line.w, START - 0.1 * gradient(START), rtol=1e-12)


def test_svrg_converges_where_sgd_has_a_floor():
    best = f(np.linalg.lstsq(X, Y, rcond=None)[0])
    reduced, plain = Line(), Line()
    optimizer, sgd = reduced.built("svrg:sgd", learning_rate=0.2 / L), load("sgd")(0.2 / L)
    for epoch in batches(400):
        reduced.snapshot(optimizer)
        for rows in epoch:
            reduced.step(optimizer, rows)
            sgd.apply(split(gradient(plain.w, rows)), plain.variables)
    assert f(reduced.w) - best < 1e-3 * (f(plain.w) - best)


def test_without_a_snapshot_svrg_says_so():
    line = Line()
    optimizer = load("svrg:sgd")()
    optimizer.build(line.variables)
    line.step(optimizer)
    assert np.all(np.isnan(line.w))
