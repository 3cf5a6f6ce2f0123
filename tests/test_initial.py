"""Initial weights: their variances, their shape of distribution, and what decides them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import INITIALS
from models.initial import draw
from models.layers import BatchNormalization, Convolution, Dropout, Flatten, FullyConnected, GroupNormalization, initialise
from models.random import WEIGHTS, key

DENSE, CONVOLUTION = (400, 300), (3, 3, 64, 96)
VARIANCES = {"he": lambda i, o: 2 / i, "glorot": lambda i, o: 2 / (i + o), "lecun": lambda i, o: 1 / i}


@pytest.mark.parametrize("shape", [DENSE, CONVOLUTION])
@pytest.mark.parametrize("kind", [kind for kind in INITIALS if kind != "orthogonal"])
def test_mean_variance_and_ends(kind, shape):
    W = draw(kind, key(1, WEIGHTS, 0), shape)
    taps = np.prod(shape[:-2])
    variance = VARIANCES[kind.split("_")[0]](taps * shape[-2], taps * shape[-1])
    assert W.shape == shape
    np.testing.assert_allclose([W.var(), W.mean()], [variance, 0], rtol=0.02, atol=5 * np.sqrt(variance / W.size))
    farthest = np.abs(W).max() / np.sqrt(variance)
    assert farthest <= np.sqrt(3) if kind.endswith("uniform") else 4 < farthest < 6


@pytest.mark.parametrize("shape", [(8, 5), (5, 8), (6, 6), (3, 3, 2, 7), (1, 1, 3, 7)])
def test_an_orthogonal_kernel_has_orthonormal_rows_or_columns(shape):
    W = draw("orthogonal", key(1, WEIGHTS, 0), shape).reshape(-1, shape[-1])
    product = W.T @ W if len(W) >= shape[-1] else W @ W.T
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-12)


def test_an_orthogonal_kernel_prefers_no_sign():
    corners = [draw("orthogonal", key(seed, WEIGHTS, 0), (4, 4))[0, 0] for seed in range(200)]
    assert 70 < sum(corner > 0 for corner in corners) < 130


@pytest.mark.parametrize("kind", INITIALS)
def test_a_kind_draws_a_function_of_the_key(kind):
    first, again, other = (draw(kind, key(seed, WEIGHTS, 0), (5, 4)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(("activation", "kind"), [("relu", "he_normal"), ("selu", "lecun_normal"), ("tanh", "glorot_uniform")])
def test_auto_is_what_suits_the_activation(activation, kind):
    layer = FullyConnected(3, activation=activation)
    layer.build((None, 4))
    layer.initialise([key(5, WEIGHTS, 0)])
    np.testing.assert_array_equal(layer.kernel, draw(kind, key(5, WEIGHTS, 0), (4, 3)).astype("float32"))


def test_auto_looks_through_a_normalisation_to_the_activation_behind_it():
    layer = Convolution(3, 2, leads_to="relu")
    layer.build((None, 4, 4, 2))
    layer.initialise([key(5, WEIGHTS, 0)])
    np.testing.assert_array_equal(layer.kernel, draw("he_normal", key(5, WEIGHTS, 0), (2, 2, 2, 3)).astype("float32"))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "selu", "gelu", "tanh"])
def test_the_signal_neither_dies_nor_explodes_in_twenty_layers(activation):
    layers = [FullyConnected(128, activation=activation) for _ in range(20)]
    x = tf.constant(np.random.default_rng(0).normal(size=(64, 128)), tf.float32)
    for place, layer in enumerate(layers):
        layer.build(x.shape)
        layer.initialise([key(1, WEIGHTS, place)])
        x = layer(x)
    assert 1e-3 < float(tf.reduce_mean(tf.square(x))) < 10


# A whole network ---------------------------------------------------------------------------------------------------------------

X = np.random.default_rng(7).normal(size=(8, 6, 6, 2)).astype("float32")


def network(*, normal=True, dropout=True, lanes=None):
    x = inputs = keras.Input((6, 6, 2))
    x = Convolution(4, 3, activation="relu", lanes=lanes)(x)
    if normal:
        x = BatchNormalization(center=False, scale=False, lanes=lanes)(x)
        x = GroupNormalization(2, lanes=lanes)(x)
    x = Flatten(lanes=lanes)(x)
    if dropout:
        x = Dropout(0.5, lanes=lanes)(x)
    return keras.Model(inputs, FullyConnected(2, lanes=lanes)(x))


def fitted():
    model = network()
    model.compile("sgd", "mse")
    model.fit(X, X[:, 0, 0], batch_size=4, epochs=2, verbose=0)
    return model


def test_a_trained_network_begins_anew_like_a_fresh_one():
    """Running statistics, masks and weights alike, also where a normalisation has nothing trainable."""
    fresh, used = network(), fitted()
    assert any(not np.array_equal(a, b) for a, b in zip(fresh.layers[2].variables, used.layers[2].variables, strict=True))
    for model in (fresh, used):
        initialise(model, 42)
    for a, b in zip(fresh.variables, used.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    initialise(used, 43)
    assert not np.array_equal(fresh.layers[1].kernel, used.layers[1].kernel)
    assert not np.array_equal(fresh.layers[-2].key, used.layers[-2].key)


def test_a_layer_of_another_kind_moves_nobodys_weights():
    plain, full = network(normal=False, dropout=False), network()
    for model in (plain, full):
        initialise(model, 42)
    np.testing.assert_array_equal(plain.layers[1].kernel, full.layers[1].kernel)
    np.testing.assert_array_equal(plain.layers[-1].kernel, full.layers[-1].kernel)


def test_layers_of_one_model_draw_differently():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Dropout(0.5)(Dropout(0.5)(FullyConnected(4)(FullyConnected(4)(inputs)))))
    initialise(model, 1)
    assert not np.array_equal(model.layers[1].kernel, model.layers[2].kernel)
    assert not np.array_equal(model.layers[3].key, model.layers[4].key)


def test_a_model_inside_a_model_is_initialised_too():
    inputs, inner = keras.Input((4,)), keras.Sequential([keras.Input((4,)), FullyConnected(4), FullyConnected(3)])
    outer = keras.Model(inputs, FullyConnected(2)(inner(inputs)))
    flat = keras.Sequential([keras.Input((4,)), FullyConnected(4), FullyConnected(3), FullyConnected(2)])
    for model in (outer, flat):
        initialise(model, 3)
    for mine, its in zip(outer.weights, flat.weights, strict=True):
        np.testing.assert_array_equal(mine, its)


def test_every_lane_begins_like_the_model_of_its_seed():
    packed = network(lanes=3)
    initialise(packed, 5, 6, 7)
    for lane, seed in enumerate((5, 6, 7)):
        alone = network()
        initialise(alone, seed)
        for mine, its in zip(packed.variables, alone.variables, strict=True):
            np.testing.assert_array_equal(mine[lane], its)


def test_without_initialise_the_seed_of_keras_decides():
    models = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        models.append(network())
    first, again, other = ([np.asarray(v) for v in model.variables] for model in models)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_a_model_that_is_built_by_fit_gets_its_weights():
    """Keras builds it inside a trace of its own, where values that are assigned get lost."""
    model = keras.Sequential([FullyConnected(4, activation="relu"), Dropout(0.5), FullyConnected(1)])
    model.compile("sgd", "mse")
    model.fit(X[:, 0, 0], X[:, 0, 0, :1], verbose=0)
    assert np.std(model.layers[0].kernel) > 0.1
    assert np.any(np.asarray(model.layers[1].key))
    assert model.layers[1].step == 1
