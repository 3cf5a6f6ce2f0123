"""The written-out gradients equal automatic differentiation and central differences, and train a network on their own."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from models import ACTIVATIONS, NETWORKS, backprop, load
from models.backprop import DERIVATIVES, Dense
from models.layers import Dropout, FullyConnected, initialise

EXACT = {"rtol": 1e-12, "atol": 1e-12}
KINKS = {"relu", "leaky_relu", "hard_sigmoid", "hard_tanh", "hard_silu"}  # σ' jumps
SMOOTH = [name for name in DERIVATIVES if name not in KINKS]
activation = pytest.mark.parametrize("name", DERIVATIVES)

# A softmax has two outputs at least; a perceptron with one is among the networks of ours.
sizes = st.builds(
    lambda inner, outputs: [*inner, outputs], st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(2, 6)
)
seeds = st.integers(0, 2**32 - 1)


def draw(rng, *shape):
    return tf.constant(rng.normal(size=shape))


def perceptron(rng, widths, activations, *, bias=True):
    """Layers of the given widths, the input's first."""
    pairs = zip(itertools.pairwise(widths), activations, strict=True)
    return [Dense(draw(rng, D, F) / D**0.5, draw(rng, F) if bias else None, name) for (D, F), name in pairs]


def output(layers, x):
    return backprop.forward(layers, x).x[-1]


def half_squares(x, y):
    """The lecture's loss of each sample."""
    return tf.reduce_sum((x - y) ** 2, axis=1) / 2


def entropies(x, y):
    return tf.nn.softmax_cross_entropy_with_logits(y, x)


LOSSES = {"squared error": (half_squares, backprop.squared_error), "cross entropy": (entropies, backprop.cross_entropy)}
losses = pytest.mark.parametrize(("loss", "slope"), LOSSES.values(), ids=LOSSES)


def distributions(y):
    return tf.nn.softmax(y)


def central(f, a, h=1e-6):
    """The central differences of a number f(a) with respect to every element of `a`."""
    found = np.zeros(a.shape)
    for place in np.ndindex(*a.shape):
        step = np.zeros(a.shape)
        step[place] = h
        found[place] = (f(a + step) - f(a - step)) / (2 * h)
    return found


def check_close(mine, its, **tolerance):
    for a, b in zip(tf.nest.flatten(mine), tf.nest.flatten(its), strict=True):
        np.testing.assert_allclose(a, b, **(tolerance or EXACT))


# Activations -------------------------------------------------------------------------------------------------------------------


def test_every_activation_of_the_table_has_a_derivative():
    assert set(ACTIVATIONS) <= set(DERIVATIVES)


@activation
def test_derivatives_equal_the_tape_everywhere_and_at_the_kinks(name):
    u = tf.constant([*np.linspace(-30, 30, 601), -1e3, 1e3, -1.0, 1.0, -3.0, 3.0, 0.0], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(u)
        x = keras.activations.get(name)(u)
    np.testing.assert_allclose(DERIVATIVES[name](u, x), tape.gradient(x, u), **EXACT)


@activation
def test_derivatives_equal_central_differences(name):
    u, h = np.linspace(-4, 4, 80), 1e-6  # no kink among them
    sigma = keras.activations.get(name)
    expected = (sigma(tf.constant(u + h)) - sigma(tf.constant(u - h))) / (2 * h)
    np.testing.assert_allclose(DERIVATIVES[name](tf.constant(u), sigma(tf.constant(u))), expected, rtol=1e-6, atol=1e-9)


@activation
def test_derivatives_keep_the_dtype(name):
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        u = tf.constant([-1.0, 0.5], dtype)
        assert DERIVATIVES[name](u, keras.activations.get(name)(u)).dtype == dtype


# The perceptron ----------------------------------------------------------------------------------------------------------------


def flat(pairs):
    return [w for pair in pairs for w in pair if w is not None]


def tape_gradients(layers, x, y, loss, share):
    """The same by automatic differentiation, and the gradient with respect to the input."""
    weights = flat((kernel, bias) for kernel, bias, _ in layers)
    with tf.GradientTape() as tape:
        tape.watch([*weights, x])
        f = tf.reduce_sum(share * loss(output(layers, x), y))
    *found, dx = tape.gradient(f, [*weights, x])
    return found, dx


@losses
@settings(max_examples=30)
@given(widths=sizes, samples=st.integers(1, 7), bias=st.booleans(), weighted=st.booleans(), seed=seeds, data=st.data())
def test_gradients_equal_the_tape(loss, slope, widths, samples, bias, weighted, seed, data):
    rng = np.random.default_rng(seed)
    names = data.draw(st.lists(st.sampled_from(list(DERIVATIVES)), min_size=len(widths) - 1, max_size=len(widths) - 1))
    layers = perceptron(rng, widths, names, bias=bias)
    x, y = draw(rng, samples, widths[0]), distributions(draw(rng, samples, widths[-1]))
    share = tf.constant(rng.uniform(size=samples)) if weighted else tf.fill([samples], tf.constant(1 / samples, tf.float64))
    trace = backprop.forward(layers, x)
    mine = backprop.backward(layers, trace, slope(trace.x[-1], y), share if weighted else None)
    its, dx = tape_gradients(layers, x, y, loss, share)
    check_close(flat(mine), its)
    check_close(backprop.multipliers(layers, trace, share[:, None] * slope(trace.x[-1], y)).x[0], dx)


@losses
@settings(max_examples=20)
@given(widths=sizes, seed=seeds, data=st.data())
def test_gradients_equal_central_differences(loss, slope, widths, seed, data):
    rng = np.random.default_rng(seed)
    names = data.draw(st.lists(st.sampled_from(SMOOTH), min_size=len(widths) - 1, max_size=len(widths) - 1))
    layers = perceptron(rng, widths, names)
    x, y = draw(rng, 3, widths[0]), distributions(draw(rng, 3, widths[-1]))
    trace = backprop.forward(layers, x)
    mine = backprop.backward(layers, trace, slope(trace.x[-1], y))
    for place, layer in enumerate(layers):
        for field, gradient in zip(("kernel", "bias"), mine[place], strict=True):

            def f(weight, place=place, layer=layer, field=field):
                changed = [*layers[:place], layer._replace(**{field: weight}), *layers[place + 1 :]]
                return tf.reduce_mean(loss(output(changed, x), y))

            np.testing.assert_allclose(gradient, central(f, getattr(layer, field)), rtol=1e-6, atol=1e-8)


def test_one_sample_gives_the_formulas_of_the_lecture():
    rng = np.random.default_rng(1)
    layers = perceptron(rng, [3, 4, 2], ["tanh", "sigmoid"])
    x_0, y = rng.normal(size=3), rng.normal(size=2)
    (W_1, b_1), (W_2, b_2) = ((layer.kernel.numpy().T, layer.bias.numpy()) for layer in layers)
    x_1 = np.tanh(W_1 @ x_0 + b_1)
    x_2 = 1 / (1 + np.exp(-(W_2 @ x_1 + b_2)))
    d_2 = (x_2 - y) * x_2 * (1 - x_2)
    d_1 = (W_2.T @ d_2) * (1 - x_1**2)
    trace = backprop.forward(layers, tf.constant(x_0[None]))
    (dW_1, db_1), (dW_2, db_2) = backprop.backward(layers, trace, backprop.squared_error(trace.x[-1], y[None]))
    check_close([dW_1, db_1, dW_2, db_2], [np.outer(d_1, x_0).T, d_1, np.outer(d_2, x_1).T, d_2])


def test_a_mini_batch_is_the_mean_of_its_samples():
    rng = np.random.default_rng(2)
    layers, x, y = perceptron(rng, [3, 4, 2], ["relu", "linear"]), draw(rng, 5, 3), draw(rng, 5, 2)

    def of(x, y):
        trace = backprop.forward(layers, x)
        return flat(backprop.backward(layers, trace, backprop.squared_error(trace.x[-1], y)))

    singly = [of(x[i : i + 1], y[i : i + 1]) for i in range(5)]
    check_close(of(x, y), [np.mean(gradients, axis=0) for gradients in zip(*singly, strict=True)])


# The Lagrangian ----------------------------------------------------------------------------------------------------------------


def lagrangian(layers, y, variables, lambdas, mus):
    """𝓛 of the module's docstring, where u_1, ..., u_L and x_1, ..., x_L are free; `variables` and `mus` begin with x_0, μ_0."""
    total = tf.reduce_sum(half_squares(variables.x[-1], y))
    places = zip(layers, variables.x[:-1], variables.u, variables.x[1:], lambdas, mus[1:], strict=True)
    for (kernel, bias, name), before, u, x, lam, mu in places:
        total += tf.reduce_sum(lam * (tf.matmul(before, kernel) + bias - u))
        total += tf.reduce_sum(mu * (keras.activations.get(name)(u) - x))
    return total


@settings(max_examples=10)
@given(widths=sizes, seed=seeds, data=st.data())
def test_the_multipliers_make_the_lagrangian_stationary(widths, seed, data):
    rng = np.random.default_rng(seed)
    names = data.draw(st.lists(st.sampled_from(SMOOTH), min_size=len(widths) - 1, max_size=len(widths) - 1))
    layers, x_0, y = perceptron(rng, widths, names), draw(rng, 2, widths[0]), draw(rng, 2, widths[-1])
    trace = backprop.forward(layers, x_0)
    lambdas, mus = backprop.multipliers(layers, trace, backprop.squared_error(trace.x[-1], y))
    for field, place in [(field, place) for place in range(len(layers)) for field in ("u", "x")]:
        values, place = list(getattr(trace, field)), place + (field == "x")  # x_0 is given

        def of(value, field=field, place=place, values=values):
            moved = trace._replace(**{field: [*values[:place], value, *values[place + 1 :]]})
            return lagrangian(layers, y, moved, lambdas, mus)

        np.testing.assert_allclose(central(of, values[place]), 0, atol=1e-7)


def test_other_multipliers_do_not_make_it_stationary():
    rng = np.random.default_rng(4)
    layers, x_0, y = perceptron(rng, [3, 4, 2], ["tanh", "linear"]), draw(rng, 2, 3), draw(rng, 2, 2)
    trace = backprop.forward(layers, x_0)
    lambdas, mus = backprop.multipliers(layers, trace, backprop.squared_error(trace.x[-1], y))

    def of(x_1, factor):
        return lagrangian(layers, y, trace._replace(x=(x_0, x_1, trace.x[2])), [factor * lam for lam in lambdas], mus)

    assert np.abs(central(lambda x: of(x, 1.0), trace.x[1])).max() < 1e-7
    assert np.abs(central(lambda x: of(x, 1.1), trace.x[1])).max() > 1e-2


def test_a_multiplier_is_what_the_loss_gains_when_its_constraint_moves():
    rng = np.random.default_rng(5)
    layers, x, y = perceptron(rng, [3, 4, 4, 2], ["tanh", "gelu", "softplus"]), draw(rng, 1, 3), draw(rng, 1, 2)
    trace = backprop.forward(layers, x)
    lambdas, mus = backprop.multipliers(layers, trace, backprop.squared_error(trace.x[-1], y))
    for place, layer in enumerate(layers):
        rest = layers[place + 1 :]

        def from_u(u, layer=layer, rest=rest):
            return half_squares(output(rest, keras.activations.get(layer.activation)(u)), y)[0]

        np.testing.assert_allclose(lambdas[place], central(from_u, trace.u[place]), rtol=1e-6, atol=1e-9)
        from_x = central(lambda x, rest=rest: half_squares(output(rest, x), y)[0], trace.x[place + 1])
        np.testing.assert_allclose(mus[place + 1], from_x, rtol=1e-6, atol=1e-9)


# The convolution ---------------------------------------------------------------------------------------------------------------


@st.composite
def convolutions(draw_from):
    """Height, width, channels, filters, kernel height and width, stride, padding, samples."""
    H, W, C, F, FH, FW = (draw_from(st.integers(1, high)) for high in (7, 7, 3, 3, 4, 4))
    least = max(0, -((H - FH) // 2), -((W - FW) // 2))  # the kernel fits
    return (
        H,
        W,
        C,
        F,
        FH,
        FW,
        draw_from(st.integers(1, 3)),
        draw_from(st.integers(least, least + 2)),
        draw_from(st.integers(1, 3)),
    )


@settings(max_examples=80)
@given(case=convolutions(), bias=st.booleans(), seed=seeds)
def test_convolution_and_its_gradients_equal_the_tape(case, bias, seed):
    H, W, C, F, FH, FW, stride, padding, samples = case
    rng = np.random.default_rng(seed)
    x, kernel, b = draw(rng, samples, H, W, C), draw(rng, FH, FW, C, F), draw(rng, F) if bias else tf.zeros(F, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([x, kernel, b])
        padded = tf.pad(x, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
        u = tf.nn.conv2d(padded, kernel, stride, "VALID") + b
    slope = draw(rng, *u.shape)
    check_close(backprop.convolution(x, kernel, b if bias else None, stride=stride, padding=padding), u)
    mine = backprop.convolution_backward(x, kernel, slope, stride=stride, padding=padding)
    check_close(mine, tape.gradient(u, [x, kernel, b], slope))
    assert u.shape[1:3] == tuple(backprop.output_size(n, k, stride, padding) for n, k in ((H, FH), (W, FW)))


def test_convolution_is_the_sum_of_the_lecture():
    rng = np.random.default_rng(6)
    x, w, b, S, P = rng.normal(size=(5, 6, 2)), rng.normal(size=(3, 2, 2, 4)), rng.normal(size=4), 2, 1
    u = backprop.convolution(tf.constant(x[None]), tf.constant(w), tf.constant(b), stride=S, padding=P)[0]
    assert u.shape == (3, 4, 4)
    for i, j, f in np.ndindex(*u.shape):
        taps = itertools.product(range(3), range(2))
        inside = [(p, q) for p, q in taps if 0 <= i * S + p - P < 5 and 0 <= j * S + q - P < 6]
        expected = b[f] + sum(w[p, q, c, f] * x[i * S + p - P, j * S + q - P, c] for p, q in inside for c in range(2))
        np.testing.assert_allclose(u[i, j, f], expected, **EXACT)


def test_convolution_gradients_equal_central_differences():
    rng = np.random.default_rng(7)
    x, kernel, bias = draw(rng, 2, 5, 4, 2), draw(rng, 3, 2, 2, 3), draw(rng, 3)
    slope = draw(rng, *backprop.convolution(x, kernel, bias, stride=2, padding=1).shape)

    def f(x, kernel, bias):
        return tf.reduce_sum(slope * backprop.convolution(x, kernel, bias, stride=2, padding=1))

    dx, dkernel, dbias = backprop.convolution_backward(x, kernel, slope, stride=2, padding=1)
    np.testing.assert_allclose(dx, central(lambda a: f(a, kernel, bias), x), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(dkernel, central(lambda a: f(x, a, bias), kernel), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(dbias, central(lambda a: f(x, kernel, a), bias), rtol=1e-6, atol=1e-8)


def test_a_convolution_below_a_perceptron():
    """The multiplier of a perceptron's input goes on into what computed it."""
    rng = np.random.default_rng(8)
    image, kernel, bias, y = draw(rng, 4, 6, 6, 1), draw(rng, 3, 3, 1, 2), draw(rng, 2), draw(rng, 4, 3)
    layers = perceptron(rng, [4 * 4 * 2, 5, 3], ["tanh", "linear"])
    with tf.GradientTape() as tape:
        tape.watch([image, kernel, bias])
        u = backprop.convolution(image, kernel, bias)
        x = tf.nn.silu(u)
        f = tf.reduce_mean(half_squares(output(layers, tf.reshape(x, [4, -1])), y))
    trace = backprop.forward(layers, tf.reshape(x, [4, -1]))
    mu = backprop.multipliers(layers, trace, backprop.squared_error(trace.x[-1], y) / 4).x[0]
    lam = tf.reshape(mu, x.shape) * DERIVATIVES["silu"](u, x)
    check_close(backprop.convolution_backward(image, kernel, lam), tape.gradient(f, [image, kernel, bias]))


# Keras models ------------------------------------------------------------------------------------------------------------------


def mlp(shape=(8, 8, 1), outputs=3, **params):
    model = load("mlp")({**NETWORKS["mlp"].defaults(), **params}, shape, outputs)
    initialise(model, 1)
    for layer in model.layers:
        if isinstance(layer, FullyConnected) and layer.bias is not None:
            layer.bias.assign(np.random.default_rng(9).normal(size=layer.bias.shape))
    return model


@pytest.fixture
def precision():
    """Sets the precision of the networks that a test builds, and of their inputs."""
    before = keras.config.floatx(), keras.config.dtype_policy()

    def use(policy):
        keras.config.set_floatx("float64" if policy == "float64" else "float32")
        keras.config.set_dtype_policy(policy)

    yield use
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


def of_the_tape(model, x, y, loss, share):
    with tf.GradientTape() as tape:
        out = model(x, training=True)
        f = tf.reduce_sum(share * loss(out, y))
    return out, tape.gradient(f, model.trainable_variables)


def compiled(mode):
    return {"eager": lambda f: f, "graph": tf.function, "jit": tf.function(jit_compile=True)}[mode]


SHAPES = [{"depth": 0}, {"bias": False}, {"depth": 3, "width_1": 5, "width_2": 7, "width_3": 2}]
NETWORKS_OF_OURS = [({"activation": name}, "squared error") for name in ACTIVATIONS] + [
    (shape, "cross entropy") for shape in SHAPES
]


@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
@pytest.mark.parametrize(("params", "name"), NETWORKS_OF_OURS, ids=str)
def test_a_network_of_ours_has_the_gradients_of_the_tape(precision, params, name, mode):
    precision("float64")
    rng, model, (loss, slope) = np.random.default_rng(10), mlp(**params), LOSSES[name]
    x, y = draw(rng, 6, 8, 8, 1), distributions(draw(rng, 6, 3))
    share = tf.constant(rng.uniform(size=6))
    mine = compiled(mode)(lambda x, y, share: backprop.gradients(model, x, y, slope, share))(x, y, share)
    # XLA computes erf and exp of its own.
    check_close(mine, of_the_tape(model, x, y, loss, share), **({"rtol": 1e-9, "atol": 1e-12} if mode == "jit" else EXACT))


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_default_is_the_mean_of_the_lectures_loss(outputs):
    rng, model = np.random.default_rng(11), mlp((4,), outputs)
    x, y = (tf.constant(rng.normal(size=(5, n)), tf.float32) for n in (4, outputs))
    out, gradients = backprop.gradients(model, x, y)
    its = of_the_tape(model, x, y, half_squares, tf.fill([5], 0.2))
    check_close((out, gradients), its, rtol=1e-5, atol=1e-6)


def test_a_batch_of_any_size_uses_the_same_graph():
    rng, model, traces = np.random.default_rng(12), mlp((4,)), []

    @tf.function(input_signature=[tf.TensorSpec([None, 4]), tf.TensorSpec([None, 3])])
    def step(x, y):
        traces.append(1)
        return backprop.gradients(model, x, y)

    for samples in (1, 5, 8):
        x, y = (tf.constant(rng.normal(size=(samples, n)), tf.float32) for n in (4, 3))
        check_close(
            step(x, y), of_the_tape(model, x, y, half_squares, tf.fill([samples], tf.constant(1 / samples))), rtol=1e-5, atol=1e-6
        )
    assert len(traces) == 1


def test_mixed_precision_is_refused(precision):
    precision("mixed_float16")
    with pytest.raises(ValueError, match="in mixed precision"):
        backprop.gradients(mlp((4,)), np.ones((5, 4)), np.ones((5, 3)))


def test_every_variable_gets_its_own_gradient():
    model = mlp(bias=False, depth=3, width=4, width_1=4, width_2=4, width_3=4)
    _, gradients = backprop.gradients(model, np.ones((2, 8, 8, 1)), np.ones((2, 3)))
    assert [g.shape for g in gradients] == [v.shape for v in model.trainable_variables]


def functional(outputs_of):
    inputs = keras.Input((4,))
    return keras.Model(inputs, outputs_of(inputs))


def frozen(x):
    layer = FullyConnected(3)
    layer.trainable = False
    return layer(x)


def twice(x):
    layer = FullyConnected(4)
    return layer(layer(x))


REFUSED = {
    "dropout": (lambda x: Dropout(0.5)(FullyConnected(3)(x)), "Dropout"),
    "l1": (lambda x: FullyConnected(3, l1=0.0)(x), "with l1"),
    "l1 and l2": (lambda x: FullyConnected(3, l1=0.1, l2=0.1)(x), "with l1 and l2"),
    "normalisation": (lambda x: FullyConnected(3)(keras.layers.BatchNormalization()(x)), "BatchNormalization"),
    "another layer": (lambda x: keras.layers.Dense(3)(x), "Dense"),
    "frozen weights": (frozen, "not trainable"),
    "an input of higher rank": (lambda x: FullyConnected(3)(keras.layers.Reshape((2, 2))(x)), "more than rows"),
    "a sum of branches": (lambda x: keras.layers.Add()([x, FullyConnected(4)(x)]), "Add"),
    "two outputs": (lambda x: [FullyConnected(3)(x), FullyConnected(3)(x)], "branches"),
    "an inner output": (lambda x: [(inner := FullyConnected(3)(x)), FullyConnected(3)(inner)][::-1], "branches"),
    "a shared layer": (twice, "used twice"),
    "a shared inner layer": (lambda x: FullyConnected(3)(twice(x)), "used twice"),
}


@pytest.mark.parametrize(("outputs_of", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_the_formulas_do_not_cover_is_refused_with_what_is_allowed(outputs_of, reason):
    model = functional(outputs_of)
    with pytest.raises(ValueError, match=f"chain of Flatten and FullyConnected.*this network has .*{reason}"):
        backprop.gradients(model, np.ones((2, 4)), np.ones((2, 3)))


def test_a_saved_network_is_covered_as_the_one_it_was(tmp_path):
    model, x, y = mlp(), np.ones((2, 8, 8, 1)), np.ones((2, 3))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    check_close(backprop.gradients(loaded, x, y), backprop.gradients(model, x, y))


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "jit"])
@pytest.mark.parametrize(("slope", "rate"), [(backprop.squared_error, 0.1), (backprop.cross_entropy, 0.3)], ids=LOSSES)
def test_digits_are_learnt_with_these_formulas_alone(slope, rate, jit):
    digits, rng, B = load_digits(), np.random.default_rng(14), 50
    x, y = (digits.images[..., None] / 16).astype("float32"), np.eye(10, dtype="float32")[digits.target]
    trained, held_out = np.split(rng.permutation(len(x)), [1400])
    model = mlp(outputs=10, width=32, activation="tanh")
    initialise(model, 1)

    @tf.function(jit_compile=jit)
    def step(x, y):
        _, gradients = backprop.gradients(model, x, y, slope)
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            variable.assign(variable - rate * gradient)

    for _ in range(15):
        for batch in rng.permutation(trained).reshape(-1, B):
            step(x[batch], y[batch])
    assert np.mean(np.argmax(model(x[held_out]), axis=1) == digits.target[held_out]) > 0.9
