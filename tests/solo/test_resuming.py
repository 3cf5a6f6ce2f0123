"""The engine for one trial: how it goes on from a checkpoint, and which ones it refuses."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.solo.studies import PARAMS, epochs_of, interrupted, study, train, weights_after
from tuner.data import order
from tuner.errors import BadCheckpoint
from tuner.solo import Solo
from tuner.trial import Trial

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
