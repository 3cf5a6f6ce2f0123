"""Each lane of a pack is its trial trained alone."""

from dataclasses import replace

import numpy as np
import pytest

from optimizers import FAMILIES, find
from tests.solo.studies import epochs_of
from tuner import data as sources
from tuner.lanes import Lanes
from tuner.solo import Solo
from tuner.space import Space
from tuner.spec import Choice, parse, values
from tuner.trial import Trial

EPOCHS = 3
ACTIVATIONS = ["relu", "tanh", "gelu", "sigmoid"]


def study(search, *, model="mlp", data="digits", pruner="none", budget=50, **train):
    """A study of digits in batches of 128 that leave a rest: three epochs of 9 steps."""
    space = {"learning_rate": {"float": [1e-5, 1.0], "log": True}, "batch_size": 128, **search}
    about = {"name": "test", "model": model, "data": data, "budget": budget, "pruner": pruner}
    return parse({**about, "train": {"epochs": EPOCHS, **train}, "search": space})


@pytest.fixture(scope="module")
def digits():
    spec = study({"width": 8})
    return sources.load(spec.data, spec.seed, [])


def curves(engine, trials):
    """Trial → the metrics of its epochs, added whenever there is room."""
    found, waiting = {trial.number: [] for trial in trials}, list(trials)
    while waiting or any(len(curve) < EPOCHS for curve in found.values()):
        while waiting and engine.room:
            engine.add(waiting.pop(0))
        for epoch in engine.advance():
            found[epoch.number].append(epoch.metrics)
    return found


def check_same(found, expected, rtol=1e-4):
    for mine, its in zip(found, expected, strict=True):
        assert mine.keys() == its.keys()
        for name in ("loss", "val_loss"):
            assert mine[name] == pytest.approx(its[name], rel=rtol, abs=1e-6), name
        for name in ("accuracy", "val_accuracy"):
            assert mine[name] == pytest.approx(its[name], abs=0.006), name


SPACE = {
    "depth": {"int": [1, 3]},
    "width": {"int": [4, 100]},
    "activation": ACTIVATIONS,
    "bias": [True, False],
    "initial": ["auto", "orthogonal"],
    "dropout": {"float": [0.0, 0.5]},
    "l2": {"float": [0.0, 0.01]},
    "optimizer": ["sgd", "momentum", "nesterov", "adagrad", "adam", "adamw", "nadam", "prodigy"],
    "weight_decay": {"float": [0.0, 0.1]},
    "global_clipnorm": {"float": [0.1, 10.0], "log": True},
    "schedule": ["constant", "cosine", "one_cycle"],
    "warmup": {"float": [0.0, 0.3]},
}


def drawn(rng, **fixed):
    """Parameters of everything that lanes may differ in."""
    optimizer = str(rng.choice(SPACE["optimizer"]))
    params = {
        "depth": 2, "width": int(rng.integers(4, 65)), "activation": str(rng.choice(ACTIVATIONS)), "bias": bool(rng.integers(2)),
        "initial": str(rng.choice(SPACE["initial"])), "dropout": float(rng.uniform(0, 0.5)), "l2": float(rng.uniform(0, 0.01)),
        "optimizer": optimizer, "learning_rate": find(optimizer).learning_rate.default,
        "weight_decay": float(rng.uniform(0, 0.1)), "global_clipnorm": float(rng.uniform(0.1, 5)),
        "schedule": str(rng.choice(SPACE["schedule"])), "warmup": float(rng.uniform(0, 0.3)), "batch_size": 128,
    }  # fmt: skip
    return {**params, **fixed}


@pytest.mark.parametrize(("K", "pruner"), [(1, "none"), (2, "asha"), (5, "none"), (8, "asha")])
def test_lanes_that_differ_in_all_they_may_equal_their_trials_alone(digits, K, pruner):
    spec, rng = study(SPACE, pruner=pruner), np.random.default_rng(K)
    trials = [Trial(number, drawn(rng), seed=number + 10) for number in range(K + 3)]
    found = curves(Lanes(spec, digits, K), trials)
    alone = Solo(spec, digits)
    for trial in trials[:: max(1, K // 3)]:
        alone.add(trial)
        check_same(found[trial.number], [epoch.metrics for epoch in epochs_of(alone)])


@pytest.mark.parametrize("pruner", ["none", "asha"])
def test_a_lane_augments_its_images_as_its_trial_does_alone(digits, pruner):
    """A third trial comes into a lane that another has left."""
    highest = {"shift": 0.2, "flip": 1.0, "crop": 0.3, "cutout": 0.5, "rotation": 20.0}
    spec = study({name: {"float": [0.0, high]} for name, high in highest.items()}, pruner=pruner, jit=False)
    trials = [
        Trial(n, {"learning_rate": 1e-3, **{name: high * n / 2 for name, high in highest.items()}}, seed=n) for n in range(3)
    ]
    found, alone = curves(Lanes(spec, digits, 2), trials), Solo(spec, digits)
    for trial in trials:
        alone.add(trial)
        check_same(found[trial.number], [epoch.metrics for epoch in epochs_of(alone)])


@pytest.mark.parametrize(
    ("about", "rtol"), [({"data": "diabetes"}, 1e-4), ({"precision": "mixed_bfloat16"}, 0.05)], ids=["regression", "bfloat16"]
)
def test_other_targets_and_precisions_are_those_of_the_trial_alone(about, rtol):
    spec = study({"width": {"int": [8, 64]}, "optimizer": ["sgd", "adam"]}, **about)
    read = sources.load(spec.data, spec.seed, [])
    trials = [
        Trial(n, {"width": 16 + n, "optimizer": ("sgd", "adam")[n], "learning_rate": 0.01, "batch_size": 128}, seed=n)
        for n in range(2)
    ]
    engine, alone = Lanes(spec, read, 2), Solo(spec, read)
    found = curves(engine, trials)
    for trial in trials:
        alone.add(trial)
        for mine, its in zip(found[trial.number], (epoch.metrics for epoch in epochs_of(alone)), strict=True):
            assert mine == pytest.approx(its, rel=rtol, abs=0.03 if rtol > 0.01 else 1e-6)
    (pack,) = engine._packs.values()
    assert {layer.compute_dtype for layer in pack._model.layers[1:-1]} == {"bfloat16" if "precision" in about else "float32"}


CONVOLUTIONAL = {
    "lenet": {"kernel": 3, "preset": "lenet5", "bias": [True, False]},
    "convnet": {"filters": 4, "normalisation": "batch", "norm_momentum": {"float": [0.5, 0.9]}},
    "chain": {"kind": {"choice": ["convolution", "linear"], "per_layer": True}, "filters": 4, "normalisation": "group"},
    "resnet": {"depth": 8, "width_factor": 0.25, "norm_momentum": {"float": [0.5, 0.9]}},
}


@pytest.mark.parametrize("pruner", ["none", "asha"])
@pytest.mark.parametrize("model", CONVOLUTIONAL)
def test_a_convolutional_network_trains_in_a_lane_as_it_does_alone(digits, model, pruner):
    """A third trial comes into a lane that another has left."""
    choices = {"activation": ["relu", "tanh"], "initial": ["auto", "orthogonal"]}
    spec = study({**CONVOLUTIONAL[model], **choices, "dropout": {"float": [0.0, 0.5]}}, model=model, pruner=pruner)
    space = Space(spec)
    fixed = {"kind_1": "convolution", "kind_2": "linear", "norm_momentum": 0.8, "learning_rate": 1e-3}

    def given(dimension, n):
        several = isinstance(dimension.parameter, Choice) and dimension.name not in fixed
        return values(dimension.parameter)[n % 2] if several else {**fixed, "dropout": 0.1 * n}[dimension.name]

    trials = [Trial(n, space.choose(lambda dimension, n=n: given(dimension, n)), seed=n) for n in range(3)]
    found, alone = curves(Lanes(spec, digits, 2), trials), Solo(spec, digits)
    for trial in trials:
        alone.add(trial)
        check_same(found[trial.number], [epoch.metrics for epoch in epochs_of(alone)], rtol=1e-3)


@pytest.mark.parametrize("optimizer", FAMILIES["all"])
def test_every_method_trains_in_a_lane_as_it_does_alone(digits, optimizer):
    row = find(optimizer)
    spec = study({"optimizer": optimizer, "width": {"int": [8, 64]}, "dropout": {"float": [0.0, 0.5]}}, jit=False)
    rates = np.geomspace(row.learning_rate.low, row.learning_rate.default, 2)
    trials = [
        Trial(n, {"optimizer": optimizer, "width": 24 - 8 * n, "dropout": 0.2, "learning_rate": rate}, seed=n)
        for n, rate in enumerate(map(float, rates))
    ]
    found, alone = curves(Lanes(spec, digits, 2), trials), Solo(spec, digits)
    for trial in trials:
        alone.add(trial)
        check_same(found[trial.number], [epoch.metrics for epoch in epochs_of(alone)])


@pytest.mark.parametrize("pruner", ["none", "asha"])
def test_a_batch_may_be_many_times_as_large_as_the_data(digits, pruner):
    few = replace(digits, train=replace(digits.train, x=digits.train.x[:20], y=digits.train.y[:20]))
    trials = [Trial(n, {"learning_rate": 0.01, "batch_size": (20, 128)[n]}, seed=1) for n in range(2)]
    spec = study({"batch_size": [20, 128]}, pruner=pruner, jit=False)
    found, alone = curves(Lanes(spec, few, 2), trials), Solo(spec, few)
    check_same(found[1], found[0])
    for trial in trials:
        alone.add(trial)
        check_same(found[trial.number], [epoch.metrics for epoch in epochs_of(alone)])


def test_lanes_say_how_many_of_them_were_busy(digits):
    engine = Lanes(study({"width": 8}), digits, 4)
    curves(engine, [Trial(number, {"learning_rate": 1e-3}, seed=number) for number in range(3)])
    assert str(engine) == "packs of 4 lanes, 75.0 % of them busy, 1 graph"
