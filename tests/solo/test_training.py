"""The engine for one trial: what it reports and what it computes."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import NETWORKS, load
from models.layers import initialise
from tests.solo.studies import CLOSURES, PARAMS, blobs, epochs_of, interrupted, own, study, toy, train, weights_after
from tuner import data as sources
from tuner.data import order
from tuner.solo import Solo
from tuner.trial import Trial

# What it reports ---------------------------------------------------------------------------------------------------------------


def test_learns_digits_and_reports_every_epoch(digits):
    spec = study(train={"epochs": 5, "metrics": ["top_k"]}, objective={"metric": "val_auc"})
    solo = Solo(spec, digits)
    solo.add(Trial(7, {**PARAMS, "width": 64}, seed=3))
    epochs = list(epochs_of(solo))
    assert [(e.number, e.epoch) for e in epochs] == [(7, n) for n in (1, 2, 3, 4, 5)]
    assert set(epochs[0].metrics) == {"loss", "accuracy", "val_loss", "val_accuracy", "val_top_k", "val_auc"}
    assert epochs[-1].metrics["val_accuracy"] > 0.9
    assert epochs[-1].metrics["loss"] < epochs[0].metrics["loss"]
    assert epochs[0].parameters == 65 * 64 + 65 * 10
    assert all(e.seconds > 0 for e in epochs)


def constant(input_shape, outputs):
    """Zero for every row."""
    return keras.Sequential([keras.Input(input_shape), keras.layers.Dense(outputs, kernel_initializer="zeros")])


def linear(input_shape, outputs):
    return keras.Sequential([keras.Input(input_shape), keras.layers.Dense(outputs)])


def test_regression_reports_in_the_units_of_the_target():
    spec = own(constant, data={"source": "diabetes"}, train={"epochs": 1, "metrics": ["mse"]})
    diabetes = sources.load(spec.data, 0, [])
    [metrics] = train(Solo(spec, diabetes), {"learning_rate": 1e-30})
    y, held_out, mean = diabetes.train.y, diabetes.validation.y, diabetes.train.y.mean(dtype=float)
    expected = {
        "loss": 1.0,
        "mae": np.mean(np.abs(y - mean)),
        "val_loss": np.mean((held_out - mean) ** 2) / np.var(y, dtype=float),
        "val_mae": np.mean(np.abs(held_out - mean)),
        "val_mse": np.mean((held_out - mean) ** 2),
        "val_rmse": np.sqrt(np.mean((held_out - mean) ** 2)),
        "val_r2": 1 - np.mean((held_out - mean) ** 2) / np.var(held_out, dtype=float),
    }
    assert metrics == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_a_large_validation_split_is_predicted_whole_and_weighed():
    (x, y), (held_out, its_y) = blobs(64), blobs(2500, seed=1)
    w = np.random.default_rng(2).uniform(0, 2, 2500).astype(np.float32)
    spec = own(linear, train={"epochs": 1})
    [metrics] = train(Solo(spec, toy((x, y), (held_out, its_y, w), 2)), {"learning_rate": 1e-30}, seed=5)
    keras.utils.set_random_seed(5)
    p = tf.nn.softmax(linear((3,), 2)(held_out)).numpy().astype(float)
    assert metrics["val_accuracy"] == pytest.approx(np.average(p.argmax(axis=1) == its_y, weights=w))
    assert metrics["val_loss"] == pytest.approx(np.average(-np.log(p[np.arange(2500), its_y]), weights=w), rel=1e-5)


def test_a_trial_that_diverges_says_so_and_leaves_no_trace(digits):
    deep = {"depth": 3, "optimizer": "sgd"}
    solo = Solo(study(deep), digits)
    solo.add(Trial(0, {**PARAMS, **deep, "learning_rate": 1e10}, seed=1))
    assert not math.isfinite(solo.advance()[0].metrics["loss"])
    solo.stop(0)
    assert solo.room == 1
    sound = {**PARAMS, **deep}
    assert train(solo, sound) == train(Solo(study(deep), digits), sound)


# What it computes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_equals_a_plain_keras_loop(digits, jit, tmp_path):
    search = {"optimizer": "momentum", "l2": 1e-3, "l1": 1e-4, "batch_size": 100}
    params = {**PARAMS, **search}
    spec = study(search, train={"epochs": 2, "jit": jit})
    solo = Solo(spec, digits)
    ours = train(solo, params, seed=11)

    model = load("mlp")({**NETWORKS["mlp"].defaults(), **params}, (8, 8, 1), 10)
    initialise(model, 11)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss, metrics=["accuracy"])
    x, y = (digits.train.x - digits.offset) * digits.scale, digits.train.y
    for epoch in (1, 2):
        rows = order(len(x), spec.seed, epoch)
        batches = [rows[begin : begin + 100] for begin in range(0, len(x), 100)]
        steps = [model.train_on_batch(x[batch], y[batch]) for batch in batches]
        theirs = np.average(steps, axis=0, weights=[len(batch) for batch in batches])
        assert [ours[epoch - 1]["loss"], ours[epoch - 1]["accuracy"]] == pytest.approx(theirs, rel=1e-5)
    for mine, its in zip(weights_after(solo, tmp_path), model.weights, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("source", ["digits", "diabetes"])
def test_the_lectures_formulas_train_as_the_tape_does(source, jit):
    search = {"activation": "tanh", "optimizer": "momentum"}
    paths = []
    for backprop in ("tape", "explicit"):
        spec = study(search, data=source, train={"epochs": 2, "jit": jit, "backprop": backprop})
        paths.append(train(Solo(spec, sources.load(spec.data, 0, [])), {**PARAMS, **search}))
    for tape, explicit in zip(*paths, strict=True):
        assert explicit == pytest.approx(tape, rel=1e-4)


def doubled(y):
    """A weight of 2 for every third row, and the rows that say the same without weights."""
    w = np.where(np.arange(len(y)) % 3 == 0, 2.0, 1.0)
    return w, np.repeat(np.arange(len(y)), w.astype(int))


def test_a_weight_of_two_equals_a_row_that_is_there_twice():
    (x, y), held_out = blobs(30), blobs(20, seed=1)
    w, rows = doubled(y)
    weighted = toy((x, y, (w / w.mean()).astype(np.float32)), held_out, 2)
    spec = study({"batch_size": [30, 40], "optimizer": "sgd"})
    params = {**PARAMS, "learning_rate": 0.5, "optimizer": "sgd"}
    ours = train(Solo(spec, weighted), {**params, "batch_size": 30})
    theirs = train(Solo(spec, toy((x[rows], y[rows]), held_out, 2)), {**params, "batch_size": 40})
    assert ours == [pytest.approx(metrics, rel=1e-5) for metrics in theirs]
    assert ours != [pytest.approx(m, rel=1e-3) for m in train(Solo(spec, toy((x, y), held_out, 2)), {**params, "batch_size": 30})]


def test_balanced_classes_equal_rare_rows_that_are_there_more_often():
    (x, y), held_out = blobs(40), blobs(20, seed=1)
    rows = np.repeat(np.arange(40), np.where(y == 1, 3, 1))
    params = {**PARAMS, "learning_rate": 0.5, "optimizer": "sgd"}
    search = {"batch_size": [40, 60], "optimizer": "sgd"}
    balanced = study(search, train={"epochs": 3, "class_weight": "balanced"})
    ours = train(Solo(balanced, toy((x, y), held_out, 2)), {**params, "batch_size": 40})
    theirs = train(Solo(study(search), toy((x[rows], y[rows]), held_out, 2)), {**params, "batch_size": 60})
    for mine, its in zip(ours, theirs, strict=True):
        for name in ("loss", "val_loss", "val_accuracy"):
            assert mine[name] == pytest.approx(its[name], rel=1e-5)
    assert {round(metrics["accuracy"] * 40, 3) % 1 for metrics in ours} == {0}  # of rows, not of weights


# Methods that ask a batch more than once: full-batch descent with 1/L or a line search, a second gradient, a snapshot


@pytest.mark.parametrize(("optimizer", "rate"), CLOSURES)
@pytest.mark.parametrize("source", ["digits", "breast_cancer"])
def test_a_method_that_asks_more_than_once_learns(optimizer, rate, source):
    spec = study({"optimizer": optimizer, "dropout": 0.1}, data=source, train={"epochs": 6, "jit": False})
    solo = Solo(spec, sources.load(spec.data, 0, []))
    params = {**PARAMS, "optimizer": optimizer, "learning_rate": rate, "dropout": 0.1}
    first = train(solo, params)
    assert first[-1]["loss"] < first[0]["loss"]
    assert train(solo, params, seed=2) != first
    assert train(solo, {**params, "learning_rate": 0.5 * rate}) != first
    assert train(solo, params) == first
    assert solo.traces == 2


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_svrg_equals_its_formula(jit, tmp_path):
    """Three epochs of softmax regression with uneven batches, in NumPy."""
    (x, y), held_out, rate = blobs(50), blobs(20, seed=1), 0.5
    search = {"depth": 0, "bias": False, "l2": 0.1, "batch_size": 16, "optimizer": "svrg:sgd"}
    spec = study(search, train={"epochs": 3, "jit": jit})
    solo = Solo(spec, toy((x, y), held_out, 2))
    params = {"learning_rate": rate, **search}
    solo.add(Trial(0, params, seed=9))
    W = np.asarray(solo._seat.graph.model.trainable_variables[0], float)

    def gradient(W, rows):
        p = np.exp(x[rows] @ W)
        return x[rows].T @ (p / p.sum(axis=1, keepdims=True) - np.eye(2)[y[rows]]) / len(rows) + 0.2 * W

    for epoch in (1, 2, 3):
        rows, snapshot = order(50, spec.seed, epoch), W
        mean = gradient(snapshot, rows)
        for batch in (rows[begin : begin + 16] for begin in range(0, 50, 16)):
            W = W - rate * (gradient(W, batch) - gradient(snapshot, batch) + mean)
    assert len(list(epochs_of(solo))) == 3
    np.testing.assert_allclose(weights_after(solo, tmp_path)[0], W, rtol=1e-4, atol=1e-5)


# Methods that remember every row


def averaged_by_hand(name, W, x, y, spec, rate):
    """Three epochs of SAG or SAGA on softmax regression with batches of 16, the last of 2, and the penalty 0.1 ‖W‖²."""
    table, met = np.zeros((len(x), *W.shape)), set()
    for epoch in (1, 2, 3):
        rows = order(len(x), spec.seed, epoch)
        for batch in (rows[begin : begin + 16] for begin in range(0, len(x), 16)):
            p = np.exp(x[batch] @ W)
            found = x[batch][:, :, None] * (p / p.sum(axis=1, keepdims=True) - np.eye(2)[y[batch]])[:, None, :]
            mean, change = table.mean(axis=0), found - table[batch]
            table[batch], met = found, met | set(batch)
            g = table.sum(axis=0) / len(met) if name == "sag" else change.mean(axis=0) + mean
            W = W - rate * (g + 0.2 * W)
    return W


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("name", ["sag", "saga"])
def test_a_memory_of_rows_equals_its_formula(name, jit, tmp_path):
    (x, y), held_out, rate = blobs(50), blobs(20, seed=1), 0.2
    search = {"depth": 0, "bias": False, "l2": 0.1, "batch_size": 16, "optimizer": name}
    spec = study(search, train={"epochs": 3, "jit": jit})
    solo = Solo(spec, toy((x, y), held_out, 2))
    solo.add(Trial(0, {"learning_rate": rate, **search}, seed=9))
    W = np.asarray(solo._seat.graph.model.trainable_variables[0], float)
    assert len(list(epochs_of(solo))) == 3
    np.testing.assert_allclose(
        weights_after(solo, tmp_path)[0], averaged_by_hand(name, W, x, y, spec, rate), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", ["sag", "saga"])
@pytest.mark.parametrize("source", ["digits", "diabetes"])
def test_a_memory_of_rows_learns_is_reused_and_resumed(name, source, tmp_path):
    data = {"source": source}
    spec = study({"depth": 0, "optimizer": name, "l2": {"float": [0.0, 0.1]}}, data=data, train={"epochs": 3, "jit": False})
    loaded = sources.load(spec.data, 0, [])
    params = {"depth": 0, "optimizer": name, "learning_rate": 0.01, "batch_size": 8, "l2": 1e-3}
    solo = Solo(spec, loaded)
    first = train(solo, params, seed=6, number=4)
    assert first[-1]["loss"] < first[0]["loss"]
    assert train(solo, {**params, "learning_rate": 0.002}, seed=6) != first
    assert train(solo, params, seed=6) == first
    assert solo.traces == 2
    checkpoint = interrupted(lambda: Solo(spec, loaded), params, tmp_path)
    assert train(Solo(spec, loaded), params, seed=6, number=4, checkpoint=checkpoint) == first[1:]


def test_a_full_batch_method_takes_one_step_an_epoch_from_all_rows(tmp_path):
    """So it does with fewer rows than a batch has by default."""
    (x, y), held_out = blobs(50), blobs(20, seed=1)
    search = {"depth": 0, "bias": False, "optimizer": "gradient_descent", "smoothness": 2.0}
    solo = Solo(study(search), toy((x, y), held_out, 2))
    solo.add(Trial(0, {**search, "learning_rate": 1.0}, seed=9))
    W = np.asarray(solo._seat.graph.model.trainable_variables[0], float)
    assert len(list(epochs_of(solo))) == 3
    for _ in range(3):
        p = np.exp(x @ W)
        W = W - x.T @ (p / p.sum(axis=1, keepdims=True) - np.eye(2)[y]) / 50 / 2.0
    np.testing.assert_allclose(weights_after(solo, tmp_path)[0], W, rtol=1e-4, atol=1e-6)
