"""Learning-rate schedules: their formulas, in Keras and inside a rule, alone and by lanes."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from optimizers import OPTIMIZERS, SCHEDULES, load, load_schedule
from optimizers.schedules import Chosen, Cosine, InverseTime, Step

STEPS = 40
RATE = 0.5
ALL = pytest.mark.parametrize("name", SCHEDULES)


def one_cycle(k):
    done, first, last = (k - 1) / STEPS, 1 / 25, 1 / 250_000
    if done < 0.3:
        return first + (1 - first) * (1 - math.cos(math.pi * done / 0.3)) / 2
    return last + (1 - last) * (1 + math.cos(math.pi * (done - 0.3) / 0.7)) / 2


FORMULAS = {
    "constant": lambda k: 1.0,
    "inverse_time": lambda k: 101 / (k + 100),
    "inverse_sqrt": lambda k: 1 / math.sqrt(k),
    "step": lambda k: 0.1 ** ((k - 1) // 12),
    "cosine": lambda k: (1 + math.cos(math.pi * (k - 1) / STEPS)) / 2,
    "one_cycle": one_cycle,
}


def rates(schedule, steps=STEPS):
    return [float(schedule(step)) for step in range(steps)]


def used(rule, steps=STEPS):
    """The rates that a rule's steps use, [steps] or [steps, K]."""
    x = keras.Variable(np.zeros(() if rule.lanes is None else (rule.lanes,)))
    found = []
    for _ in range(steps):
        found.append(np.array(rule.learning_rate))
        rule.apply([tf.zeros(x.shape)], [x])
    return np.array(found)


def test_every_schedule_has_a_formula():
    assert set(FORMULAS) == set(SCHEDULES)


@ALL
def test_a_schedule_is_its_formula(name):
    expected = [RATE * FORMULAS[name](k) for k in range(1, STEPS + 1)]
    schedule = load_schedule(name)(RATE, STEPS)
    np.testing.assert_allclose(rates(schedule), expected, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(used(load("sgd")(schedule)), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("steps", [100, 300, 10_000])
@pytest.mark.parametrize("percent", [9, 15, 30, 39, 42, 60])
def test_a_share_of_the_steps_is_the_whole_number_that_it_is(percent, steps):
    whole = percent * steps // 100
    falling = load_schedule("step")(1.0, steps, drop=0.5, every=percent / 100)
    assert [float(falling(whole - 1)), float(falling(whole))] == [1.0, 0.5]
    warm = load_schedule("constant")(1.0, steps, warmup=percent / 100)
    np.testing.assert_allclose([warm(0), warm(whole - 1)], [1 / whole, 1.0], rtol=1e-6)


@ALL
def test_warm_up_rises_and_the_schedule_follows(name):
    warm = load_schedule(name)(RATE, STEPS + 10, warmup=0.2)
    np.testing.assert_allclose(rates(warm, 10), RATE * np.arange(1, 11) / 10 * FORMULAS[name](1), rtol=1e-5)
    alone = load_schedule(name)(RATE, STEPS)
    np.testing.assert_allclose(rates(warm, STEPS + 10)[10:], rates(alone), rtol=1e-5, atol=1e-8)


@ALL
def test_row_and_class_agree(name):
    assert load_schedule(name).row is SCHEDULES[name]
    for scope in SCHEDULES[name].numbers.values():
        assert all(map(scope.allowed.holds, (scope.default, scope.low, scope.high)))


def test_inverse_time_is_beta_over_k_plus_gamma():
    beta, gamma = 3.0, 7.0
    schedule = InverseTime(beta / (1 + gamma), 1, gamma=gamma)
    np.testing.assert_allclose(rates(schedule, 20), [beta / (k + gamma) for k in range(1, 21)], rtol=1e-6)


@ALL
def test_the_chosen_schedule_is_that_one(name):
    kind = list(SCHEDULES).index(name)
    np.testing.assert_allclose(rates(Chosen(RATE, STEPS, kind=kind)), rates(load_schedule(name)(RATE, STEPS)), rtol=1e-6)


def test_lanes_have_schedules_numbers_and_lengths_of_their_own():
    kinds, warmups, lengths = range(len(SCHEDULES)), [0.0, 0.1, 0.0, 0.2, 0.1, 0.0], [40.0, 20.0, 30.0, 40.0, 10.0, 40.0]
    many = Chosen(RATE, lengths, warmup=warmups, kind=list(kinds))
    together = used(load("momentum")(many, lanes=len(SCHEDULES)))
    for kind, warmup, length in zip(kinds, warmups, lengths, strict=True):
        alone = used(load("momentum")(Chosen(RATE, length, warmup=warmup, kind=kind)))
        np.testing.assert_allclose(together[:, kind], alone, rtol=1e-6)


def test_numbers_are_set_without_a_new_trace():
    rule, x = load("sgd")(Cosine(RATE, STEPS)), keras.Variable(0.0)
    rule.build([x])
    traces = []

    @tf.function
    def step():
        traces.append(1)
        rule.apply([tf.ones(())], [x])

    step()
    assert float(x) == pytest.approx(-RATE)
    rule.set_hyper("learning_rate", 4 * RATE)
    rule.set_hyper("schedule.steps", 2.0)
    step()
    assert float(x) == pytest.approx(-RATE - 2 * RATE)
    assert len(traces) == 1
    with pytest.raises(ValueError, match=r"schedule.warmup must be a number in \[0, 1\]"):
        rule.set_hyper("schedule.warmup", 2.0)


def test_a_schedule_counts_updates_where_gradients_accumulate():
    rule, x = load("sgd")(Step(1.0, 2, every=0.5), gradient_accumulation_steps=3), keras.Variable(0.0)
    for _ in range(6):
        rule.apply([tf.ones(())], [x])
    assert float(x) == pytest.approx(-1.1)


@ALL
def test_the_config_keeps_what_was_set(name):
    rule = load("adam")(load_schedule(name)(RATE, STEPS, warmup=0.1))
    rule.set_hyper("schedule.warmup", 0.3)
    again = keras.optimizers.deserialize(json.loads(json.dumps(keras.optimizers.serialize(rule))))
    assert again.get_config() == rule.get_config()
    np.testing.assert_array_equal(used(again, 5), used(rule, 5))
    assert float(again.hyper("schedule.warmup")) == pytest.approx(0.3)


def test_a_rate_with_a_schedule_is_refused_where_it_cannot_be():
    rule = load("adam")(Cosine(RATE, STEPS))
    with pytest.raises(TypeError, match="LearningRateSchedule"):
        rule.learning_rate = 0.1
    with pytest.raises(ValueError, match="give it to the constructor"):
        load("adam")().learning_rate = Cosine(RATE, STEPS)
    with pytest.raises(ValueError, match=r"floor must be in \[0, 1\]; got -1"):
        Cosine(RATE, STEPS, floor=-1)
    with pytest.raises(ValueError, match="Cosine has no gamma; there are floor"):
        Cosine(RATE, STEPS, gamma=1)
    with pytest.raises(ValueError, match="no schedule is called 'cosin'; there are constant"):
        load_schedule("cosin")


@pytest.mark.parametrize("name", [row.name for row in OPTIMIZERS.values() if row.gradient_only])
def test_every_rule_follows_a_schedule(name):
    """At a rate that is 0 from the second step on, only that step's own memory moves the weights."""
    falling, x = load(name)(Step(0.1, 1, drop=1e-30, every=1.0)), keras.Variable([1.0, -2.0])
    constant, y = load(name)(0.1), keras.Variable([1.0, -2.0])
    for rule, variable in ((falling, x), (constant, y)):
        rule.apply([tf.constant([1.0, 2.0])], [variable])
    np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-6)
    falling.apply([tf.constant([1.0, 2.0])], [x])
    constant.apply([tf.constant([1.0, 2.0])], [y])
    assert np.abs(x.numpy() - y.numpy()).max() > (1e-7 if "d0" in OPTIMIZERS[name].hyper else 1e-6)
