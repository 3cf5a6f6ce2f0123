"""Every rule that needs gradients only equals its oracle in float64.

Oracles are TensorFlow's own kernels, else the paper's formula written out in NumPy.
50 steps; gradients from 1e-6 to 1e3, both signs, drawn anew at each step; equal to 1e-10 after every step.
"""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from optimizers import ALIASES, OPTIMIZERS, load
from optimizers.schedules import InverseSqrt

pytestmark = pytest.mark.usefixtures("double_precision")
STEPS, SIZE = 50, 40
START = np.linspace(-2.0, 2.0, SIZE)
ELSEWHERE = {"armijo", "gradient_descent", "sag", "saga"}  # test_closure.py, test_row_memory.py
OF_MATRICES = {"schedule_free_sgd", "schedule_free_adamw", "prodigy", "muon", "soap"}  # test_optimizers_matrices.py


def gradients(seed=0):
    rng = np.random.default_rng(seed)
    return rng.choice([-1.0, 1.0], (STEPS, SIZE)) * 10.0 ** rng.uniform(-6, 3, (STEPS, SIZE))


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
