"""Half precision in a study: it learns, its logits and state are in float32, and float16's loss scale does its work."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import optimizers
from models import NETWORKS, load
from optimizers.loss_scale import FIRST, GROWS_AFTER, LossScale
from tests.solo.studies import PARAMS, interrupted, study, train, weights_after
from tuner import data as sources
from tuner.errors import BadInput
from tuner.solo import Solo

HALVES = ["mixed_bfloat16", "mixed_float16"]


@pytest.fixture(scope="module")
def digits():
    return sources.load(study().data, 0, [])


@pytest.fixture
def policy():
    """Sets Keras' policy for a test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def halved(precision, *, jit=False, epochs=4, **search):
    return study(search, train={"epochs": epochs, "precision": precision, "jit": jit})


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("precision", HALVES)
def test_learns_digits_like_single_precision(digits, precision, jit):
    search = {"dropout": 0.1, "l2": 1e-4}
    params = {**PARAMS, "width": 64, **search}
    expected, found = (train(Solo(halved(p, jit=jit, **search), digits), params) for p in ("float32", precision))
    assert found[-1]["val_accuracy"] > 0.9
    assert found != expected
    assert found[-1]["loss"] == pytest.approx(expected[-1]["loss"], rel=0.1)
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("precision", HALVES)
def test_a_resumed_trial_ends_with_the_same_bits(digits, precision, tmp_path):
    def make():
        return Solo(halved(precision, dropout=0.3, epochs=3), digits)

    params = {**PARAMS, "dropout": 0.3}
    whole = make()
    uninterrupted = train(whole, params, seed=6, number=4)
    expected = weights_after(whole, tmp_path, 4)
    checkpoint = interrupted(lambda: whole, params, tmp_path)
    resumed = make()
    assert train(resumed, params, seed=6, number=4, checkpoint=checkpoint) == uninterrupted[1:]
    for mine, its in zip(weights_after(resumed, tmp_path, 4), expected, strict=True):
        np.testing.assert_array_equal(mine, its)


def test_the_next_trial_begins_with_the_first_scale(digits):
    solo = Solo(halved("mixed_float16", optimizer="sgd", epochs=2), digits)
    params = {**PARAMS, "optimizer": "sgd"}
    before = train(solo, params)
    graph = solo._seat.graph
    graph._loss_scale.scale.assign(2.0**40)
    train(solo, {**params, "learning_rate": 1e-4}, seed=2)
    assert graph._loss_scale.scale.numpy() <= FIRST
    assert train(solo, params) == before


def test_a_precision_that_is_none_is_refused():
    with pytest.raises(BadInput, match=r"train\.precision"):
        halved("float16")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("precision", HALVES)
def test_networks_compute_in_half_and_answer_in_single(name, precision, policy):
    policy(precision)
    model = load(name)(NETWORKS[name].defaults(), (16, 16, 1), 3)
    assert model(np.ones((2, 16, 16, 1), "float32")).dtype == tf.float32
    assert {layer.compute_dtype for layer in model.layers[1:-1]} == {precision.removeprefix("mixed_")}
    assert {v.dtype for v in model.trainable_variables} == {"float32"}


# The scale ---------------------------------------------------------------------------------------------------------------------


def stepper(rule, weight, *, jit, lanes=None):
    """A step of a rule with a scaled loss, of a gradient that is given."""
    scale = LossScale(lanes)
    rule.build([weight])

    @tf.function(jit_compile=jit)
    def step(gradient):
        with tf.GradientTape() as tape:
            loss = scale.up(tf.reduce_sum(weight * gradient, axis=None if lanes is None else -1))
        scale.apply(rule, tape.gradient(loss, [weight.value]), [weight])

    return scale, step


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_a_step_is_the_rules_own_or_none(jit):
    weight, rule = keras.Variable([1.0, 2.0]), optimizers.load("momentum")(0.5)
    scale, step = stepper(rule, weight, jit=jit)
    step(tf.constant([1.0, -1.0]))
    np.testing.assert_array_equal(weight, [0.5, 2.5])
    state = [v.numpy() for v in rule.variables]
    for bad in (np.inf, np.nan):
        step(tf.constant([1.0, bad]))
    np.testing.assert_array_equal(weight, [0.5, 2.5])
    for mine, its in zip(rule.variables, state, strict=True):
        np.testing.assert_array_equal(mine, its)
    assert (scale.scale.numpy(), scale.sound.numpy()) == (FIRST / 4, 0)
    scale.reset()
    assert scale.scale.numpy() == FIRST


def test_follows_the_scale_of_keras():
    """Sound and unsound steps as they come, and the doubling after so many sound ones."""
    weight, twin = keras.Variable([1.0]), keras.Variable([1.0])
    scale, step = stepper(optimizers.load("sgd")(0.1), weight, jit=False)
    wrapper = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=FIRST)
    wrapper.build([twin])
    for number, bad in enumerate((False, True, False, True, True, False, False)):
        if number == 2:
            scale.sound.assign(GROWS_AFTER - 1)
            wrapper.step_counter.assign(GROWS_AFTER - 1)
        gradient = tf.constant([np.inf if bad else 0.25])
        step(gradient)
        wrapper.apply([gradient * wrapper.dynamic_scale], [twin])
        np.testing.assert_array_equal(weight, twin)
        assert scale.scale.numpy() == wrapper.dynamic_scale.numpy()


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("name", ["adam", "momentum", "schedule_free_adamw", "lookahead:sgd"])
def test_a_lane_leaves_out_its_own_steps_and_no_others(name, jit):
    """Three lanes, of which each meets another overflow, against three scales and rules of their own."""
    first, rates = np.arange(6.0).reshape(3, 2), [0.5, 0.25, 0.125]
    gradients = np.random.default_rng(2).normal(size=(6, 3, 2)).astype("float32")
    for step, lane in ((1, 0), (2, 1), (3, 1), (4, 0)):
        gradients[step, lane, lane] = (np.inf, np.nan)[step % 2]

    def trained(weight, rule, gradients, lanes=None):
        scale, step = stepper(rule, weight, jit=jit, lanes=lanes)
        scale.sound.assign(tf.fill(scale.sound.shape, GROWS_AFTER - 3))
        for gradient in gradients:
            step(tf.constant(gradient))
        return [np.asarray(v) for v in (weight, *scale.variables, *rule.variables)]

    packed = trained(keras.Variable(first), optimizers.load(name)(rates, lanes=3), gradients, 3)
    own = [value for value in packed if value.shape]
    for lane in range(3):
        alone = trained(keras.Variable(first[lane]), optimizers.load(name)(rates[lane]), gradients[:, lane])
        np.testing.assert_allclose(own[0][lane], alone[0], rtol=1e-6)
        np.testing.assert_array_equal([own[1][lane], own[2][lane]], alone[1:3])
    assert own[1].tolist() == [FIRST / 4, FIRST / 4, FIRST * 2]


def test_one_lane_of_a_scale_begins_anew():
    scale = LossScale(3)
    scale.scale.assign([1.0, 2.0, 4.0])
    scale.sound.assign([1, 2, 3])
    scale.reset(1)
    np.testing.assert_array_equal(scale.scale, [1.0, FIRST, 4.0])
    np.testing.assert_array_equal(scale.sound, [1, 0, 3])
    scale.reset()
    np.testing.assert_array_equal(scale.scale, [FIRST] * 3)
    with pytest.raises(ValueError, match="lane must be from 0 to 2; got 3"):
        scale.reset(3)


def test_a_gradient_that_float16_cannot_hold_comes_through():
    weight = keras.Variable([1.0])
    scale, _ = stepper(optimizers.load("sgd")(1.0), weight, jit=False)
    with tf.GradientTape() as tape:
        half = tf.cast(weight.value, tf.float16)
        loss = tf.cast(half, tf.float32) * 1e-8
        target = scale.up(loss)
    assert tf.cast(1e-8, tf.float16) == 0
    found = tape.gradient(target, weight.value)
    np.testing.assert_allclose(found / FIRST, [1e-8], rtol=1e-3)
