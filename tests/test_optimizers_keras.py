"""Keras' own contract suites, which its wheel ships, run on our classes; and every rule on two replicas.

Run as a program (`python -m tests.test_optimizers_keras`), this file trains every row on two replicas (`MirroredStrategy` on two
virtual CPUs, which only a fresh process can have) and prints the weights as JSON.
"""

import importlib.util
import json
import subprocess
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace

import keras
import keras.src
import pytest
import tensorflow as tf

from optimizers import OPTIMIZERS, load
from tests.optimizer_steps import INPUTS, MIXED_CASES, NAMES, ROWS, TARGETS, assert_close, quick, squared_error, trained, weights

ROOT = Path(__file__).parents[1]


def ours_in_place_of_keras_own():
    real = keras.src.optimizers
    names = {**{load(name).__name__: load(name) for name in NAMES}, "RMSprop": load("rmsprop")}

    def get(identifier):
        named = {"class_name": identifier, "config": {}} if isinstance(identifier, str) else identifier
        if named and named["class_name"] in OPTIMIZERS:
            return load(named["class_name"])(**named["config"])
        return real.get(identifier)

    return SimpleNamespace(**{**vars(real), **names, "get": get})


def keras_suite(path, **replaced):
    """Keras' test module at `path` in a copy of our own, in which its optimizers are ours and its own mark is known."""
    spec = importlib.util.find_spec(path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.src, "optimizers", ours_in_place_of_keras_own())
        patch.setattr(pytest, "mark", SimpleNamespace(skipif=pytest.mark.skipif, requires_trainable_backend=lambda test: test))
        spec.loader.exec_module(module)
    vars(module).update(replaced)
    return module


API = keras_suite("keras.src.optimizers.optimizer_test")
SPARSE = keras_suite("keras.src.optimizers.optimizer_sparse_test")
DENSE = "ours makes a sparse gradient dense; its numbers are checked by test_sparse_correctness"
DENSE_CASES = (
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "ftrl",
    "lion",
    "nadam",
    "rmsprop",
    "sgd",
    "loss_scale_optimizer_sgd",
)
NOT_KEPT = {
    "test_setting_lr_to_callable_untracks_lr_var": "counts Keras' variables; see test_a_schedule_takes_the_place_of_the_rate",
    **{f"test_sparse_gradients_{case}": DENSE for case in DENSE_CASES},
}
OF_OTHER_RULES = ("amsgrad", "_momentum", "adafactor", "scatter")


def cases(suite):
    for name in unittest.TestLoader().getTestCaseNames(suite):
        parameters = getattr(getattr(suite, name), "__x_params_repr__", "")
        if not any(rule in name + parameters for rule in OF_OTHER_RULES):
            reason = NOT_KEPT.get(name)
            yield pytest.param(suite, name, id=name, marks=pytest.mark.skip(reason=reason) if reason else ())


@pytest.mark.parametrize(("suite", "method"), [*cases(API.OptimizerTest), *cases(SPARSE.OptimizerSparseTest)])
def test_keras_own_suite_passes(suite, method):
    suite(method).debug()


def test_a_schedule_takes_the_place_of_the_rate():
    optimizer = load("adam")()
    before = len(optimizer.variables)
    optimizer.learning_rate = keras.optimizers.schedules.PolynomialDecay(0.1, 4)
    assert len(optimizer.variables) == before - 1


@ROWS
@pytest.mark.parametrize("method", ["test_weight_decay", "test_ema_overwrite_frequency"])
def test_keras_own_suite_for_adam_passes_where_it_is_about_every_rule(name, method):
    if method == "test_weight_decay" and not load(name).decays_first:
        pytest.skip("it decays inside its formula; see test_what_is_excluded_from_decay_does_not_decay")
    keras_suite("keras.src.optimizers.adam_test", Adam=load(name)).AdamTest(method).debug()


@pytest.mark.parametrize(
    "method", ["test_single_step", "test_ema", "test_clip_norm", "test_clip_value", "test_clipnorm_indexed_slices"]
)
def test_keras_own_suite_for_adam_passes(method):
    keras_suite("keras.src.optimizers.adam_test", Adam=load("adam")).AdamTest(method).debug()


# Two replicas


@pytest.fixture(scope="module")
def two_replicas():
    program = [sys.executable, "-m", "tests.test_optimizers_keras"]
    return json.loads(subprocess.run(program, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1])


@ROWS
def test_two_replicas_equal_one(name, two_replicas):
    assert_close(two_replicas["weights"][name], trained(quick(name)(**MIXED_CASES[-1])))


def test_keras_own_distribution_suite_passes(two_replicas):
    assert two_replicas["suite"] == {"run": 6, "problems": []}


def train_on_two_replicas(name, common):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        variables, optimizer = weights(), quick(name)(**common)
        optimizer.build(variables)

    @tf.function
    def step():
        half = tf.distribute.get_replica_context().replica_id_in_sync_group * 4
        with tf.GradientTape() as tape:
            loss = squared_error(variables, tf.constant(INPUTS)[half : half + 4], tf.constant(TARGETS)[half : half + 4])
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)

    for _ in range(6):
        strategy.run(step)
    return [variable.numpy().tolist() for variable in variables]


def distribution_suite():
    suite = keras_suite("keras.src.backend.tensorflow.optimizer_distribute_test", SGD=load("sgd"))
    methods = ["weight_decay", "clip_norm", "clip_value", "stateless_not_supported", "ema", "gradient_accumulation"]
    result = unittest.TestResult()
    unittest.TestSuite(suite.OptimizerDistributeTest(f"test_{method}") for method in methods).run(result)
    return {"run": result.testsRun, "problems": [text for _, text in result.failures + result.errors + result.skipped]}


def main():
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    trained = {name: train_on_two_replicas(name, MIXED_CASES[-1]) for name in NAMES}
    sys.stdout.write(json.dumps({"weights": trained, "suite": distribution_suite()}) + "\n")


if __name__ == "__main__":
    main()
