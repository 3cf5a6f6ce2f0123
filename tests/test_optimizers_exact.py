"""Every rule that needs gradients only equals its oracle in float64.

Oracles are TensorFlow's own kernels, else the paper's formula written out in NumPy.
50 steps; gradients from 1e-6 to 1e3, both signs, drawn anew at each step; equal to 1e-10 after every step.
"""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from optimizers import ALIASES, OPTIMIZERS, load, load_schedule
from optimizers.schedules import InverseSqrt

STEPS, SIZE = 50, 40
START = np.linspace(-2.0, 2.0, SIZE)
ELSEWHERE = {"armijo", "gradient_descent", "sag", "saga"}  # test_closure.py, test_row_memory.py


def gradients(seed=0):
    rng = np.random.default_rng(seed)
    return rng.choice([-1.0, 1.0], (STEPS, SIZE)) * 10.0 ** rng.uniform(-6, 3, (STEPS, SIZE))


@pytest.fixture(autouse=True)
def double_precision():
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


def ours(name, grads, **options):
    """The weights after every step, shape (steps, SIZE)."""
    optimizer, x, path = load(name)(**options), keras.Variable(START, dtype="float64"), []
    for g in grads:
        optimizer.apply([tf.constant(g)], [x])
        path.append(x.numpy())
    return np.stack(path)


RAW = tf.raw_ops


def adam_numbers(k):
    """Those of the Adam kernels, whose ε is the paper's "ε hat" (end of its section 2): ε √(1 - β₂ᵏ) gives algorithm 1."""
    beta_1, beta_2 = 0.9, 0.999
    rates = {"lr": 1e-3, "epsilon": 1e-8 * (1 - beta_2**k) ** 0.5}
    return {**rates, "beta1": beta_1, "beta2": beta_2, "beta1_power": beta_1**k, "beta2_power": beta_2**k}


# name → the kernel, what it calls the gradient, its slots with their start, its numbers at step k.
# The Adagrad kernel has no ε: an accumulator that starts at ε puts it inside the root.
KERNELS = {
    "sgd": (RAW.ResourceApplyGradientDescent, "delta", {}, lambda k: {"alpha": 0.01}),
    "momentum": (RAW.ResourceApplyKerasMomentum, "grad", {"accum": 0.0}, lambda k: {"lr": 0.01, "momentum": 0.9}),
    "adagrad": (RAW.ResourceApplyAdagrad, "grad", {"accum": 1e-7}, lambda k: {"lr": 0.01}),
    "rmsprop": (
        RAW.ResourceApplyRMSProp,
        "grad",
        {"ms": 0.0, "mom": 0.0},
        lambda k: {"lr": 1e-3, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7},
    ),
    "adadelta": (
        RAW.ResourceApplyAdadelta,
        "grad",
        {"accum": 0.0, "accum_update": 0.0},
        lambda k: {"lr": 1.0, "rho": 0.9, "epsilon": 1e-6},
    ),
    "adam": (RAW.ResourceApplyAdam, "grad", {"m": 0.0, "v": 0.0}, adam_numbers),
    "amsgrad": (RAW.ResourceApplyAdamWithAmsgrad, "grad", {"m": 0.0, "v": 0.0, "vhat": 0.0}, adam_numbers),
    "adamax": (
        RAW.ResourceApplyAdaMax,
        "grad",
        {"m": 0.0, "v": 0.0},
        lambda k: {"lr": 2e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "beta1_power": 0.9**k},
    ),
    "centered_rmsprop": (
        RAW.ResourceApplyCenteredRMSProp,
        "grad",
        {"mg": 0.0, "ms": 0.0, "mom": 0.0},
        lambda k: {"lr": 1e-3, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7},
    ),
    "proximal_adagrad": (RAW.ResourceApplyProximalAdagrad, "grad", {"accum": 0.1}, lambda k: {"lr": 0.01, "l1": 0.0, "l2": 0.0}),
}

# The rules with a center, which the kernels have at zero. TensorFlow's Ftrl has no β, and its l2 is half of the paper's λ₂:
# (λ₂ + β/α)/2 gives algorithm 1.
CENTERED = {
    "adagrad_da": (
        RAW.ResourceApplyAdagradDA,
        "grad",
        {"gradient_accumulator": 0.0, "gradient_squared_accumulator": 0.1},
        lambda k: {"lr": 0.01, "l1": 0.0, "l2": 0.0, "global_step": np.int64(k)},
    ),
    "ftrl": (
        RAW.ResourceApplyFtrl,
        "grad",
        {"accum": 0.1, "linear": 0.0},
        lambda k: {"lr": 0.01, "l1": 0.0, "l2": 0.0, "lr_power": -0.5},
    ),
}


def kernel(name, grads, start=START, **changed):
    """The weights after every step of a TensorFlow kernel, shape (STEPS, SIZE), with the numbers `changed`."""
    apply, gradient, starts, numbers = {**KERNELS, **CENTERED}[name]
    x, path = tf.Variable(start), []
    slots = {slot: tf.Variable(np.full(SIZE, start)) for slot, start in starts.items()}
    for k, g in enumerate(grads, start=1):
        constants = {number: tf.constant(np.asarray(value)) for number, value in {**numbers(k), **changed}.items()}
        handles = {slot: variable.handle for slot, variable in slots.items()}
        apply(var=x.handle, **handles, **constants, **{gradient: tf.constant(g)})
        path.append(x.numpy())
    return np.stack(path)


@pytest.mark.parametrize("name", KERNELS)
def test_defaults_equal_the_kernel(name):
    np.testing.assert_allclose(ours(name, gradients()), kernel(name, gradients()), rtol=1e-10, atol=1e-10)


def test_centered_rmsprop_with_momentum_equals_the_kernel():
    path = ours("centered_rmsprop", gradients(), momentum=0.8)
    np.testing.assert_allclose(path, kernel("centered_rmsprop", gradients(), momentum=0.8), rtol=1e-10, atol=1e-10)


def test_centered_rmsprop_survives_a_gradient_that_does_not_change():
    path = ours("centered_rmsprop", np.full((400, SIZE), 1e3), rho=0.5, epsilon=1e-10)
    assert np.all(np.diff(path, axis=0) < 0)


def adamw_by_loshchilov(grads, beta_1=0.9, beta_2=0.999, rate=1e-3, epsilon=1e-8, decay=0.004):
    x, m, v, path = START.copy(), np.zeros(SIZE), np.zeros(SIZE), []
    for k, g in enumerate(grads, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        x = x - rate * (m / (1 - beta_1**k) / (np.sqrt(v / (1 - beta_2**k)) + epsilon) + decay * x)
        path.append(x)
    return np.stack(path)


def test_adamw_equals_loshchilov_and_hutter():
    np.testing.assert_allclose(ours("adamw", gradients()), adamw_by_loshchilov(gradients()), rtol=1e-10, atol=1e-10)


def nadamw_by_algoperf(grads, beta_1=0.9, beta_2=0.999, rate=1e-3, epsilon=1e-8, decay=0.004):
    x, m, v, path = START.copy(), np.zeros(SIZE), np.zeros(SIZE), []
    for k, g in enumerate(grads, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        m_hat = beta_1 * m / (1 - beta_1 ** (k + 1)) + (1 - beta_1) * g / (1 - beta_1**k)
        x = x - rate * (m_hat / (np.sqrt(v / (1 - beta_2**k)) + epsilon) + decay * x)
        path.append(x)
    return np.stack(path)


def test_nadamw_equals_algoperf():
    np.testing.assert_allclose(ours("nadamw", gradients()), nadamw_by_algoperf(gradients()), rtol=1e-10, atol=1e-10)


def test_proximal_adagrad_equals_the_kernel_and_finds_zeros():
    path = ours("proximal_adagrad", gradients(), prox_l1=10.0, prox_l2=0.5)
    np.testing.assert_allclose(path, kernel("proximal_adagrad", gradients(), l1=10.0, l2=0.5), rtol=1e-10, atol=1e-10)
    assert np.any(path == 0)


PROX = {"prox_l1": 1.0, "prox_l2": 0.5}
CENTERED_CASES = [
    ("adagrad_da", {}, {}),
    ("adagrad_da", PROX, {"l1": 1.0, "l2": 0.5}),
    ("ftrl", {}, {}),
    ("ftrl", {**PROX, "beta": 0.3}, {"l1": 1.0, "l2": (0.5 + 0.3 / 0.01) / 2}),
]


@pytest.mark.parametrize(("name", "options", "changed"), CENTERED_CASES)
def test_a_rule_with_a_center_equals_the_kernel_around_it(name, options, changed):
    zero = ours(name, gradients(), center="zero", **options)
    np.testing.assert_allclose(zero, kernel(name, gradients(), **changed), rtol=1e-10, atol=1e-10)
    assert np.any(zero == 0) == bool(options)
    initial = ours(name, gradients(), **options)
    expected = START + kernel(name, gradients(), start=np.zeros(SIZE), **changed)
    np.testing.assert_allclose(initial, expected, rtol=1e-10, atol=1e-10)


def test_ftrl_stands_still_at_rate_zero():
    optimizer, x = load("ftrl")(), keras.Variable(START, dtype="float64")
    optimizer.apply([tf.constant(gradients()[0])], [x])
    before = x.numpy()
    optimizer.learning_rate = 0.0
    for g in gradients()[1:]:
        optimizer.apply([tf.constant(g)], [x])
    np.testing.assert_allclose(x.numpy(), before, rtol=1e-12)


@pytest.mark.parametrize("name", CENTERED)
def test_a_center_is_kept_in_the_config_and_checked(name):
    again = load(name).from_config(load(name)(center="zero").get_config())
    assert again.center == "zero"
    assert load(name)().get_config()["center"] == "initial"
    with pytest.raises(ValueError, match="center must be one of initial, zero; got 'mean'"):
        load(name)(center="mean")
    with pytest.raises(ValueError, match="weight_decay would be forgotten"):
        load(name)(center="zero", weight_decay=0.1)


def lion_by_chen(grads, beta_1=0.9, beta_2=0.99, rate=3e-4):
    x, m, path = START.copy(), np.zeros(SIZE), []
    for g in grads:
        x = x - rate * np.sign(beta_1 * m + (1 - beta_1) * g)
        m = beta_2 * m + (1 - beta_2) * g
        path.append(x)
    return np.stack(path)


@pytest.mark.parametrize("betas", [{}, {"beta_1": 0.5, "beta_2": 0.95}], ids=["defaults", "others"])
def test_lion_equals_chen(betas):
    np.testing.assert_allclose(ours("lion", gradients(), **betas), lion_by_chen(gradients(), **betas), rtol=1e-10, atol=1e-10)


def lamb_by_you(grads, beta_1=0.9, beta_2=0.999, rate=1e-3, epsilon=1e-8, decay=0.01):
    x, m, v, path = START.copy(), np.zeros(SIZE), np.zeros(SIZE), []
    for k, g in enumerate(grads, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        r = m / (1 - beta_1**k) / (np.sqrt(v / (1 - beta_2**k)) + epsilon) + decay * x
        x = x - rate * np.linalg.norm(x) / np.linalg.norm(r) * r
        path.append(x)
    return np.stack(path)


@pytest.mark.parametrize("decay", [0.01, 0.0, 0.5])
def test_lamb_equals_you(decay):
    path = ours("lamb", gradients(), weight_decay=decay)
    np.testing.assert_allclose(path, lamb_by_you(gradients(), decay=decay), rtol=1e-10, atol=1e-10)


def test_lamb_takes_one_for_the_ratio_where_a_norm_is_zero():
    zero, one = (keras.Variable(np.full(4, value), dtype="float64") for value in (0.0, 1.0))
    load("lamb")(0.1, weight_decay=0.0).apply([tf.fill((4,), tf.constant(2.0, tf.float64)), tf.zeros(4, tf.float64)], [zero, one])
    np.testing.assert_allclose(zero.numpy(), -0.1)
    np.testing.assert_array_equal(one.numpy(), 1.0)


def test_lamb_leaves_out_what_is_excluded_from_decay():
    kept, decayed = (keras.Variable(START, dtype="float64", name=name) for name in ("kept", "decayed"))
    optimizer = load("lamb")(weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[kept])
    for g in gradients():
        optimizer.apply([tf.constant(g)] * 2, [kept, decayed])
    np.testing.assert_allclose(kept.numpy(), lamb_by_you(gradients(), decay=0.0)[-1], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(decayed.numpy(), lamb_by_you(gradients(), decay=0.5)[-1], rtol=1e-10, atol=1e-10)


def ademamix_by_pagliardini(grads, alpha, beta_3, warmup):
    beta_1, beta_2, rate, epsilon = 0.9, 0.999, 1e-3, 1e-8
    x, m, s, v, path = START.copy(), np.zeros(SIZE), np.zeros(SIZE), np.zeros(SIZE), []
    log_start, log_end = np.log(beta_1), np.log(beta_3)
    for k, g in enumerate(grads, start=1):
        done = min(k / warmup, 1.0)
        beta_3k = min(np.exp(log_start * log_end / ((1 - done) * log_end + done * log_start)), beta_3)
        m = beta_1 * m + (1 - beta_1) * g
        s = beta_3k * s + (1 - beta_3k) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        direction = m / (1 - beta_1**k) + min(k * alpha / warmup, alpha) * s
        x = x - rate * direction / (np.sqrt(v / (1 - beta_2**k)) + epsilon)
        path.append(x)
    return np.stack(path)


@pytest.mark.parametrize(("alpha", "beta_3", "warmup"), [(5.0, 0.9999, 1000.0), (8.0, 0.99, 20.0), (2.0, 0.5, 1.0)])
def test_ademamix_equals_pagliardini(alpha, beta_3, warmup):
    path = ours("ademamix", gradients(), alpha=alpha, beta_3=beta_3, warmup_steps=warmup)
    expected = ademamix_by_pagliardini(gradients(), alpha, beta_3, warmup)
    np.testing.assert_allclose(path, expected, rtol=1e-10, atol=1e-10)


def nadam_by_dozat(grads, psi, beta_1=0.9, beta_2=0.999, rate=1e-3, epsilon=1e-8):
    x, m, v, path = START.copy(), np.zeros(SIZE), np.zeros(SIZE), []
    mu = [beta_1 * (1 - 0.5 * 0.96 ** (psi * i)) for i in range(1, STEPS + 2)]
    for k, g in enumerate(grads, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        g_hat, m_hat = g / (1 - np.prod(mu[:k])), m / (1 - np.prod(mu[: k + 1]))
        x = x - rate * ((1 - mu[k - 1]) * g_hat + mu[k] * m_hat) / (np.sqrt(v / (1 - beta_2**k)) + epsilon)
        path.append(x)
    return np.stack(path)


@pytest.mark.parametrize("psi", [0.004, 0.3, 1.0])
def test_nadam_equals_dozat(psi):
    path = ours("nadam", gradients(), momentum_decay=psi)
    np.testing.assert_allclose(path, nadam_by_dozat(gradients(), psi), rtol=1e-10, atol=1e-10)


def test_nadam_with_decay_1_is_keras_nadam():
    x, peer = keras.Variable(START, dtype="float64"), keras.optimizers.Nadam(1e-3, epsilon=1e-8)
    for g in gradients():
        peer.apply([tf.constant(g)], [x])
    path = ours("nadam", gradients(), momentum_decay=1.0)
    np.testing.assert_allclose(path[-1], x.numpy(), rtol=1e-7)


LECTURE = {"schedule": "lecture"}, lambda k: (k + 2) / (k + 5)
CAPPED = {"schedule": "lecture", "momentum": 0.7}, lambda k: min((k + 2) / (k + 5), 0.7)
CONSTANT = {"schedule": "constant", "momentum": 0.8}, lambda k: 0.8
T = [1.0, 1.0]
while len(T) < STEPS + 2:
    T.append((1 + np.sqrt(1 + 4 * T[-1] ** 2)) / 2)
FISTA = {"schedule": "fista"}, lambda k: (T[k] - 1) / T[k + 1]
STIFFNESS = np.geomspace(0.1, 10.0, SIZE)


def nesterov_by_two_points(mu, rate=0.05):
    """The lecture's original form on ½ Σ stiffness x²: y = (1+μ_k) x^k - μ_k x^{k-1}; x^{k+1} = y - α ∇f(y)."""
    before, x, path = START, START, []
    for k in range(STEPS):
        y = (1 + mu(k)) * x - mu(k) * before
        before, x = x, y - rate * STIFFNESS * y
        path.append(x)
    return np.stack(path)


@pytest.mark.parametrize(("options", "mu"), [LECTURE, CAPPED, CONSTANT, FISTA], ids=["lecture", "capped", "constant", "fista"])
def test_nesterov_equals_the_two_point_form(options, mu):
    optimizer, x, path = load("nesterov")(0.05, **options), keras.Variable(START, dtype="float64"), []
    for _ in range(STEPS):
        optimizer.apply([STIFFNESS * x.value], [x])
        optimizer.swap_to_evaluation()
        path.append(x.numpy())
        optimizer.swap_to_training()
    np.testing.assert_allclose(np.stack(path), nesterov_by_two_points(mu), rtol=1e-10, atol=1e-13)


def test_nesterov_follows_a_momentum_that_changes():
    optimizer, x = load("nesterov")(0.05, schedule="constant"), keras.Variable(START, dtype="float64")
    ahead = [0.9 if k < 20 else 0.5 for k in range(STEPS)]
    for k in range(STEPS):
        optimizer.set_hyper("momentum", ahead[min(k + 1, STEPS - 1)])
        optimizer.apply([STIFFNESS * x.value], [x])
    optimizer.swap_to_evaluation()
    np.testing.assert_allclose(x.numpy(), nesterov_by_two_points(lambda k: ahead[k])[-1], rtol=1e-10, atol=1e-13)


# Rules of whole weights, which see a matrix as one: the papers' formulas with a copy of each point

SHAPES = [(5, 5), (2, 1, 2, 3), (6,), (4, 3), (3, 4)]


def starts():
    rng = np.random.default_rng(5)
    return [rng.normal(size=shape) for shape in SHAPES]


def matrix_gradients(*, one_size=False):
    """Each number of its own size, 1e-6 to 1e3; with `one_size` all numbers of a step of one size."""
    rng = np.random.default_rng(6)
    sizes = 10.0 ** rng.uniform(-6, 3, STEPS)
    return [
        [rng.normal(size=shape) * (size if one_size else 10.0 ** rng.uniform(-6, 3, shape)) for shape in SHAPES] for size in sizes
    ]


def ours_on_matrices(optimizer, steps):
    """The points of all weights to be evaluated, after every step."""
    variables, path = [keras.Variable(start, dtype="float64") for start in starts()], []
    for grads in steps:
        optimizer.apply([tf.constant(g) for g in grads], variables)
        optimizer.swap_to_evaluation()
        path.append([x.numpy() for x in variables])
        optimizer.swap_to_training()
    return path


def assert_equal_paths(path, expected):
    for step, ours_then in enumerate(path):
        for ours_now, theirs in zip(ours_then, expected[step], strict=True):
            np.testing.assert_allclose(ours_now, theirs, rtol=1e-10, atol=1e-10, err_msg=f"step {step + 1}")


def averages_by_defazio(directions, rates, beta, power, decay):
    """x after every step; `directions` gives a weight's direction of step k from its gradients of all steps."""
    paths = []
    for index, start in enumerate(starts()):
        x, z, total, largest, path = start.copy(), start.copy(), 0.0, 0.0, []
        for k, rate in enumerate(rates, start=1):
            y = (1 - beta) * z + beta * x
            z = z - rate * (directions(index, k) + decay * y)
            largest = max(largest, rate)
            weight = k**power * largest**2
            total += weight
            x = (1 - weight / total) * x + weight / total * z
            path.append(x)
        paths.append(path)
    return list(zip(*paths, strict=True))


def warm_rates(rate):
    return [rate * min(k / 10, 1.0) * (1 + np.cos(np.pi * max(k - 11, 0) / 40)) / 2 for k in range(1, STEPS + 1)]


@pytest.mark.parametrize(("beta", "power", "decay"), [(0.9, 0.0, 0.0), (0.6, 1.5, 0.1), (1.0, 0.0, 0.1), (0.0, 2.0, 0.0)])
def test_schedule_free_sgd_equals_defazio(beta, power, decay):
    schedule = load_schedule("cosine")(0.1, STEPS, warmup=0.2)
    optimizer = load("schedule_free_sgd")(schedule, momentum=beta, averaging_power=power, weight_decay=decay)
    steps = matrix_gradients()
    expected = averages_by_defazio(lambda index, k: steps[k - 1][index], warm_rates(0.1), beta, power, decay)
    assert_equal_paths(ours_on_matrices(optimizer, steps), expected)


@pytest.mark.parametrize(("beta", "power", "decay"), [(0.9, 0.0, 0.004), (0.6, 1.5, 0.1)])
def test_schedule_free_adamw_equals_defazio(beta, power, decay):
    beta_2, epsilon = 0.99, 1e-8
    schedule = load_schedule("cosine")(0.01, STEPS, warmup=0.2)
    options = {"beta_1": beta, "beta_2": beta_2, "averaging_power": power, "weight_decay": decay}
    steps = matrix_gradients()

    def direction(index, k):
        v = sum((1 - beta_2) * beta_2 ** (k - i) * steps[i - 1][index] ** 2 for i in range(1, k + 1))
        return steps[k - 1][index] / (np.sqrt(v / (1 - beta_2**k)) + epsilon)

    expected = averages_by_defazio(direction, warm_rates(0.01), beta, power, decay)
    assert_equal_paths(ours_on_matrices(load("schedule_free_adamw")(schedule, **options), steps), expected)


def test_schedule_free_takes_its_gradient_at_y_and_a_changed_momentum_moves_y_only():
    optimizer, variable = load("schedule_free_sgd")(0.05), keras.Variable(START, dtype="float64")
    x, z = START.copy(), START.copy()
    for k in range(1, STEPS + 1):
        beta = 0.9 if k <= 20 else 0.5
        np.testing.assert_allclose(variable.numpy(), (1 - beta) * z + beta * x, rtol=1e-10, atol=1e-13)
        z = z - 0.05 * STIFFNESS * ((1 - beta) * z + beta * x)
        x = (1 - 1 / k) * x + z / k
        optimizer.set_hyper("momentum", 0.9 if k < 20 else 0.5)
        optimizer.apply([STIFFNESS * variable.value], [variable])
    optimizer.swap_to_evaluation()
    np.testing.assert_allclose(variable.numpy(), x, rtol=1e-10, atol=1e-13)


def prodigy_by_mishchenko(steps, rate, d0, d_coef, decay):
    beta_1, beta_2, epsilon = 0.9, 0.999, 1e-8
    x, x0, d, r, path = starts(), starts(), d0, 0.0, []
    m, v, s = ([np.zeros(shape) for shape in SHAPES] for _ in range(3))
    for grads in steps:
        product = sum(np.sum(g * (a - b)) for g, a, b in zip(grads, x0, x, strict=True))
        m = [beta_1 * a + (1 - beta_1) * d * g for a, g in zip(m, grads, strict=True)]
        v = [beta_2 * a + (1 - beta_2) * d**2 * g**2 for a, g in zip(v, grads, strict=True)]
        r = np.sqrt(beta_2) * r + (1 - np.sqrt(beta_2)) * rate * d**2 * product
        s = [np.sqrt(beta_2) * a + (1 - np.sqrt(beta_2)) * rate * d**2 * g for a, g in zip(s, grads, strict=True)]
        x = [w - rate * d * (a / (np.sqrt(b) + d * epsilon) + decay * w) for w, a, b in zip(x, m, v, strict=True)]
        d = max(d, d_coef * r / sum(np.abs(a).sum() for a in s))
        path.append(x)
    return path, d


@pytest.mark.parametrize(("rate", "d0", "d_coef", "decay"), [(1.0, 1e-6, 1.0, 0.0), (0.5, 1e-2, 0.5, 0.1)])
def test_prodigy_equals_mishchenko_and_its_d_grows(rate, d0, d_coef, decay):
    steps = [[np.abs(g) for g in grads] for grads in matrix_gradients()]
    expected, d = prodigy_by_mishchenko(steps, rate, d0, d_coef, decay)
    optimizer = load("prodigy")(rate, d0=d0, d_coef=d_coef, weight_decay=decay)
    assert_equal_paths(ours_on_matrices(optimizer, steps), expected)
    np.testing.assert_allclose(float(optimizer._carried["d"]), d, rtol=1e-10)
    assert d > 2 * d0


def adam_step(g, m, v, k, beta_1, beta_2, epsilon=1e-8):
    """Adam's next averages, and its step without the rate."""
    m = beta_1 * m + (1 - beta_1) * g
    v = beta_2 * v + (1 - beta_2) * g**2
    return m, v, m / (1 - beta_1**k) / (np.sqrt(v / (1 - beta_2**k)) + epsilon)


def newton_schulz_by_jordan(matrix):
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def muon_by_jordan(steps, adam, rate=1e-3, momentum=0.95, decay=0.004):
    """The weights whose index is in `adam` by AdamW."""
    x, path = starts(), []
    m, v = [np.zeros(shape) for shape in SHAPES], [np.zeros(shape) for shape in SHAPES]
    for k, grads in enumerate(steps, start=1):
        for i, g in enumerate(grads):
            if i in adam:
                m[i], v[i], step = adam_step(g, m[i], v[i], k, 0.9, 0.999)
            else:
                m[i] = momentum * m[i] + g
                update = (g + momentum * m[i]).reshape(-1, g.shape[-1])
                step = 0.2 * max(update.shape) ** 0.5 * newton_schulz_by_jordan(update).reshape(g.shape)
            x[i] = x[i] - rate * (step + decay * x[i])
        path.append(list(x))
    return path


@pytest.mark.parametrize(("exclude", "adam"), [(None, {2, 4}), ((), {2}), (("variable",), {0, 1, 2, 3, 4})])
def test_muon_equals_jordan(exclude, adam):
    optimizer = load("muon")(exclude=exclude)
    assert_equal_paths(ours_on_matrices(optimizer, matrix_gradients()), muon_by_jordan(matrix_gradients(), adam))
    matrices = [len(slot.shape) == 0 for slot in optimizer._slots["mean_square"]]
    assert matrices == [i not in adam for i in range(len(SHAPES))]


def test_muon_on_a_matrix_is_keras_muon():
    x, y = (keras.Variable(starts()[3], dtype="float64") for _ in range(2))
    peer, optimizer = keras.optimizers.Muon(), load("muon")()
    for grads in matrix_gradients():
        optimizer.apply([tf.constant(grads[3])], [x])
        peer.apply([tf.constant(grads[3])], [y])
    np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-6)


def soap_by_vyas(steps, frequency, longest, rate=3e-3, beta_1=0.95, beta_2=0.95, decay=0.01):
    path = []
    for index, start in enumerate(starts()):
        x = start.reshape(-1, start.shape[-1])
        grads = [step[index].reshape(x.shape) for step in steps]
        matrix, (n, m) = start.ndim >= 2, x.shape
        left, right = matrix and n <= longest, matrix and m <= longest
        mean, square, points = np.zeros(x.shape), np.zeros(x.shape), []
        statistics, bases = [np.zeros((n, n)), np.zeros((m, m))], [np.eye(n), np.eye(m)]
        for k, g in enumerate(grads, start=1):
            x = x * (1 - rate * decay)
            preconditioned = left or right
            if not preconditioned or k > 1:
                q_left, q_right = bases
                done = k - 1 if preconditioned else k
                mean = beta_1 * mean + (1 - beta_1) * g
                square = beta_2 * square + (1 - beta_2) * (q_left.T @ g @ q_right) ** 2
                hat = q_left.T @ mean @ q_right / (1 - beta_1**done)
                x = x - rate * q_left @ (hat / (np.sqrt(square / (1 - beta_2**done)) + 1e-8)) @ q_right.T
            for side, (kept, outer) in enumerate([(left, g @ g.T), (right, g.T @ g)]):
                statistics[side] = beta_2 * statistics[side] + (1 - beta_2) * outer
                if kept and k == 1:
                    bases[side] = np.linalg.eigh(statistics[side])[1][:, ::-1]
                elif kept and (k - 1) % frequency == 0:
                    bases[side] = np.linalg.qr(statistics[side] @ bases[side])[0]
            points.append(x.reshape(start.shape))
        path.append(points)
    return list(zip(*path, strict=True))


@pytest.mark.parametrize(("frequency", "longest"), [(10, 1024), (3, 1024), (1, 3), (10, 4), (10, 0)])
def test_soap_equals_vyas(frequency, longest):
    steps = matrix_gradients(one_size=True)
    optimizer = load("soap")(precondition_frequency=frequency, max_precond_dim=longest)
    assert_equal_paths(ours_on_matrices(optimizer, steps), soap_by_vyas(steps, frequency, longest))


@pytest.mark.parametrize("longest", [1024, 3])
def test_the_first_step_of_soap_moves_a_matrix_by_decay_alone(longest):
    optimizer = load("soap")(max_precond_dim=longest)
    for start, x in zip(starts(), ours_on_matrices(optimizer, matrix_gradients()[:1])[0], strict=True):
        moved = not np.allclose(x, start * (1 - 3e-3 * 0.01), rtol=1e-14, atol=0)
        assert moved == (start.ndim < 2 or min(start.size // start.shape[-1], start.shape[-1]) > longest)


def lookahead_by_zhang(steps, every, pull, rate=1e-3, decay=0.1):
    slow, fast, path = starts(), starts(), []
    m, v = [np.zeros(shape) for shape in SHAPES], [np.zeros(shape) for shape in SHAPES]
    for k, grads in enumerate(steps, start=1):
        for i, g in enumerate(grads):
            m[i], v[i], step = adam_step(g, m[i], v[i], k, 0.9, 0.999)
            fast[i] = fast[i] - rate * (step + decay * fast[i])
            if k % every == 0:
                slow[i] = slow[i] + pull * (fast[i] - slow[i])
                fast[i] = slow[i]
        path.append(list(slow))
    return path


@pytest.mark.parametrize(("every", "pull"), [(6, 0.5), (5, 0.8), (1, 0.3)])
def test_lookahead_around_adam_equals_zhang(every, pull):
    path = ours_on_matrices(load("lookahead:adam")(every=every, pull=pull, weight_decay=0.1), matrix_gradients())
    assert_equal_paths(path, lookahead_by_zhang(matrix_gradients(), every, pull))


@pytest.mark.parametrize("method", [name for name, row in OPTIMIZERS.items() if row.requires == {"gradient"}])
def test_lookahead_that_never_looks_back_is_the_rule_itself(method):
    optimizer, alone = load(f"lookahead:{method}")(every=1, pull=1.0, weight_decay=0.1), load(method)(weight_decay=0.1)
    steps = matrix_gradients(one_size=True)[:20]
    assert_equal_paths(ours_on_matrices(optimizer, steps), ours_on_matrices(alone, steps))


@pytest.mark.parametrize("name", [name for name in [*OPTIMIZERS, "lookahead:adam"] if not load(name).decays_first])
def test_what_is_excluded_from_decay_does_not_decay(name):
    variables = [keras.Variable(start, dtype="float64") for start in (START, START)]
    optimizer, never = load(name)(weight_decay=0.1), load(name)(weight_decay=0.0)
    optimizer.exclude_from_weight_decay(var_list=variables[:1])
    optimizer.apply([tf.constant(gradients()[0])] * 2, variables)
    expected = keras.Variable(START, dtype="float64")
    never.apply([tf.constant(gradients()[0])], [expected])
    np.testing.assert_array_equal(variables[0].numpy(), expected.numpy())
    assert not np.array_equal(variables[1].numpy(), expected.numpy())


OF_MATRICES = {"schedule_free_sgd", "schedule_free_adamw", "prodigy", "muon", "soap"}


def test_every_row_has_an_oracle():
    in_numpy = {"ademamix", "adamw", "lamb", "lion", "nadam", "nadamw", "nesterov"}
    assert set(OPTIMIZERS) == {*KERNELS, *CENTERED, *in_numpy, *OF_MATRICES, *ELSEWHERE}


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in ELSEWHERE])
def test_decay_is_decoupled(name):
    if not load(name).decays_first:
        pytest.skip("it decays inside its formula, which its own test against the paper holds")
    x = ours(name, gradients()[:1], weight_decay=0.1)[0]
    rate = OPTIMIZERS[name].learning_rate.default
    np.testing.assert_allclose(x, ours(name, gradients()[:1], weight_decay=0.0)[0] - rate * 0.1 * START, rtol=1e-10, atol=1e-12)


def test_hyper_parameters_are_exact_in_float64():
    optimizer = load("adam")(0.1, beta_1=0.7)
    assert float(optimizer.learning_rate) == 0.1
    assert float(optimizer.hyper("beta_1")) == 0.7
    assert float(load("sgd")(lambda: 0.1)._numbers()["learning_rate"]) == 0.1


# Other systems' versions


def adam_with_hat(g, state, k, rate=1e-3, epsilon=1e-8):
    m, v = (0.9 * state[0] + 0.1 * g, 0.999 * state[1] + 0.001 * g * g) if k > 1 else (0.1 * g, 0.001 * g * g)
    return rate * np.sqrt(1 - 0.999**k) / (1 - 0.9**k) * m / (np.sqrt(v) + epsilon), (m, v)


def squares_outside(g, state, k, rho, rate, epsilon):
    """AdaGrad (`rho` None) and RMSProp as Caffe's solvers have them."""
    before = state[0] if k > 1 else np.zeros_like(g)
    total = before + g * g if rho is None else rho * before + (1 - rho) * g * g
    return rate * g / (np.sqrt(total) + epsilon), (total,)


def rmsprop_from_one(g, state, k, centered):
    square, mean = state if k > 1 else (np.ones_like(g), np.zeros_like(g))
    square, mean = 0.9 * square + 0.1 * g * g, 0.9 * mean + 0.1 * g
    return 1e-3 * g / np.sqrt(square - (mean**2 if centered else 0) + 1e-10), (square, mean)


VERSIONS = {
    **dict.fromkeys(["caffe:Adam", "tf:Adam", "lasagne:adam"], adam_with_hat),
    "caffe:AdaGrad": functools.partial(squares_outside, rho=None, rate=0.01, epsilon=1e-8),
    "caffe:RMSProp": functools.partial(squares_outside, rho=0.99, rate=0.01, epsilon=1e-8),
    "tf:RMSProp": functools.partial(rmsprop_from_one, centered=False),
    "tf:CenteredRMSProp": functools.partial(rmsprop_from_one, centered=True),
}


@pytest.mark.parametrize("name", VERSIONS)
def test_another_systems_version_equals_its_source(name):
    grads, x, state = gradients(), START.copy(), None
    expected = []
    for k, g in enumerate(grads, 1):
        step, state = VERSIONS[name](g, state, k)
        x = x - step
        expected.append(x)
    np.testing.assert_allclose(ours(name, grads), np.stack(expected), rtol=1e-10, atol=1e-10)


def test_tensorflows_first_adagrad_is_its_kernel():
    x, total = tf.Variable(START), tf.Variable(np.full_like(START, 0.1))
    grads, expected = gradients(), []
    for g in grads:
        tf.raw_ops.ResourceApplyAdagrad(var=x.handle, accum=total.handle, lr=tf.constant(0.01, tf.float64), grad=g)
        expected.append(x.numpy())
    np.testing.assert_allclose(ours("tf:Adagrad", grads), np.stack(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ALIASES)
def test_every_alias_has_the_defaults_it_states_and_a_name_of_its_own(name):
    alias, rule = ALIASES[name], load(name)()
    config = rule.get_config()
    assert config == {**config, **alias.hyper, **alias.settled, "learning_rate": alias.learning_rate}
    again = keras.optimizers.deserialize(keras.optimizers.serialize(rule))
    assert type(again) is load(name) is not load(alias.method)
    for option in alias.settled:
        with pytest.raises(ValueError, match=f"{option} must be one of {alias.settled[option]}; got 'other'"):
            load(name)(**{option: "other"})


# Averages of iterates


@pytest.mark.parametrize(("powers", "weight"), [((0, 0), lambda k, a: 1.0), ((1, 0), lambda k, a: k), ((0, 1), lambda k, a: a)])
def test_an_average_is_that_of_the_iterates(powers, weight):
    rates = [0.1 / np.sqrt(k) for k in range(1, STEPS + 1)]
    options = {"step_power": float(powers[0]), "rate_power": float(powers[1])}
    rule, x = load("averaged:sgd")(InverseSqrt(0.1, 1), **options), keras.Variable(START, dtype="float64")
    at, weighted, total = START.copy(), 0.0, 0.0
    for k, (g, rate) in enumerate(zip(gradients(), rates, strict=True), 1):
        rule.apply([tf.constant(g)], [x])
        at = at - rate * g
        weighted, total = weighted + weight(k, rate) * at, total + weight(k, rate)
        np.testing.assert_allclose(x.numpy(), at, rtol=1e-10, atol=1e-10)
        rule.swap_to_evaluation()
        np.testing.assert_allclose(x.numpy(), weighted / total, rtol=1e-10, atol=1e-10)
        rule.swap_to_training()
