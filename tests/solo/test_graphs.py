"""The engine for one trial: what it compiles, and what a graph that it has already may be used for."""

import json
import math

import numpy as np
import pytest

from optimizers import SCHEDULES
from tests.solo.studies import PARAMS, study, train, weights_after
from tuner.solo import Solo
from tuner.spec import DEFAULTS

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
    solo = Solo(study({**TENSORS, "optimizer": "momentum"}), digits)
    small, large = (train(solo, {**BASE, "learning_rate": 1e-30, "l2": l2})[0]["loss"] for l2 in (0.0, 0.5))
    kernels = [w for w in weights_after(solo, tmp_path) if w.ndim == 2]
    assert large - small == pytest.approx(0.5 * sum(np.square(W).sum() for W in kernels), rel=1e-4)


def test_the_oldest_graph_goes_first(digits):
    solo = Solo(study(train={"epochs": 1}), digits, graphs=1)
    for width in (4, 5, 4):
        train(solo, {**PARAMS, "width": width})
    assert solo.traces == 6
