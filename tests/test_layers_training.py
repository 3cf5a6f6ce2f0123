"""What layers do in training and not else: masks, running statistics, penalties, hyper-parameters that are tensors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers import BatchNormalization, Convolution, Dropout, FullyConnected, initialise, set_hyper
from models.random import MASKS, key
from tests.layer_rows import MODES, in_mode, inputs

X = inputs((5, 4))


# Dropout -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_dropout_zeroes_its_share_and_scales_the_rest(mode):
    layer = Dropout(0.3, seed=5)
    layer.build((200, 200))
    y = np.asarray(in_mode(mode, lambda x: layer(x, training=True))(tf.ones((200, 200))))
    np.testing.assert_allclose(np.mean(y == 0), 0.3, atol=0.01)
    np.testing.assert_allclose(y[y != 0], 1 / 0.7, rtol=1e-6)


def test_dropout_is_the_identity_outside_training_and_at_rate_zero():
    layer = Dropout(0.5, seed=5)
    np.testing.assert_array_equal(layer(X), X)
    layer.hyper["dropout"].assign(0.0)
    np.testing.assert_array_equal(layer(X, training=True), X)


def test_a_mask_is_a_function_of_key_and_step_whatever_compiles_it():
    masks = []
    for mode in MODES:
        layer = Dropout(0.5)
        layer.build((8, 7))
        draw = in_mode(mode, lambda layer=layer: layer(tf.ones((8, 7)), training=True))
        layer.initialise([key(11, MASKS, 0)])
        masks.append([np.asarray(draw()) for _ in range(3)])
        layer.step.assign(1)
        np.testing.assert_array_equal(draw(), masks[-1][1])
        layer.initialise([key(12, MASKS, 0)])
        assert not np.array_equal(draw(), masks[-1][0])
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])
    assert not np.array_equal(masks[0][0], masks[0][1])


def test_the_gradient_passes_where_the_mask_does():
    layer, x = Dropout(0.5, seed=3), tf.ones((6, 6))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    np.testing.assert_array_equal(tape.gradient(y, x), y)


# Batch normalisation -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_running_statistics_are_means_of_the_biased_batch_statistics(mode):
    layer, batches = BatchNormalization(momentum=0.8, dtype="float64"), inputs((3, 6, 5, 4, 2), "float64") * 3 + 1
    layer.build(batches.shape[1:])
    step, mean, variance = in_mode(mode, lambda x: layer(x, training=True)), np.zeros(2), np.ones(2)
    for x in batches:
        y = step(tf.constant(x))
        mean, variance = 0.8 * mean + 0.2 * x.mean(axis=(0, 1, 2)), 0.8 * variance + 0.2 * x.var(axis=(0, 1, 2))
        expected = (x - x.mean(axis=(0, 1, 2))) / np.sqrt(x.var(axis=(0, 1, 2)) + 1e-3)
        np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose([layer.moving_mean, layer.moving_variance], [mean, variance], rtol=1e-12)
    np.testing.assert_allclose(layer(batches[0]), (batches[0] - mean) / np.sqrt(variance + 1e-3), rtol=1e-10, atol=1e-12)


def test_a_frozen_batch_normalisation_stays_as_it_is_in_training():
    layer = BatchNormalization(trainable=False)
    layer.build(X.shape)
    layer.moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(layer(X, training=True), layer(X))
    np.testing.assert_array_equal(layer.moving_mean, [1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_statistics_of_large_numbers_do_not_overflow_in_half_precision(policy):
    layer, x = BatchNormalization(dtype=policy), 300 * inputs((64, 3)) + 1000
    layer.build(x.shape)
    y = tf.cast(layer(x, training=True), tf.float32)
    np.testing.assert_allclose(tf.math.reduce_std(y, axis=0), np.ones(3), rtol=0.02)
    x = tf.cast(tf.cast(x, policy.removeprefix("mixed_")), tf.float32)
    np.testing.assert_allclose(layer.moving_variance, 0.99 + 0.01 * np.var(x, axis=0), rtol=1e-3)


# Penalties and hyper-parameters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer", [FullyConnected(3, l1=0.01, l2=0.02), Convolution(3, 2, l1=0.01, l2=0.02)], ids=["dense", "conv"]
)
def test_the_penalty_is_that_of_keras_with_its_factor_of_two(layer):
    layer.build((None, 4) if isinstance(layer, FullyConnected) else (None, 5, 5, 4))
    with tf.GradientTape() as tape:
        penalty = layer.penalty()
    W = layer.kernel.numpy()
    np.testing.assert_allclose(penalty, keras.regularizers.L1L2(0.01, 0.02)(layer.kernel), rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(penalty, layer.kernel.value), 0.01 * np.sign(W) + 2 * 0.02 * W, rtol=1e-5)


def test_a_layer_without_penalty_adds_no_loss():
    layer = FullyConnected(3)
    layer(X)
    assert layer.losses == []


def test_a_penalty_in_half_precision_is_summed_in_single():
    layer = FullyConnected(8, l2=1.0, dtype="mixed_float16")
    layer.build((None, 4))
    layer.kernel.assign(np.full((4, 8), 100.0))
    layer(X)
    assert layer.losses[0].dtype == tf.float32
    np.testing.assert_allclose(layer.losses[0], 320_000.0)


def network():
    images = keras.Input((4,))
    x = Dropout(0.0)(FullyConnected(8, activation="relu", l1=0.0, l2=0.0)(images))
    return keras.Model(images, FullyConnected(2, l2=0.0)(x))


@pytest.mark.parametrize("mode", ["graph", "jit"])
def test_hyper_parameters_change_without_a_new_trace(mode):
    model = network()
    initialise(model, 1)
    traces = []

    @tf.function(jit_compile=mode == "jit")
    def loss_and_output(x):
        traces.append(1)
        y = model(x, training=True)
        return tf.add_n(model.losses), y

    penalty, y = loss_and_output(X)
    assert penalty == 0
    np.testing.assert_allclose(y, model(X), rtol=1e-5, atol=1e-6)
    set_hyper(model, {"l1": 0.1, "l2": 0.2, "dropout": 0.9})
    penalty, y = loss_and_output(X)
    first, last = (layer.kernel.numpy() for layer in model.layers if isinstance(layer, FullyConnected))
    np.testing.assert_allclose(penalty, 0.1 * np.abs(first).sum() + 0.2 * (first**2).sum() + 0.2 * (last**2).sum(), rtol=1e-5)
    assert not np.allclose(y, model(X))
    assert len(traces) == 1


def test_in_model_fit_every_step_has_its_own_mask():
    model = network()
    set_hyper(model, {"dropout": 0.5})
    model.compile("sgd", "mse")
    model.fit(np.tile(X, (4, 1)), np.tile(X[:, :2], (4, 1)), batch_size=5, epochs=2, verbose=0)
    assert model.layers[2].step.numpy() == 8
