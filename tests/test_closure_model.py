"""`ClosureModel`: Keras' own `fit` with the methods that need more than gradients.

Run as a program (`python -m tests.test_closure_model`), this file trains on two replicas (`MirroredStrategy` on two virtual CPUs,
which only a fresh process can have) and prints what is said to that.
"""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from optimizers import load
from optimizers.closure_model import ClosureModel

ROOT = Path(__file__).parents[1]
JIT = pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
NAMES = ["gradient_descent", "armijo", "sam:adam", "svrg:momentum"]
ROWS = pytest.mark.parametrize("name", NAMES)
FULL = pytest.mark.parametrize("name", NAMES[:2])

N, D = 40, 3
RNG = np.random.default_rng(4)
X = RNG.normal(size=(N, D)).astype("float32")
Y = (X @ RNG.normal(size=(D, 1)) + 0.3 * RNG.normal(size=(N, 1))).astype("float32")
WEIGHT = RNG.uniform(0.1, 2.0, size=N).astype("float32")


def compiled(name, model, *, jit=False, **options):
    wrapped = ClosureModel(model)
    wrapped.compile(load(name)(**options), "mse", metrics=["mae"], jit_compile=jit)
    return wrapped


def linear(**options):
    return keras.Sequential([keras.Input((D,)), keras.layers.Dense(1, use_bias=False, **options)])


def network(seed=1, rate=0.3):
    """With all that a step must keep together: penalties of weights and of activities, statistics, masks."""
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(6, "tanh", kernel_regularizer=keras.regularizers.L2(0.01), activity_regularizer="l1")
    rest = [keras.layers.BatchNormalization(momentum=0.5), keras.layers.Dropout(rate), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((D,)), hidden, *rest])


def values(variables):
    return [variable.numpy() for variable in variables]


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


# What it computes


@FULL
@pytest.mark.parametrize(("weight", "jit"), [(None, False), (WEIGHT, True)], ids=["plain-graph", "weighted-xla"])
def test_ridge_regression_ends_at_its_closed_form(name, weight, jit):
    """mean(w (Xk - y)²) + λ‖k‖² is least where (XᵀWX/N + λI) k = XᵀWy/N."""
    model = compiled(name, linear(kernel_regularizer=keras.regularizers.L2(0.1)), jit=jit)
    losses = model.fit(X, Y, epochs=60, sample_weight=weight, verbose=0).history["loss"]
    W = np.diag(np.ones(N) if weight is None else weight)
    best = np.linalg.solve(X.T @ W @ X / N + 0.1 * np.eye(D), X.T @ W @ Y / N)
    least = np.mean(np.diag(W)[:, None] * (X @ best - Y) ** 2) + 0.1 * np.sum(best**2)
    np.testing.assert_allclose(model.get_weights()[0], best, rtol=2e-3, atol=1e-4)
    assert losses[-1] == pytest.approx(least, rel=1e-5)
    assert losses == sorted(losses, reverse=True) or np.max(np.diff(losses)) < 1e-6


@ROWS
def test_loss_metrics_and_state_are_those_of_a_plain_step(name):
    """The first step of the method and of SGD begin with the same pass; a second pass may leave no trace."""
    plain, ours = network(), compiled(name, network())
    plain.compile(keras.optimizers.SGD(0.0), "mse", metrics=["mae"])
    batch = {"sample_weight": WEIGHT, "batch_size": N, "epochs": 1, "shuffle": False, "verbose": 0}
    theirs, mine = plain.fit(X, Y, **batch).history, ours.fit(X, Y, **batch).history
    assert {key: mine[key] == pytest.approx(theirs[key], rel=1e-5) for key in theirs} == {"loss": True, "mae": True}
    for its, own in zip(plain.non_trainable_variables, ours.model.non_trainable_variables, strict=True):
        np.testing.assert_allclose(own.numpy(), its.numpy(), rtol=1e-6)


@ROWS
def test_the_loss_of_a_network_falls(name):
    history = compiled(name, network(), jit=True).fit(X, Y, epochs=25, validation_data=(X, Y), verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert set(history) == {"loss", "mae", "val_loss", "val_mae"}


@JIT
def test_svrg_takes_its_snapshot_at_the_start_of_every_epoch(jit):
    start = linear().get_weights()[0]
    rate, k = 0.05, start.astype(float)
    for _ in range(3):
        snapshot, mean = k, gradient(k, slice(None))
        for first in range(0, N, 12):
            rows = slice(first, first + 12)
            k = k - rate * (gradient(k, rows) - gradient(snapshot, rows) + mean)
    model = compiled("svrg:sgd", linear(), jit=jit, learning_rate=rate)
    model.set_weights([start])
    dataset = tf.data.Dataset.from_tensor_slices((X, Y, WEIGHT)).batch(12)
    model.fit(dataset, epochs=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], k, rtol=1e-4, atol=1e-6)
    again = compiled("svrg:sgd", linear(), jit=jit, learning_rate=rate)
    again.set_weights([start])
    again.fit(X, Y, 12, sample_weight=WEIGHT, shuffle=False, epochs=3, verbose=0)
    np.testing.assert_allclose(again.get_weights()[0], k, rtol=1e-4, atol=1e-6)


def gradient(k, rows):
    return 2 * X[rows].T @ (WEIGHT[rows, None] * (X[rows] @ k - Y[rows])) / len(X[rows])


def test_a_snapshot_may_be_taken_by_hand():
    model = compiled("svrg:sgd", linear(), learning_rate=0.1)
    start = model.get_weights()[0]
    model.take_snapshot([(X[:30], Y[:30], WEIGHT[:30]), (X[30:], Y[30:], WEIGHT[30:])])
    model.train_on_batch(X[:7], Y[:7], WEIGHT[:7])
    np.testing.assert_allclose(model.get_weights()[0], start - 0.1 * gradient(start, slice(None)), rtol=1e-4, atol=1e-6)


class Unbuilt(keras.Model):
    """Is built by its first batch, and has more than one input and output."""

    def __init__(self):
        super().__init__()
        self.left, self.right = keras.layers.Dense(1, name="left"), keras.layers.Dense(1, name="right")

    def call(self, inputs):
        return {"left": self.left(inputs["a"]), "right": self.right(inputs["b"])}


@ROWS
def test_a_subclassed_model_of_several_inputs_and_outputs(name):
    model = ClosureModel(Unbuilt())
    model.compile(load(name)(0.1), {"left": "mse", "right": "mae"}, run_eagerly=name == "armijo")
    losses = model.fit({"a": X, "b": X}, {"left": Y, "right": Y}, batch_size=N, epochs=4, verbose=0).history
    assert losses["loss"][-1] < losses["loss"][0]
    assert losses["loss"][0] == pytest.approx(losses["left_loss"][0] + losses["right_loss"][0], rel=1e-5)


# Saving


@ROWS
def test_a_saved_model_goes_on_bit_for_bit(name, tmp_path):
    model = compiled(name, network(rate=0.0))  # Keras' files do not hold the place in a dropout's sequence of masks
    model.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert (type(loaded), type(loaded.optimizer)) == (ClosureModel, load(name))
    assert_same(values(loaded.optimizer.variables), values(model.optimizer.variables))
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    for each in (model, loaded):
        each.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    assert_same(values(loaded.variables), values(model.variables))
    assert_same(values(loaded.optimizer.variables), values(model.optimizer.variables))


# What it refuses


@FULL
def test_a_part_of_the_rows_is_refused_where_all_are_needed(name):
    model = compiled(name, linear())
    with pytest.raises(ValueError, match="batch_size must be 40 or None, not 39"):
        model.fit(X, Y, batch_size=39, verbose=0)
    rows = tf.data.Dataset.from_tensor_slices((X, Y))
    with pytest.raises(ValueError, match="the dataset must be one batch, not 2"):
        model.fit(rows.batch(20), verbose=0)
    model.fit(rows.batch(40), shuffle=False, verbose=0)
    model.fit(X, Y, 40, verbose=0)
    assert int(model.optimizer.steps) == 2


@pytest.mark.parametrize(
    ("data", "options", "says"),
    [
        (lambda: (X, Y), {"class_weight": {0: 1.0}}, "use sample_weight or validation_data, not class_weight"),
        (lambda: (X, Y), {"validation_split": 0.5}, "use sample_weight or validation_data, not validation_split"),
        (lambda: (X, Y), {"steps_per_epoch": 2}, "use sample_weight or validation_data, not steps_per_epoch"),
        (lambda: (iter([(X, Y)]),), {}, "x must be arrays or a tf.data.Dataset, not list_iterator"),
        (lambda: (tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).repeat(),), {}, "the dataset must end"),
    ],
)
def test_rows_that_a_snapshot_would_miss_are_refused(data, options, says):
    with pytest.raises(ValueError, match=says):
        compiled("svrg:sgd", linear()).fit(*data(), verbose=0, **options)


def test_other_optimizers_are_refused():
    model = ClosureModel(linear())
    for optimizer, says in (
        (load("adam")(name="ours"), "ours needs gradients only"),
        (keras.optimizers.SGD(name="plain"), "plain needs gradients only"),
    ):
        model.compile(optimizer, "mse")
        for train in (model.fit, model.train_on_batch):
            with pytest.raises(ValueError, match=says):
                train(X, Y)


def test_a_scaled_loss_is_refused():
    policy = keras.dtype_policies.DTypePolicy("mixed_float16")
    model = ClosureModel(linear(dtype=policy), dtype=policy)
    model.compile(load("armijo")(), "mse")
    with pytest.raises(ValueError, match="use mixed_bfloat16, or compile with auto_scale_loss=False"):
        model.fit(X, Y, verbose=0)


@FULL
def test_mixed_bfloat16_trains(name):
    policy = keras.dtype_policies.DTypePolicy("mixed_bfloat16")
    model = ClosureModel(linear(dtype=policy), dtype=policy)
    model.compile(load(name)(), "mse")
    losses = model.fit(X, Y, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


def test_two_replicas_are_refused():
    program = [sys.executable, "-m", "tests.test_closure_model"]
    told = subprocess.run(program, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()
    assert told[-1] == "armijo trains on one replica, not 2: each would see another loss"


def main():
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = compiled("armijo", linear())
    try:
        model.fit(X, Y, verbose=0)
    except ValueError as error:
        sys.stdout.write(f"{error}\n")


if __name__ == "__main__":
    main()
