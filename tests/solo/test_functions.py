"""The engine for one trial: a user's own function, what it may be and do wrong."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.solo.studies import CLOSURES, interrupted, own, study, train, weights_after
from tuner.errors import BadInput
from tuner.solo import Solo
from tuner.trial import Failed, Trial


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


def whatever(**given):
    return network(given["input_shape"], given["outputs"], given["units"])


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


def other_rows(outputs):
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(outputs)])


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


def test_a_function_that_takes_anything_is_told_of_the_data_too(digits):
    found = train(Solo(own(whatever, {"units": [8, 9]}), digits), {"learning_rate": 0.01, "units": 8})
    assert found[-1]["loss"] < found[0]["loss"]


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


def test_a_failure_says_what_keras_found_and_not_only_where(digits):
    keras.config.enable_traceback_filtering()  # as in a training process; Keras' own tests switch it off
    with pytest.raises(ValueError, match="Exception encountered") as caught:
        Solo(own(other_rows), digits).add(Trial(0, {"learning_rate": 0.1}, seed=1))
    message = Failed.by(0, caught.value).message
    assert message.startswith("ValueError: Exception encountered when calling Sequential.call(). ")
    assert "Expected shape (None, 5), but input has incompatible shape (1, 8, 8, 1)" in message
    assert (message.isprintable(), len(message) < 550) == (True, True)


@pytest.mark.parametrize("message", ["Exception encountered when calling A.call().", "in user code:", "a\nb", " \n"])
def test_a_failure_has_one_line_whatever_was_raised(message):
    assert Failed.by(0, ValueError(message)).message == f"ValueError: {message.strip().partition(chr(10))[0] or 'no message'}"


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
        ("tests.leaving:build", "tests.leaving cannot be imported: SystemExit: 2"),
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
