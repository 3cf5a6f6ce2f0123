"""The engine for one trial: what it computes, what it compiles, how it goes on, and what it refuses."""

import hashlib
import itertools
import json
import math
from dataclasses import replace

import keras
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from models import NETWORKS, load
from models.layers import initialise
from optimizers import SCHEDULES
from tuner import data as sources
from tuner.data import Data, Facts, Split, order
from tuner.errors import BadCheckpoint, BadInput
from tuner.solo import Solo
from tuner.spec import DEFAULTS, parse
from tuner.trial import Trial

RATE = {"float": [1e-30, 1e20], "log": True}
PARAMS = {"learning_rate": 0.01, "width": 16, "depth": 1}


def study(search=(), **entries):
    """A study of three epochs of digits: one hidden layer, the learning rate, the width, and what `search` names."""
    space = {"learning_rate": RATE, "width": {"int": [1, 64]}, "depth": 1, **dict(search)}
    return parse({"name": "test", "train": {"epochs": 3}, "search": space, **entries})


def own(function, search=(), **entries):
    """A study of a function in this file."""
    model = {"name": f"{__name__}:{function.__name__}", **entries.pop("model", {})}
    return parse(
        {"name": "test", "model": model, "train": {"epochs": 3}, "search": {"learning_rate": RATE, **dict(search)}, **entries}
    )


@pytest.fixture(scope="module")
def digits():
    return sources.load(study().data, 0, [])


def toy(train, validation, classes, **entries):
    """Data without normalisation; a split is (x, y) or (x, y, weight)."""
    x = train[0]
    zero, one = np.zeros(x.shape[-1], np.float32), np.ones(x.shape[-1], np.float32)
    splits = [Split(*split, *[None] * (3 - len(split))) for split in (train, validation)]
    facts = Facts(len(x), x.shape[1:], classes)
    return Data(facts, *splits, zero, one, **{"target_offset": 0.0, "target_scale": 1.0, **entries}, class_names=(), sha256="")


def blobs(rows, seed=0):
    """Two overlapping classes, three features."""
    rng = np.random.default_rng(seed)
    y = (np.arange(rows) % 4 == 0).astype(np.int32)
    return rng.normal(size=(rows, 3)).astype(np.float32) + y[:, None], y


def train(solo, params, *, seed=1, number=0, checkpoint=None):
    """The metrics of every epoch of a trial."""
    solo.add(Trial(number, params, seed, checkpoint))
    return [epoch.metrics for epoch in epochs_of(solo)]


def epochs_of(engine):
    """The epochs until no trial is inside."""
    return itertools.chain.from_iterable(iter(engine.advance, []))


def weights_after(solo, folder, number=0):
    """The model's variables as a checkpoint holds them."""
    state = safetensors.numpy.load(solo.save(number, folder).path.read_bytes())
    return [state[f"model/{place}"] for place in range(sum(name.startswith("model/") for name in state))]


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

CLOSURES = [("gradient_descent", 1.0), ("armijo", 1.0), ("sam:adam", 0.01), ("svrg:sgd", 0.1)]


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


# What it compiles --------------------------------------------------------------------------------------------------------------

HIGHEST = {"l2": 1.0, "dropout": 0.9, "shift": 0.2, "rotation": 15.0, "momentum": 0.9}
TENSORS = {name: {"float": [0.0, high]} for name, high in HIGHEST.items()}
BASE = {**PARAMS, **dict.fromkeys(HIGHEST, 0.0), "optimizer": "momentum", "momentum": 0.5}


def test_a_known_signature_compiles_nothing_and_no_trial_leaves_a_trace(digits):
    """Whatever ran before in the same graph: a trial gives the bits that it gives in an engine of its own."""
    spec = study({**TENSORS, "optimizer": "momentum"})
    solo = Solo(spec, digits)
    results = [train(solo, BASE)]
    assert solo.traces == 2
    changes = {"learning_rate": 0.1}, {"l2": 0.1}, {"dropout": 0.5}, {"momentum": 0.9}, {"shift": 0.1}, {"rotation": 9.0}
    results += [train(solo, {**BASE, **change}) for change in changes]
    results.append(train(solo, BASE, seed=2))
    assert solo.traces == 2
    assert len({json.dumps(result) for result in results}) == len(results)
    assert train(solo, BASE) == results[0]
    assert train(Solo(spec, digits), {**BASE, "dropout": 0.5}) == results[3]
    assert solo.traces == 2


def test_schedules_share_a_graph_and_reach_the_steps(digits):
    """At cosine's floor 1 the rate stays what it is; a one-cycle begins at a twenty-fifth of it."""
    space = {"schedule": list(SCHEDULES), "warmup": {"float": [0.0, 0.5]}, "cosine": {"floor": {"float": [0.0, 1.0]}}}
    plain = train(Solo(study({}), digits), PARAMS)
    solo = Solo(study(space), digits)
    params = {name: {**PARAMS, "schedule": name, "warmup": 0.0, "cosine.floor": 1.0} for name in SCHEDULES}
    results = {name: train(solo, params[name]) for name in params}
    assert solo.traces == 2
    for name in ("constant", "cosine"):
        np.testing.assert_allclose(results[name][-1]["loss"], plain[-1]["loss"], rtol=1e-3)
    assert results["one_cycle"][0]["loss"] > 1.02 * plain[0]["loss"]
    warm = train(solo, {**params["constant"], "warmup": 0.5})
    assert warm[0]["loss"] > 1.02 * plain[0]["loss"]
    assert train(solo, params["constant"]) == results["constant"]


def test_the_length_of_the_training_is_the_default_of_a_horizon(digits):
    """AdEMAMix is not left with the ten thousand steps of warm-up that its authors' language models had."""
    told = {"optimizer": "ademamix", "ademamix": {"warmup_steps": {"float": [50.0, 60.0]}}}
    steps = float(3 * math.ceil(len(digits.train.y) / DEFAULTS["batch_size"]))
    assert 50 < steps < 60
    params = {"optimizer": "ademamix", "learning_rate": 0.01}
    found = train(Solo(study({"optimizer": "ademamix"}), digits), params)
    assert found == train(Solo(study(told), digits), {**params, "ademamix.warmup_steps": steps})


def test_the_penalty_and_its_hyper_parameter_are_in_the_loss(digits, tmp_path):
    solo = Solo(study(TENSORS), digits)
    small, large = (train(solo, {**BASE, "learning_rate": 1e-30, "l2": l2})[0]["loss"] for l2 in (0.0, 0.5))
    kernels = [w for w in weights_after(solo, tmp_path) if w.ndim == 2]
    assert large - small == pytest.approx(0.5 * sum(np.square(W).sum() for W in kernels), rel=1e-4)


def test_the_oldest_graph_goes_first(digits):
    solo = Solo(study(train={"epochs": 1}), digits, graphs=1)
    for width in (4, 5, 4):
        train(solo, {**PARAMS, "width": width})
    assert solo.traces == 6


# How it goes on ----------------------------------------------------------------------------------------------------------------


def interrupted(make, params, folder, *, after=1):
    """The checkpoint that a trial leaves when it is stopped after some epochs."""
    solo = make()
    solo.add(Trial(4, params, seed=6))
    epochs = epochs_of(solo)
    for _ in range(after):
        next(epochs)
    checkpoint = solo.save(4, folder)
    solo.stop(4)
    assert list(epochs) == []
    return checkpoint


RESUMED = [("adam", False), ("nesterov", False), ("nesterov", True), ("svrg:adam", True)]
RESUMED += [(optimizer, False) for optimizer in ("gradient_descent", "armijo", "sam:adam", "svrg:sgd")]


@pytest.mark.parametrize(("optimizer", "jit"), RESUMED)
def test_a_resumed_trial_ends_with_the_same_bits(digits, optimizer, jit, tmp_path):
    search = {"optimizer": optimizer, "dropout": 0.3, "shift": 0.1}
    params = {**PARAMS, **search}

    def make():
        return Solo(study(search, train={"epochs": 3, "jit": jit}), digits)

    whole = make()
    uninterrupted = train(whole, params, seed=6, number=4)
    expected = weights_after(whole, tmp_path, 4)
    checkpoint = interrupted(lambda: whole, params, tmp_path)
    assert (checkpoint.path.name, checkpoint.epoch) == ("4-1.safetensors", 1)
    resumed = make()
    assert train(resumed, params, seed=6, number=4, checkpoint=checkpoint) == uninterrupted[1:]
    for mine, its in zip(weights_after(resumed, tmp_path, 4), expected, strict=True):
        np.testing.assert_array_equal(mine, its)


def test_evaluation_at_another_point_leaves_every_bit_of_the_training_alone(digits):
    """Nesterov's rule stores another point than the one to be evaluated."""
    solo = Solo(study({"optimizer": "nesterov"}), digits)
    solo.add(Trial(0, {**PARAMS, "optimizer": "nesterov"}, seed=1))
    graph = solo._seat.graph
    for epoch in (1, 2):
        graph.train(order(len(digits.train.y), 0, epoch))
    trained = graph.state()
    evaluated = graph.predict()
    for place, value in graph.state().items():
        np.testing.assert_array_equal(value, trained[place])
    stored = tf.nn.softmax(graph.model((digits.validation.x - digits.offset) * digits.scale))
    assert not np.allclose(evaluated, stored, atol=1e-4)


def damaged(checkpoint):
    content = bytearray(checkpoint.path.read_bytes())
    content[-1] ^= 1
    checkpoint.path.write_bytes(content)
    return checkpoint


def missing(checkpoint):
    checkpoint.path.unlink()
    return checkpoint


def misdated(checkpoint):
    return replace(checkpoint, epoch=2)


def foreign(checkpoint):
    """Rightly recorded, but not a file of ours."""
    checkpoint.path.write_bytes(b"PK\x03\x04 and so on")
    return replace(checkpoint, sha256=hashlib.sha256(checkpoint.path.read_bytes()).hexdigest())


@pytest.mark.parametrize("spoil", [damaged, missing, misdated, foreign])
def test_a_bad_checkpoint_is_refused_and_the_room_stays_free(digits, spoil, tmp_path):
    checkpoint = spoil(interrupted(lambda: Solo(study(), digits), PARAMS, tmp_path))
    solo = Solo(study(), digits)
    with pytest.raises(BadCheckpoint):
        solo.add(Trial(4, PARAMS, 6, checkpoint))
    assert solo.room == 1
    assert len(train(solo, PARAMS)) == 3


@pytest.mark.parametrize("trial", [Trial(5, PARAMS, 6), Trial(4, {**PARAMS, "width": 17}, 6)])
def test_the_checkpoint_of_another_trial_is_refused(digits, trial, tmp_path):
    solo = Solo(study(), digits)
    checkpoint = interrupted(lambda: solo, PARAMS, tmp_path)
    with pytest.raises(BadCheckpoint, match="another trial"):
        solo.add(replace(trial, checkpoint=checkpoint))


def test_nothing_but_the_checkpoint_is_left_in_the_folder(digits, tmp_path):
    checkpoint = interrupted(lambda: Solo(study(), digits), PARAMS, tmp_path)
    assert list(tmp_path.iterdir()) == [checkpoint.path]
    with pytest.raises(OSError, match="No such file"):
        interrupted(lambda: Solo(study(), digits), PARAMS, tmp_path / "missing")


def test_stopping_frees_the_room_for_the_next(digits):
    solo = Solo(study(), digits)
    assert solo.room == 1
    solo.add(Trial(1, PARAMS, seed=1))
    assert solo.room == 0
    with pytest.raises(RuntimeError):
        solo.add(Trial(2, PARAMS, seed=2))
    epochs = epochs_of(solo)
    next(epochs)
    solo.stop(1)
    assert solo.room == 1
    solo.add(Trial(2, PARAMS, seed=2))
    assert [(e.number, e.epoch) for e in epochs] == [(2, 1), (2, 2), (2, 3)]
    solo.stop(2)
    assert solo.room == 1


# A user's own function ---------------------------------------------------------------------------------------------------------


def network(input_shape, outputs, units=8, rate=0.5):
    return keras.Sequential(
        [
            keras.Input(input_shape),
            keras.layers.Flatten(),
            keras.layers.Dense(units, activation="relu", kernel_regularizer="l2"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(rate),
            keras.layers.Dense(outputs),
        ]
    )


def probabilities(input_shape, outputs):
    return keras.Sequential([network(input_shape, outputs), keras.layers.Softmax()])


class Subclassed(keras.Model):
    """Builds at its first call."""

    def __init__(self):
        super().__init__()
        self.last = keras.layers.Dense(10)

    def call(self, x):
        return self.last(keras.ops.reshape(x, (-1, 64)))


def no_arguments():
    return Subclassed()


def no_model(outputs):
    return outputs


def wrong_shape(input_shape):
    return network(input_shape, 7)


def broken(input_shape):
    raise KeyError(f"a user's own error at {input_shape}")


class Greedy(keras.layers.Layer):
    """Runs out of memory in its first step."""

    def call(self, x, *, training=False):
        with tf.control_dependencies([tf.numpy_function(no_memory, [x], tf.float32)] if training else []):
            return tf.identity(x)


def no_memory(x):
    raise MemoryError(f"none left for {x.shape}")


def greedy(input_shape, outputs, greed):
    return keras.Sequential([network(input_shape, outputs), *([Greedy()] if greed else [])])


class Asserts(keras.layers.Layer):
    """Fails when it sees anything but zeros, not when it is traced."""

    def call(self, x):
        with tf.control_dependencies([tf.debugging.assert_less(tf.abs(x), 1e-9)]):
            return tf.identity(x)


def asserts(input_shape, outputs):
    return keras.Sequential([network(input_shape, outputs), Asserts()])


def test_a_users_function_trains_is_reused_and_resumed(digits, tmp_path):
    spec = own(network, {"units": [8, 9], "rate": [0.5]})
    params = {"learning_rate": 0.01, "units": 8, "rate": 0.5}
    solo = Solo(spec, digits)
    first = train(solo, params, seed=6, number=4)
    assert first[-1]["loss"] < first[0]["loss"]
    assert train(solo, params, seed=7) != first
    assert solo.traces == 2
    assert train(solo, params, seed=6) == first
    checkpoint = interrupted(lambda: Solo(spec, digits), params, tmp_path, after=2)
    assert train(Solo(spec, digits), params, seed=6, number=4, checkpoint=checkpoint) == first[2:]
    train(solo, {**params, "units": 9})
    assert solo.traces == 4


@pytest.mark.parametrize("optimizer", [optimizer for optimizer, _ in CLOSURES])
def test_masks_and_statistics_move_once_a_step_whatever_a_method_asks(digits, optimizer, tmp_path):
    """They end as with SGD; the rates are so small that the weights stay."""
    rows = len(digits.train.y)
    params = {"learning_rate": 1e-30, "batch_size": rows if optimizer in ("gradient_descent", "armijo") else 64}
    ends = []
    for name in (optimizer, "sgd"):
        solo = Solo(own(network, {"optimizer": name, "batch_size": params["batch_size"]}), digits)
        train(solo, {**params, "optimizer": name}, seed=6)
        ends.append(weights_after(solo, tmp_path))
    for mine, its in zip(*ends, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("optimizer", "rate"), CLOSURES)
def test_a_users_function_trains_with_methods_that_ask_more_than_once(digits, optimizer, rate, tmp_path):
    spec = own(network, {"optimizer": optimizer})
    params = {"learning_rate": rate, "optimizer": optimizer}
    whole = train(Solo(spec, digits), params, seed=6, number=4)
    assert whole[-1]["loss"] < whole[0]["loss"]
    checkpoint = interrupted(lambda: Solo(spec, digits), params, tmp_path)
    assert train(Solo(spec, digits), params, seed=6, number=4, checkpoint=checkpoint) == whole[1:]


def test_probabilities_train_as_logits_do(digits):
    params = {"learning_rate": 0.01}
    ours = train(Solo(own(probabilities, model={"output": "probabilities"}), digits), params)
    theirs = train(Solo(own(network), digits), params)
    assert ours == [pytest.approx(metrics, rel=1e-3) for metrics in theirs]


def test_a_subclassed_model_without_arguments_trains(digits):
    assert len(train(Solo(own(no_arguments), digits), {"learning_rate": 0.01})) == 3


@pytest.mark.parametrize(
    ("function", "error", "says"),
    [
        (no_model, TypeError, "keras.Model"),
        (wrong_shape, ValueError, r"\(1, 10\), not \(1, 7\)"),
        (broken, KeyError, "a user's own error"),
    ],
)
def test_what_a_user_did_wrong_is_raised_and_the_room_stays_free(digits, function, error, says):
    solo = Solo(own(function), digits)
    with pytest.raises(error, match=says):
        solo.add(Trial(0, {"learning_rate": 0.1}, seed=1))
    assert solo.room == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no.module:build", "no.module cannot be imported: ModuleNotFoundError: No module named 'no'"),
        ("tests.faulty:build", "tests.faulty cannot be imported: ZeroDivisionError: division by zero"),
        ("tests.paper:nobody", "tests.paper has no function 'nobody'"),
        ("tests.paper:__doc__", "tests.paper has no function '__doc__'"),
    ],
)
def test_a_function_that_is_not_there_is_the_studys_mistake_not_a_trials(digits, name, says):
    with pytest.raises(BadInput) as refused:
        Solo(study(model=name), digits)
    assert str(refused.value) == f"model.name: {says}"


def test_a_parameter_that_the_function_does_not_take_is_an_error(digits):
    with pytest.raises(TypeError, match="heads"):
        Solo(own(network, {"heads": 2}), digits).add(Trial(0, {"learning_rate": 0.1, "heads": 2}, seed=1))


def test_a_trial_whose_epoch_raises_has_left(digits):
    solo = Solo(own(asserts), digits)
    solo.add(Trial(0, {"learning_rate": 0.1}, seed=1))
    with pytest.raises(tf.errors.InvalidArgumentError):
        solo.advance()
    assert solo.room == 1


def test_without_memory_every_graph_is_given_up(digits):
    solo = Solo(own(greedy, {"greed": [True, False]}, train={"epochs": 1}), digits)
    modest = {"learning_rate": 0.1, "greed": False}
    train(solo, modest)
    solo.add(Trial(1, {**modest, "greed": True}, seed=1))
    with pytest.raises(MemoryError):
        solo.advance()
    assert solo.room == 1
    before = solo.traces
    train(solo, modest)
    assert solo.traces == before + 2
