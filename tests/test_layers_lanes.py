"""K lanes against K separate layers, and that a lane never touches its neighbours."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers import BatchNormalization, Convolution, Dropout, Flatten, FullyConnected, MaxPooling, initialise, set_hyper
from models.layers.chance import Chance
from models.random import key
from tests.layer_rows import ROWS, in_mode, inputs, scatter
from tests.test_layers import weighed

each = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
lanes = pytest.mark.parametrize("K", [1, 5])
shared = pytest.mark.parametrize("shared", [True, False], ids=["shared input", "own input"])


def packed(row, K, *, shared, dtype="float32"):
    """A layer with lanes that differ in all they have, built for an input of the lanes, or for one that they share."""
    layer = row.kind(**row.arguments, lanes=K, dtype=dtype)
    shape = row.shape if shared else (K, *row.shape)
    layer.build(shape)
    scatter(layer)
    if isinstance(layer, Chance):
        layer.initialise([key(seed, layer.stream, 1) for seed in range(K)])
        layer.step.assign(range(K))
    for name, variable in layer.hyper.items():
        variable.assign({"l1": 0.1, "l2": 0.2, "rotation": 30}.get(name, 0.3) + 0.05 * np.arange(K))
    return layer, inputs(shape, "float64" if dtype == "float64" else "float32")


def runner(layer, mode, rank):
    """A function of x: output in training, of `rank` axes and the lanes; gradients for x and the weights; the state left."""

    def compute(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            losses = sum(weighed(one) for one in tf.unstack(y)) if y.shape.rank > rank else weighed(y)
            loss = losses + sum(tf.reduce_sum(penalty) for penalty in layer.losses)
        return y, tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)])

    compiled = in_mode(mode, compute)

    def run(x):
        y, (of_x, *of_weights) = compiled(tf.constant(x))
        return y.numpy(), of_x.numpy(), [g.numpy() for g in of_weights], [v.numpy() for v in layer.variables]

    return run


@pytest.mark.parametrize("mode", ["graph", "jit"])
@shared
@lanes
@each
def test_lanes_equal_separate_layers(row, K, shared, mode):
    layer, x = packed(row, K, shared=shared, dtype="float64")
    rank, same = len(row.build().compute_output_shape(row.shape)), {"rtol": 1e-9, "atol": 1e-9}
    begun = [variable.numpy() for variable in layer.variables]
    y, of_x, of_weights, state = runner(layer, mode, rank)(x)
    laned = y.ndim > rank
    single, sums = row.build(dtype="float64"), 0
    run = runner(single, mode, rank)
    for lane in range(K):
        for mine, its in zip(single.variables, begun, strict=True):
            mine.assign(its[lane])
        its_y, its_of_x, its_of_weights, its_state = run(x if shared else x[lane])
        np.testing.assert_allclose(y[lane] if laned else y, its_y, **same)
        for mine, its in zip((*of_weights, *state), (*its_of_weights, *its_state), strict=True):
            np.testing.assert_allclose(mine[lane], its, **same)
        sums = sums + its_of_x if laned else its_of_x
        if not shared:
            np.testing.assert_allclose(of_x[lane], its_of_x, **same)
    if shared:
        np.testing.assert_allclose(of_x, sums, **same)


@pytest.mark.parametrize("mode", ["graph", "jit"])
@shared
@each
def test_a_poisoned_lane_leaves_the_bits_of_the_others(row, shared, mode):
    """Weights, and the input where it has lanes, of the middle lane become NaN."""
    outcomes = []
    for poison in (0.0, np.nan):
        layer, x = packed(row, 3, shared=shared)
        rank = len(row.build().compute_output_shape(row.shape))
        spread = np.array([0.0, poison, 0.0], "float32")
        for variable in layer.variables:
            if variable.dtype == "float32":
                variable.assign(variable.numpy() + spread.reshape(-1, *[1] * (len(variable.shape) - 1)))
        if not shared:
            x = x + spread.reshape(-1, *[1] * (x.ndim - 1))
        y, of_x, of_weights, state = runner(layer, mode, rank)(x)
        laned = [y] if y.ndim > rank else []
        outcomes.append([*laned, *([] if shared else [of_x]), *of_weights, *state])
    for sound, poisoned in zip(*outcomes, strict=True):
        np.testing.assert_array_equal(poisoned[[0, 2]], sound[[0, 2]])


def test_the_poison_is_there():
    layer, x = packed(ROWS["dense"], 3, shared=True)
    layer.kernel.assign(layer.kernel.numpy() + np.array([0, np.nan, 0]).reshape(3, 1, 1))
    assert np.isnan(layer(x)).all(axis=(1, 2)).tolist() == [False, True, False]


@each
@shared
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_lanes_compute_in_half_precision(row, shared, policy):
    layer, x = packed(row, 2, shared=shared, dtype=policy)
    y = layer(x, training=True)
    assert y.dtype == policy.removeprefix("mixed_")
    assert np.isfinite(tf.cast(y, tf.float32)).all()


@each
@shared
@pytest.mark.parametrize("jit", [False, True], ids=["graph", "jit"])
def test_the_batch_of_lanes_may_be_unknown(row, shared, jit):
    layer, x = packed(row, 2, shared=shared)
    shape = (None, *row.shape[1:]) if shared else (2, None, *row.shape[1:])
    signature = [tf.TensorSpec(shape)]
    found = tf.function(lambda x: layer(x, training=False), signature, jit_compile=jit)(x)
    assert found.shape == layer.compute_output_shape(x.shape)
    np.testing.assert_allclose(found, layer(x, training=False), rtol=1e-5, atol=1e-6)
    drawn = tf.function(lambda x: layer(x, training=True), signature, jit_compile=jit)(x)
    assert drawn.shape == found.shape


def test_hyper_parameters_are_set_for_all_lanes_or_each():
    x = keras.Input((4,))
    model = keras.Model(x, Dropout(0.1, lanes=2)(FullyConnected(3, l2=0.0, lanes=2)(x)))
    set_hyper(model, {"dropout": [0.3, 0.4], "l2": 0.5, "l1": 0.7})
    np.testing.assert_allclose(model.layers[2].hyper["dropout"], [0.3, 0.4])
    np.testing.assert_allclose(model.layers[1].hyper["l2"], [0.5, 0.5])
    W = model.layers[1].kernel.numpy()
    np.testing.assert_allclose(model.layers[1].penalty(), 0.5 * (W**2).sum(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
def test_a_network_of_lanes_equals_its_lanes(mode):
    """Layer behind layer: from the shared batch to the logits of each lane."""

    def network(lanes=None):
        x = images = keras.Input((6, 6, 2))
        for kind in (Convolution(4, 3, activation="relu", lanes=lanes), MaxPooling(lanes=lanes), BatchNormalization(lanes=lanes)):
            x = kind(x)
        return keras.Model(images, FullyConnected(2, lanes=lanes)(Dropout(0.5, lanes=lanes)(Flatten(lanes=lanes)(x))))

    images, pack = inputs((5, 6, 6, 2)), network(3)
    initialise(pack, 7, 8, 9)
    y = in_mode(mode, lambda x: pack(x, training=True))(images)
    for lane, seed in enumerate((7, 8, 9)):
        single = network()
        initialise(single, seed)
        np.testing.assert_allclose(single(images, training=True), y[lane], rtol=1e-4, atol=1e-5)
        for mine, its in zip(single.variables, pack.variables, strict=True):
            np.testing.assert_allclose(mine, its[lane], rtol=1e-4, atol=1e-6)
