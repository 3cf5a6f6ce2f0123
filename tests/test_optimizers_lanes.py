"""Lanes of every rule: each is a run of its own."""

import keras
import keras.src
import numpy as np
import pytest
import tensorflow as tf

from optimizers import OPTIMIZERS, find, load
from optimizers.several import several
from tests.optimizer_steps import (
    MIXED,
    MIXED_CASES,
    ROWS,
    START,
    applied,
    assert_close,
    assert_same,
    quick,
    random_gradients,
    values,
    weights,
)

K = 3
CONVOLUTION = np.linspace(-1.0, 1.0, 12, dtype="float32").reshape(2, 1, 2, 3)
LANED = [
    *(np.stack([value, 0.5 * value, value - 1.0]) for value in [CONVOLUTION, *START]),
    np.array([1.0, 2.0, 3.0], "float32"),
]


def lane_of(arrays, lane):
    return [array[lane] for array in arrays]


@ROWS
@MIXED
def test_lanes_equal_separate_runs(name, common):
    low, high = find(name).learning_rate.low, find(name).learning_rate.high
    rates = np.geomspace(low, high, K)
    other = {hyper: [scope.low, scope.default, 0.5 * (scope.low + scope.high)] for hyper, scope in find(name).hyper.items()}
    other |= {hyper: [value, 2 * value, 0.5 * value] for hyper, value in common.items()}
    gradients = random_gradients(5, [value.shape for value in LANED])
    together = applied(load(name)(rates, lanes=K, **other), gradients, LANED)
    for lane in range(K):
        alone = load(name)(rates[lane], **{hyper: numbers[lane] for hyper, numbers in other.items()})
        apart = applied(alone, [lane_of(grads, lane) for grads in gradients], lane_of(LANED, lane))
        assert_close(lane_of(together, lane), apart, 1e-6)


@ROWS
def test_lanes_in_a_compiled_step_equal_eager_ones(name):
    gradients = random_gradients(4, [value.shape for value in LANED])
    optimizer, variables = quick(name)(lanes=K, weight_decay=0.1), weights(LANED)
    optimizer.build(variables)
    step = tf.function(lambda *grads: optimizer.apply(grads, variables), jit_compile=True)
    for grads in gradients:
        step(*(tf.constant(g) for g in grads))
    assert_close(values(variables), applied(quick(name)(lanes=K, weight_decay=0.1), gradients, LANED))


@ROWS
def test_a_number_equals_a_vector_of_it(name):
    common = {"clipnorm": 0.5, "weight_decay": 0.1}
    gradients = random_gradients(3, [value.shape for value in LANED])
    vectors = {hyper: [number] * K for hyper, number in {"learning_rate": 0.1, **common}.items()}
    assert_same(
        applied(quick(name)(0.1, lanes=K, **common), gradients, LANED),
        applied(quick(name)(lanes=K, **vectors), gradients, LANED),
    )


@ROWS
def test_a_lane_that_is_reset_starts_anew_and_its_neighbours_do_not_notice(name):
    options = {"lanes": K, "weight_decay": 0.1, "clipnorm": 1.0, "use_ema": True}
    gradients = random_gradients(6, [value.shape for value in LANED])
    poisoned = [[np.where(np.arange(K).reshape(-1, *[1] * (g.ndim - 1)) == 1, np.nan, g) for g in grads] for grads in gradients]
    optimizer, variables = quick(name)(**options), weights(LANED)
    for grads in poisoned[:3]:
        optimizer.apply([tf.constant(g) for g in grads], variables)
    optimizer.reset(1)
    for variable, value in zip(variables, LANED, strict=True):
        variable.assign(np.concatenate([variable.numpy()[:1], value[1:2], variable.numpy()[2:]]))
    for grads in gradients[3:]:
        optimizer.apply([tf.constant(g) for g in grads], variables)
    undisturbed, fresh = quick(name)(**options), quick(name)(**options)
    expected = applied(undisturbed, gradients, LANED)
    for lane in (0, 2):
        assert_same(lane_of(values(variables), lane), lane_of(expected, lane))
    assert_same(lane_of(values(variables), 1), lane_of(applied(fresh, gradients[3:], LANED), 1))
    np.testing.assert_array_equal(optimizer.steps, [6, 3, 6])
    for ours, anew in zip(optimizer._model_variables_moving_average, fresh._model_variables_moving_average, strict=True):
        np.testing.assert_array_equal(ours.numpy()[1], anew.numpy()[1])


@ROWS
def test_several_lanes_are_reset_inside_a_graph(name):
    optimizer, variables = load(name)(lanes=K), weights(LANED)
    optimizer.build(variables)
    built = values(optimizer.variables)
    gradients = random_gradients(2, [value.shape for value in LANED])
    reset = tf.function(optimizer.reset)
    for grads in gradients:
        optimizer.apply([tf.constant(g) for g in grads], variables)
    reset(tf.constant([0, 2]))
    np.testing.assert_array_equal(optimizer.steps, [0, 2, 0])
    reset(tf.constant([1, 1]))
    assert_same(values(optimizer.variables)[1:], built[1:])


@ROWS
def test_a_lane_has_its_own_place_in_a_schedule(name):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1, 3], [0.1, 0.05, 0.01])
    optimizer, variables = quick(name)(schedule, lanes=K, gradient_accumulation_steps=2), weights(LANED)
    gradients = random_gradients(8, [value.shape for value in LANED])
    for k, grads in enumerate(gradients):
        if k == 4:
            optimizer.reset([1])
            for variable, value in zip(variables, LANED, strict=True):
                variable.assign(np.concatenate([variable.numpy()[:1], value[1:2], variable.numpy()[2:]]))
        optimizer.apply([tf.constant(g) for g in grads], variables)
    alone = quick(name)(schedule, gradient_accumulation_steps=2)
    apart = applied(alone, [lane_of(grads, 1) for grads in gradients[4:]], lane_of(LANED, 1))
    assert_close(lane_of(values(variables), 1), apart, 1e-6)


@ROWS
def test_hyper_parameters_of_lanes_are_set_in_a_graph(name):
    optimizer = load(name)(lanes=K)
    tf.function(lambda rates: optimizer.set_hyper("learning_rate", rates))(tf.constant([0.3, 0.2, 0.1]))
    np.testing.assert_array_equal(optimizer.learning_rate, np.array([0.3, 0.2, 0.1], "float32"))
    rates = keras.Variable([0.1, 0.2, 0.3])
    tf.function(lambda: optimizer.set_hyper("learning_rate", rates))()
    np.testing.assert_array_equal(optimizer.learning_rate, np.array([0.1, 0.2, 0.3], "float32"))
    optimizer.learning_rate = 0.5
    np.testing.assert_array_equal(optimizer.hyper("learning_rate"), np.full(K, 0.5, "float32"))


MIXING = tuple(name for name, row in OPTIMIZERS.items() if row.mixes)
WRAPPED = ("adam", "averaged:sgd", "lookahead:adam")


@pytest.mark.parametrize(
    "names", [MIXING, ("sgd", "momentum"), ("rmsprop", "adagrad"), ("adadelta", "caffe:AdaGrad"), ("lion", "sgd"), WRAPPED]
)
@pytest.mark.parametrize("common", [{}, *MIXED_CASES], ids=lambda case: next(iter(case), "plain"))
def test_lanes_that_follow_rules_of_their_own_equal_separate_runs(names, common):
    common = {"weight_decay": 0.0, **common}  # some rules have another default
    rates = [find(name).learning_rate.default for name in names]
    start = [np.stack([value * (1 + 0.1 * lane) for lane in range(len(names))]) for value in [CONVOLUTION, *START]]
    gradients = random_gradients(6, [value.shape for value in start])
    gradients[2:] = [[0.01 * g for g in grads] for grads in gradients[2:]]  # what a method keeps of large ones shows
    forgetful = {name: {hyper: 0.5 for hyper in ("beta_2", "rho") if hyper in find(name).hyper} for name in names}
    own = {f"{name}.{hyper}": value for name, its in forgetful.items() for hyper, value in its.items()}
    together = seen(several(names)(rates, lanes=len(names), chosen=range(len(names)), **common, **own), gradients, start)
    for lane, (name, rate) in enumerate(zip(names, rates, strict=True)):
        apart = seen(
            load(name)(rate, **common, **forgetful[name]), [lane_of(grads, lane) for grads in gradients], lane_of(start, lane)
        )
        assert_close(lane_of(together, lane), apart, 2e-6)


def seen(optimizer, gradients, start):
    """The weights after applying `gradients`, as they are trained and as they are evaluated."""
    variables = weights(start)
    for grads in gradients:
        optimizer.apply([tf.constant(g) for g in grads], variables)
    trained = values(variables)
    optimizer.swap_to_evaluation()
    return [*trained, *values(variables)]


@pytest.mark.parametrize("common", [{}, {"clipnorm": np.inf}, {"global_clipnorm": np.inf}], ids=lambda case: next(iter(case), ""))
def test_a_lane_that_remembers_no_squares_takes_gradients_whose_squares_overflow(common):
    names = ("sgd", "momentum", "lion", "adam", "adadelta")
    huge = [[np.full((5, 3, 2), 1e25, "float32")]] * 2
    start = [np.zeros((5, 3, 2), "float32")]
    moved = applied(several(names)([1e-3] * 5, lanes=5, chosen=range(5), **common), huge, start)[0]
    for lane, expected in enumerate([-2e22, -2.9e22, -2e-3]):
        np.testing.assert_allclose(moved[lane], expected, rtol=1e-6)
