"""What every layer promises: Keras' numbers, a NumPy formula's numbers, and the same in every mode and precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.testing import TestCase

from models import ACTIVATIONS
from models.export import to_keras
from models.layers import Augmentation, FullyConnected
from models.layers.chance import Chance
from tests.layer_rows import MODES, ROWS, in_mode, inputs

each = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
SURE = {name: row for name, row in ROWS.items() if not issubclass(row.kind, Chance)}
TWINNED = {name: row for name, row in ROWS.items() if row.kind is not Augmentation}  # what Keras' layer is the identity for
deterministic = pytest.mark.parametrize("row", SURE.values(), ids=SURE)
twinned = pytest.mark.parametrize("row", TWINNED.values(), ids=TWINNED)
modes = pytest.mark.parametrize("mode", MODES)


def weighed(y):
    """A loss of an output that no symmetry makes constant: even a normalised one has a gradient."""
    y = tf.cast(y, tf.float64 if y.dtype == tf.float64 else tf.float32)
    w = np.linspace(-1, 2, int(np.prod(y.shape))).reshape(y.shape)
    return tf.reduce_sum(tf.cast(w, y.dtype) * y * y)


def value_and_gradients(layer, x, mode="eager"):
    """Output in training, and the gradients of the loss with penalties for input and weights."""

    def compute(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = weighed(y) + sum(layer.losses)
        return y, tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)])

    y, gradients = in_mode(mode, compute)(tf.constant(x))
    return [np.asarray(value) for value in (y, *gradients)]


@modes
@deterministic
def test_equals_the_keras_layer_with_its_gradients(row, mode):
    layer, x = row.build(), inputs(row.shape)
    twin = layer.to_keras()
    for mine, its in zip(value_and_gradients(layer, x, mode), value_and_gradients(twin, x, mode), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-4, atol=1e-4 * np.abs(its).max())
    for mine, its in zip(layer.shared_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(in_mode(mode, layer)(x), twin(x), rtol=1e-4, atol=1e-5)


@modes
@each
def test_equals_the_formula(row, mode):
    layer, x = row.build(dtype="float64"), inputs(row.shape, "float64")
    compute = in_mode(mode, layer)
    for images in (x, -np.abs(x) - 1):  # below the 0 that a padding may be filled with
        y = compute(tf.constant(images))
        assert y.dtype == tf.float64
        np.testing.assert_allclose(y, row.reference(layer, images), rtol=1e-11, atol=1e-12)


@deterministic
def test_gradients_equal_central_differences(row):
    layer, x = row.build(dtype="float64"), inputs(row.shape, "float64")
    variables = [tf.Variable(x), *(v.value for v in layer.trainable_variables)]

    @tf.function(autograph=False)
    def loss():
        return weighed(layer(variables[0].read_value(), training=True)) + sum(layer.losses)

    with tf.GradientTape() as tape:
        value = loss()
    for variable, gradient in zip(variables, tape.gradient(value, variables), strict=True):
        at, h = variable.numpy(), 1e-6
        for index in np.random.default_rng(4).permutation(list(np.ndindex(at.shape)))[:60]:
            e = np.zeros_like(at)
            e[tuple(index)] = h
            variable.assign(at + e)
            above = loss()
            variable.assign(at - e)
            below = loss()
            np.testing.assert_allclose(gradient[tuple(index)], (above - below) / (2 * h), rtol=1e-6, atol=3e-8 * abs(value))
        variable.assign(at)


@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed", "ignore:The model does not have any trainable weights")
@each
def test_passes_the_layer_test_of_keras(row):
    TestCase().run_layer_test(
        row.kind,
        row.arguments,
        input_shape=row.shape,
        expected_output_shape=tuple(row.build().compute_output_shape(row.shape)),
        expected_num_losses=1 if "l2" in row.arguments else 0,
        custom_objects={row.kind.__name__: row.kind},
    )


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
@each
def test_half_precision_is_close_to_single(row, policy):
    """And a policy that mixes keeps every weight in float32."""
    single, half, x = row.build(), row.build(dtype=policy), inputs(row.shape)
    for name in ("graph", "jit"):
        y = in_mode(name, half)(x)
        assert y.dtype == policy.removeprefix("mixed_")
        np.testing.assert_allclose(tf.cast(y, tf.float32), single(x), rtol=0.05, atol=0.1)
    stored = {v.dtype for v in half.shared_weights()}
    assert stored <= {"float32" if "mixed" in policy else policy}
    for variable, gradient in zip(half.trainable_variables, value_and_gradients(half, x)[2:], strict=True):
        assert keras.backend.standardize_dtype(gradient.dtype) == variable.dtype


@each
def test_training_steps_in_half_precision_are_close_to_single(row):
    """Keys and steps are equal, so the draws are."""
    single, half, x = row.build(), row.build(dtype="mixed_bfloat16"), inputs(row.shape)
    expected, found = (value_and_gradients(layer, x, "graph")[0].astype("float32") for layer in (single, half))
    np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.1)


@each
def test_comes_back_from_its_config_and_from_a_file(row, tmp_path):
    layer = row.build()
    model = keras.Sequential([keras.Input(row.shape[1:]), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for mine, its in zip(layer.variables, loaded.layers[0].variables, strict=True):
        np.testing.assert_array_equal(mine, its)
    x = inputs(row.shape)
    np.testing.assert_array_equal(model(x, training=True), loaded(x, training=True))


@twinned
def test_comes_back_from_keras(row):
    layer, x = row.build(), inputs(row.shape)
    again = row.kind.from_keras(layer.to_keras())
    lost = ("dtype", "seed", "initial", "groups")  # what Keras' layer has in another way, or not at all
    ours, theirs = ({k: v for k, v in one.get_config().items() if k not in lost} for one in (layer, again))
    for name, value in ours.items():
        assert value == (pytest.approx(theirs[name]) if isinstance(value, float) else theirs[name])
    assert layer.dtype_policy == again.dtype_policy
    np.testing.assert_array_equal(layer(x), again(x))


@each
@pytest.mark.parametrize("jit", [False, True], ids=["graph", "jit"])
def test_the_batch_may_be_unknown(row, jit):
    layer, x = row.build(), inputs(row.shape)
    signature = [tf.TensorSpec((None, *row.shape[1:]))]
    traced = tf.function(lambda x: layer(x, training=False), signature, jit_compile=jit)
    for rows in (1, len(x)):
        np.testing.assert_allclose(traced(x[:rows]), layer(x[:rows]), rtol=1e-5, atol=1e-6)
    masked = tf.function(lambda x: layer(x, training=True), signature, jit_compile=jit)
    assert masked(x).shape == layer.compute_output_shape(row.shape)


@each
def test_states_its_output_shape(row):
    layer = row.build()
    assert layer.compute_output_shape(row.shape) == layer(inputs(row.shape)).shape
    assert layer.compute_output_shape((None, *row.shape[1:]))[0] is None


def test_a_network_of_all_layers_becomes_one_of_keras(tmp_path):
    """Without the registration of a single class of ours: the file loads where only Keras is."""
    x = shortcut = first = keras.Input(ROWS["conv"].shape[1:])
    for name in ("conv", "batch", "activation", "dropout, image", "max, P = 1", "conv, P = 2", "group", "average, P = 1"):
        x = ROWS[name].kind(**ROWS[name].arguments)(x)
    x = ROWS["layer"].kind()(x)
    x = keras.layers.Add()([keras.layers.GlobalAveragePooling2D()(x), keras.layers.Dense(2)(keras.layers.Flatten()(shortcut))])
    model = keras.Model(first, FullyConnected(3, activation="gelu", l2=0.1)(x))
    for layer in model.layers:
        for number, weight in enumerate(layer.weights):
            if weight.dtype == "float32" and "dropout" not in weight.path:
                weight.assign(np.random.default_rng(number).uniform(0.5, 1, weight.shape))
    exported = to_keras(model)
    assert {type(layer).__module__.split(".")[0] for layer in exported.layers} == {"keras"}
    images = inputs(ROWS["conv"].shape)
    np.testing.assert_allclose(exported(images), model(images), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sum(exported.losses), sum(model.losses), rtol=1e-5)
    exported.save(tmp_path / "served.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "served.keras")(images), exported(images))


def test_an_exported_network_shares_nothing_with_its_model():
    inner = keras.Input((4,))
    model = keras.Model(inner, FullyConnected(2)(inner))
    exported = to_keras(model)
    before = exported(inputs((3, 4))).numpy()
    model.layers[-1].kernel.assign(model.layers[-1].kernel * 2)
    np.testing.assert_array_equal(exported(inputs((3, 4))), before)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_equals_keras_dense(activation):
    layer, x = FullyConnected(3, activation=activation), inputs((50, 4))
    layer.build((None, 4))
    np.testing.assert_allclose(layer(x), layer.to_keras()(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FullyConnected(0), "units"),
        (lambda: FullyConnected(2.0), "units"),
        (lambda: FullyConnected(2, activation="rely"), "activation"),
        (lambda: FullyConnected(2, initial="he"), "initial"),
        (lambda: FullyConnected(2, lanes=0), "lanes"),
        (lambda: ROWS["conv"].kind(2, 0), "kernel_size"),
        (lambda: ROWS["conv"].kind(2, (3, 3, 3)), "kernel_size"),
        (lambda: ROWS["conv"].kind(2, 3, stride=0), "stride"),
        (lambda: ROWS["conv"].kind(2, 3, padding="full"), "padding"),
        (lambda: ROWS["conv"].kind(2, 3, padding=-1), "padding"),
        (lambda: ROWS["conv"].kind(2, 8, padding="valid").build(ROWS["conv"].shape), "does not fit"),
        (lambda: ROWS["max"].kind(2, padding=1), "padding"),
        (lambda: ROWS["max"].kind(9).build(ROWS["max"].shape), "does not fit"),
        (lambda: ROWS["batch"].kind(momentum=1.1), "momentum"),
        (lambda: ROWS["batch"].kind(epsilon=0.0), "epsilon"),
        (lambda: ROWS["group"].kind(0), "groups"),
        (lambda: ROWS["dropout"].kind(1.0), "rate"),
        (lambda: ROWS["dropout"].kind(-0.1), "rate"),
        (lambda: ROWS["activation"].kind("rely"), "activation"),
        (lambda: Augmentation(flip=1.5), "flip: 1.5 is not a number from 0 to 1"),
        (lambda: Augmentation(shift=0.1).build((None, 8)), "images"),
        (lambda: Augmentation(shift=0.1).build((None, None, 8, 1)), "images of a known size"),
        (lambda: ROWS["flatten"].kind().build((None, None, 3)), "sizes"),
        (lambda: FullyConnected(2, lanes=3).build((2, 5, 4)), "3 lanes"),
        (lambda: ROWS["dropout"].build(lanes=2).to_keras(), "2 lanes"),
    ],
)
def test_refuses_what_means_nothing(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def built(layer, *shape):
    layer.build(shape)
    return layer


@pytest.mark.parametrize(
    ("kind", "twin"),
    [
        ("conv", lambda: built(keras.layers.Conv2D(2, 3, dilation_rate=2), None, 7, 6, 4)),
        ("conv", lambda: built(keras.layers.Conv2D(2, 3, groups=2), None, 7, 6, 4)),
        ("dense", lambda: built(keras.layers.Dense(2, activation="softmax"), None, 4)),
        ("batch", lambda: built(keras.layers.BatchNormalization(axis=1), None, 7, 6, 4)),
        ("layer", lambda: built(keras.layers.LayerNormalization(axis=[1, 2]), None, 7, 6, 4)),
        ("group", lambda: built(keras.layers.GroupNormalization(1, axis=1), None, 7, 6, 4)),
        ("dense", lambda: built(keras.layers.Dense(2, bias_regularizer="l2"), None, 4)),
        ("dense", lambda: built(keras.layers.Dense(2, kernel_regularizer="orthogonal_regularizer"), None, 4)),
        ("conv", lambda: built(keras.layers.Conv2D(2, 3, kernel_constraint="non_neg"), None, 7, 6, 4)),
        ("batch", lambda: built(keras.layers.BatchNormalization(gamma_regularizer="l2"), None, 4)),
        ("flatten", lambda: keras.layers.Flatten(data_format="channels_first")),
        ("dropout", lambda: keras.layers.Dropout(0.5, noise_shape=(None, 1))),
        ("max", lambda: keras.layers.MaxPooling2D(data_format="channels_first")),
        ("global average", lambda: keras.layers.GlobalAveragePooling2D(keepdims=True)),
    ],
)
def test_refuses_a_keras_layer_that_it_cannot_express(kind, twin):
    with pytest.raises(ValueError, match=r"only|must be|every element"):
        ROWS[kind].kind.from_keras(twin())
