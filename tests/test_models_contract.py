"""What every row of `models.NETWORKS` promises."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import NETWORKS, load
from models.layers import initialise, set_hyper

IMAGE, OUTPUTS = (8, 8, 1), 3
RNG = np.random.default_rng(3)
X = RNG.normal(size=(12, *IMAGE)).astype("float32")
Y = RNG.integers(0, OUTPUTS, 12)


def corners(row):
    """The defaults, and each parameter at its ends or at each of its choices; what counts things stays small."""
    yield row.defaults()
    for name, limits in row.parameters.items():
        counts = type(limits.default) is int
        ends = limits.choices or (limits.low, min(limits.high, limits.default + 1) if counts else limits.high)
        for value in ends:
            yield {**row.defaults(), name: int(value) if counts else value}
    for name in row.per_layer:
        layers = row.defaults()[row.layers]
        yield {**row.defaults(), **{f"{name}_{layer}": 4 + layer for layer in range(1, layers + 1)}}


CORNERS = [(name, params) for name, row in NETWORKS.items() for params in corners(row)]
TENSORS = {
    name: frozenset(parameter for parameter, limits in row.parameters.items() if not limits.shapes)
    for name, row in NETWORKS.items()
}
corner = pytest.mark.parametrize(("name", "params"), CORNERS, ids=lambda v: v if isinstance(v, str) else None)
network = pytest.mark.parametrize("name", NETWORKS)


def loss(model):
    losses = keras.losses.sparse_categorical_crossentropy(Y, model(X), from_logits=True)
    return tf.reduce_mean(losses) + sum(model.losses)


@corner
def test_builds_with_the_weights_that_the_table_counts(name, params):
    model = load(name)(params, IMAGE, OUTPUTS)
    assert model(X).shape == (len(X), OUTPUTS)
    weights = sum(np.prod(v.shape) for v in model.trainable_variables)
    assert weights == NETWORKS[name].size(params, IMAGE, OUTPUTS)[0]


@corner
def test_one_step_lowers_the_loss(name, params):
    model = load(name)(params, IMAGE, OUTPUTS)
    initialise(model, 1)
    with tf.GradientTape() as tape:
        before = loss(model)
    for variable, gradient in zip(model.trainable_variables, tape.gradient(before, model.trainable_variables), strict=True):
        variable.assign(variable - 1e-4 * gradient)
    assert loss(model) < before


@network
def test_takes_a_vector_unless_it_is_convolutional(name):
    row = NETWORKS[name]
    if not row.convolutional:
        params = row.defaults()
        model = load(name)(params, (5,), 1)
        assert model(np.zeros((2, 5))).shape == (2, 1)
        assert model.count_params() == row.size(params, (5,), 1)[0]


@network
def test_saves_and_loads(name, tmp_path):
    model = load(name)(NETWORKS[name].defaults(), IMAGE, OUTPUTS, TENSORS[name])
    set_hyper(model, dict.fromkeys(TENSORS[name], 0.25))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(X), model(X))
    assert loss(loaded) == loss(model)
    assert len(loaded.weights) == len(model.weights)


@network
def test_tensors_change_nothing_at_zero_and_something_else(name):
    build, params = load(name), NETWORKS[name].defaults()
    plain, open_ended = build(params, IMAGE, OUTPUTS), build(params, IMAGE, OUTPUTS, TENSORS[name])
    for model in (plain, open_ended):
        initialise(model, 5)
    np.testing.assert_array_equal(plain(X, training=True), open_ended(X, training=True))
    assert loss(plain) == loss(open_ended)
    for parameter in TENSORS[name]:
        before = open_ended(X, training=True).numpy(), loss(open_ended).numpy()
        set_hyper(open_ended, {parameter: 0.25})
        after = open_ended(X, training=True).numpy(), loss(open_ended).numpy()
        assert not np.array_equal(before[0], after[0]) or before[1] != after[1], parameter


@network
def test_a_trained_network_begins_anew_as_a_fresh_one(name):
    build, params = load(name), NETWORKS[name].defaults()
    fresh, used = build(params, IMAGE, OUTPUTS, TENSORS[name]), build(params, IMAGE, OUTPUTS, TENSORS[name])
    used.compile("adam", "sparse_categorical_crossentropy")
    used.fit(X, Y, verbose=0)
    for model in (fresh, used):
        initialise(model, 9)
    for mine, its in zip(fresh.weights, used.weights, strict=True):
        np.testing.assert_array_equal(mine, its)
