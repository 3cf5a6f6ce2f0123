"""Studies, data and trials for an engine."""

import itertools

import numpy as np
import safetensors.numpy

from tuner.data import Data, Facts, Split
from tuner.spec import parse
from tuner.trial import Trial

RATE = {"float": [1e-30, 1e20], "log": True}
PARAMS = {"learning_rate": 0.01, "width": 16, "depth": 1}


def study(search=(), **entries):
    """A study of three epochs of digits: one hidden layer, the learning rate, the width, and what `search` names."""
    space = {"learning_rate": RATE, "width": {"int": [1, 64]}, "depth": 1, **dict(search)}
    return parse({"name": "test", "train": {"epochs": 3}, "search": space, **entries})


def own(function, search=(), **entries):
    """A study of a function in a file of tests."""
    model = {"name": f"{function.__module__}:{function.__name__}", **entries.pop("model", {})}
    return parse(
        {"name": "test", "model": model, "train": {"epochs": 3}, "search": {"learning_rate": RATE, **dict(search)}, **entries}
    )


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


CLOSURES = [("gradient_descent", 1.0), ("armijo", 1.0), ("sam:adam", 0.01), ("svrg:sgd", 0.1)]


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
