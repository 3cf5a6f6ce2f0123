"""What the tests of every row of the table share: the rows, a small least-squares problem, and steps on it."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from optimizers import OPTIMIZERS, find, load

GRADIENT_ONLY = [name for name, row in OPTIMIZERS.items() if row.gradient_only]
NAMES = [*GRADIENT_ONLY, "lookahead:adam", "lookahead:prodigy", "tf:RMSProp"]
ROWS = pytest.mark.parametrize("name", NAMES)
RNG = np.random.default_rng(7)
INPUTS, TARGETS = RNG.normal(size=(8, 3)).astype("float32"), RNG.normal(size=(8, 2)).astype("float32")
START = [RNG.normal(size=(3, 2)).astype("float32"), RNG.normal(size=(2,)).astype("float32")]
CLIP_CASES = [{"clipvalue": 0.3}, {"clipnorm": 0.5}, {"global_clipnorm": 0.5}]
MIXED_CASES = [{"clipvalue": 0.3}, {"clipnorm": 0.5, "weight_decay": 0.1}, {"global_clipnorm": 0.5, "weight_decay": 0.1}]
MIXED = pytest.mark.parametrize("common", MIXED_CASES, ids=lambda case: next(iter(case)))


def quick(name):
    """The class of `name`; a rule whose first steps are as short as a `d0` starts with steps that show after a few."""
    return partial(load(name), **({"d0": 0.1} if "d0" in find(name).hyper else {}))


def weights(start=START, dtype="float32"):
    return [keras.Variable(value, dtype=dtype) for value in start]


def values(variables):
    return [variable.numpy() for variable in variables]


def squared_error(variables, inputs=INPUTS, targets=TARGETS):
    kernel, bias = (variable.value for variable in variables)
    return tf.reduce_sum(tf.square(inputs @ kernel + bias - targets)) / len(INPUTS)


def step_of(optimizer, variables, swings=None):
    """One training step of the least-squares problem as a function without arguments; it counts its traces.

    The loss of step k is multiplied by `swings[k]`.
    """

    def step():
        step.traces += 1
        with tf.GradientTape() as tape:
            loss = optimizer.scale_loss(squared_error(variables))
            loss = loss if swings is None else loss * tf.gather(swings, optimizer.iterations)
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)

    step.traces = 0
    return step


def trained(optimizer, steps=6, wrap=lambda step: step, swings=None, *, evaluated=False):
    variables = weights()
    optimizer.build(variables)
    step = wrap(step_of(optimizer, variables, swings))
    for _ in range(steps):
        step()
    if evaluated:
        optimizer.swap_to_evaluation()
    return values(variables)


def random_gradients(steps, shapes, seed=3):
    rng = np.random.default_rng(seed)
    return [[rng.normal(size=shape).astype("float32") for shape in shapes] for _ in range(steps)]


def applied(optimizer, gradients, start=START):
    """The weights after applying `gradients`, a list per step."""
    variables = weights(start)
    for grads in gradients:
        optimizer.apply([tf.constant(g) for g in grads], variables)
    return values(variables)


def assert_close(left, right, tolerance=1e-5):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)
