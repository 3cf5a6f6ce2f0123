"""What every row of `models.NETWORKS` promises."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import NETWORKS, load
from models.export import to_keras
from models.layers import Convolution, FullyConnected, initialise, set_hyper

IMAGE, OUTPUTS = (16, 16, 1), 3
RNG = np.random.default_rng(3)
X = RNG.normal(size=(6, *IMAGE)).astype("float32")
Y = RNG.integers(0, OUTPUTS, 6)


def ends_of(limits):
    """All choices, or both ends of a range; the upper one close to the default where it makes the network larger."""
    if limits.choices:
        return limits.choices
    if type(limits.default) is int:
        return int(limits.low), int(min(limits.high, limits.default + limits.step))
    return limits.low, 2 * limits.default if limits.shapes else limits.high


def base(row):
    """The defaults; what counts in steps is at its lower end, to be fast."""
    return row.defaults() | {name: int(limits.low) for name, limits in row.parameters.items() if limits.step > 1}


def corners(row, known):
    """The defaults, each parameter at its ends, and what may differ from layer to layer at both.

    Of a parameter that a row before has too, the last of its values is enough.
    """
    yield base(row)
    for name, limits in row.parameters.items():
        for value in ends_of(limits)[-1 if limits in known else 0 :]:
            yield {**base(row), name: value}
        known.append(limits)
    for name, counter in row.per_layer.items():
        ends, layers = ends_of(row.parameters[name]), base(row)[counter]
        yield {**base(row), **{f"{name}_{layer}": ends[(layer - 1) % 2] for layer in range(1, layers + 1)}}


KNOWN = []
CORNERS = [(name, params) for name, row in NETWORKS.items() for params in corners(row, KNOWN)]
TENSORS = {
    name: frozenset(parameter for parameter, limits in row.parameters.items() if not limits.shapes)
    for name, row in NETWORKS.items()
}
corner = pytest.mark.parametrize(("name", "params"), CORNERS, ids=lambda v: v if isinstance(v, str) else None)
network = pytest.mark.parametrize("name", NETWORKS)


def everything(name):
    """A small network with layers of both kinds, and a normalisation that has running statistics, if there can be such."""
    row = NETWORKS[name]
    statistics = {"normalisation": "batch"} if "normalisation" in row.parameters else {}
    last = {f"{row.kinds.parameter}_{base(row)['depth']}": row.kinds.then} if row.kinds else {}
    return {**base(row), **statistics, **last}


def loss(model, x=X):
    losses = keras.losses.sparse_categorical_crossentropy(Y, model(x), from_logits=True)
    return tf.reduce_mean(losses) + sum(model.losses)


@corner
def test_the_table_counts_the_weights_and_one_step_lowers_the_loss(name, params):
    model = load(name)(params, IMAGE, OUTPUTS)
    initialise(model, 1)
    with tf.GradientTape() as tape:
        before = loss(model)
    variables = model.trainable_variables
    weights = sum(np.prod(v.shape) for v in variables)
    statistics = sum(np.prod(v.shape) for v in model.non_trainable_variables if "moving" in v.path)
    assert NETWORKS[name].size(params, IMAGE, OUTPUTS)[0] == weights
    assert NETWORKS[name].kept(params, IMAGE, OUTPUTS) == (weights, weights + statistics)
    for variable, gradient in zip(variables, tape.gradient(before, variables), strict=True):
        variable.assign(variable - 1e-4 * gradient)
    assert model(X).shape == (len(X), OUTPUTS)
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
    model = load(name)(everything(name), IMAGE, OUTPUTS, TENSORS[name])
    set_hyper(model, dict.fromkeys(TENSORS[name], 0.25))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(X), model(X))
    assert loss(loaded) == loss(model)
    assert len(loaded.weights) == len(model.weights)


@network
def test_leaves_as_a_network_of_keras_own_layers(name):
    model = load(name)(everything(name), IMAGE, OUTPUTS)
    model(X, training=True)
    exported = to_keras(model)
    assert {type(layer).__module__.split(".")[0] for layer in exported.layers} == {"keras"}
    np.testing.assert_allclose(exported(X), model(X), rtol=1e-4, atol=1e-5)


@network
def test_tensors_change_nothing_at_their_defaults_and_something_else(name):
    build, params = load(name), everything(name)
    plain, open_ended = build(params, IMAGE, OUTPUTS), build(params, IMAGE, OUTPUTS, TENSORS[name])
    for model in (plain, open_ended):
        initialise(model, 5)
    np.testing.assert_array_equal(plain(X, training=True), open_ended(X, training=True))
    assert loss(plain) == loss(open_ended)
    for parameter in TENSORS[name]:
        both = []
        for value in (0.25, 0.5):
            initialise(open_ended, 5)
            set_hyper(open_ended, {parameter: value})
            outputs, penalty = open_ended(X, training=True).numpy(), np.asarray(sum(open_ended.losses))
            both.append((outputs, penalty, open_ended(X).numpy()))
        assert any(not np.array_equal(a, b) for a, b in zip(*both, strict=True)), parameter


@network
def test_a_trained_network_begins_anew_as_a_fresh_one(name):
    build, params = load(name), everything(name)
    fresh, used = build(params, IMAGE, OUTPUTS, TENSORS[name]), build(params, IMAGE, OUTPUTS, TENSORS[name])
    used(X, training=True)
    for variable in used.trainable_variables:
        variable.assign(variable + 1)
    for model in (fresh, used):
        initialise(model, 9)
    for mine, its in zip(fresh.weights, used.weights, strict=True):
        np.testing.assert_array_equal(mine, its)


@network
@pytest.mark.parametrize("K", [1, 3])
def test_lanes_equal_separate_networks(name, K):
    build, params, seeds = load(name), everything(name), range(7, 7 + K)
    packed, single = build(params, IMAGE, OUTPUTS, TENSORS[name], K), build(params, IMAGE, OUTPUTS, TENSORS[name])
    initialise(packed, *seeds)
    values = {parameter: 0.1 * np.arange(1, K + 1) for parameter in TENSORS[name]}
    set_hyper(packed, values)
    outputs, penalties = packed(X, training=True).numpy(), sum(packed.losses).numpy()
    afterwards = packed(X).numpy()
    assert outputs.shape == (K, len(X), OUTPUTS)
    for lane, seed in enumerate(seeds):
        initialise(single, seed)
        set_hyper(single, {parameter: value[lane] for parameter, value in values.items()})
        np.testing.assert_allclose(outputs[lane], single(X, training=True), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(penalties[lane], sum(single.losses), rtol=1e-5)
        np.testing.assert_allclose(afterwards[lane], single(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("preset", "shape", "weights"), [
    ("lenet5", (28, 28, 1), 61_706), ("lenet5", (32, 32, 1), 61_706), ("caffe", (28, 28, 1), 431_080),
])  # fmt: skip
def test_lenet_has_the_weights_of_its_papers(preset, shape, weights):
    params = {**NETWORKS["lenet"].defaults(), "preset": preset}
    assert NETWORKS["lenet"].size(params, shape, 10)[0] == weights


def test_the_identity_goes_through_a_residual_network():
    """With branches that return 0, the network is its stem, its shortcuts and its output, whatever its depth."""
    params = {**NETWORKS["resnet"].defaults(), "width_factor": 0.25, "normalisation": "none"}
    outputs = []
    for depth in (8, 20):
        model = load("resnet")({**params, "depth": depth}, IMAGE, OUTPUTS)
        kept = np.random.default_rng(0)
        for layer in model.layers:
            if isinstance(layer, Convolution) and layer.kernel_size == (3, 3) and layer.kernel.shape[2] != IMAGE[2]:
                layer.kernel.assign(tf.zeros_like(layer.kernel))
            elif isinstance(layer, Convolution | FullyConnected):
                layer.kernel.assign(kept.normal(size=layer.kernel.shape))
        outputs.append(model(X).numpy())
    np.testing.assert_allclose(*outputs, rtol=1e-5)
    assert np.abs(outputs[0]).max() > 0.1
