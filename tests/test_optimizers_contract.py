"""What every row of the table of optimizers keeps, whatever the method; test_closure.py has those that require a closure."""

import json

import keras
import keras.src
import numpy as np
import pytest
import tensorflow as tf

from optimizers import COMMON, find, load
from tests.optimizer_steps import (
    CLIP_CASES,
    INPUTS,
    NAMES,
    ROWS,
    START,
    TARGETS,
    applied,
    assert_close,
    assert_same,
    quick,
    random_gradients,
    step_of,
    trained,
    values,
    weights,
)

# Ways of running


@ROWS
def test_eager_graph_jit_and_scaled_loss_agree(name):
    options = {"weight_decay": 0.05, "global_clipnorm": 1.0}
    eager = trained(quick(name)(**options))
    assert_close(eager, trained(quick(name)(**options), wrap=tf.function))
    assert_close(eager, trained(quick(name)(**options), wrap=lambda step: tf.function(step, jit_compile=True)))
    scaled = keras.optimizers.LossScaleOptimizer(quick(name)(**options))
    assert_close(eager, trained(scaled, wrap=tf.function))
    assert max(abs(a - b).max() for a, b in zip(eager, START, strict=True)) > 1e-3


@ROWS
def test_variables_of_tensorflow_are_trained_like_those_of_keras(name):
    gradients, optimizer = random_gradients(3, [value.shape for value in START]), quick(name)(weight_decay=0.1)
    variables = [tf.Variable(value) for value in START]
    for grads in gradients:
        optimizer.apply([tf.constant(g) for g in grads], variables)
    assert_close(values(variables), applied(quick(name)(weight_decay=0.1), gradients), 1e-6)


@pytest.mark.parametrize("name", ["adam", "nesterov"])
def test_fit_in_mixed_float16(name):
    inputs = keras.Input((3,), dtype="float32")
    outputs = keras.layers.Dense(2, dtype="mixed_float16")(inputs)
    model = keras.Model(inputs, keras.layers.Activation("linear", dtype="float32")(outputs))
    optimizer = keras.optimizers.LossScaleOptimizer(load(name)(find(name).learning_rate.high / 10))
    model.compile(optimizer, "mse", run_eagerly=True)
    losses = model.fit(INPUTS, TARGETS, batch_size=8, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@ROWS
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_moves_and_stays_finite(name, dtype):
    options = {"weight_decay": 0.1, "clipnorm": 2.0, "use_ema": True, "gradient_accumulation_steps": 2}
    optimizer, full = quick(name)(0.1, **options), quick(name)(0.1, **options)
    half, single = keras.Variable([1.0, 2.0, 3.0], dtype=dtype), keras.Variable([1.0, 2.0, 3.0])
    for _ in range(10):
        optimizer.apply([tf.ones(3, dtype)], [half])
        full.apply([tf.ones(3)], [single])
    moved = half.numpy().astype("float32")
    assert half.dtype == dtype
    assert {variable.dtype for variable in optimizer.variables} <= {"int64", "float32"}
    assert np.all(moved < [1.0, 2.0, 3.0])
    np.testing.assert_allclose(moved, single.numpy(), rtol=0.03)
    optimizer.finalize_variable_values([half])
    assert np.all(np.isfinite(half.numpy().astype("float32")))


@ROWS
def test_double_precision_weights_stay_so(name):
    optimizer, x = load(name)(), keras.Variable([1.0, 2.0], dtype="float64")
    optimizer.apply([tf.constant([1.0, -1.0], tf.float64)], [x])
    assert x.dtype == "float64"
    assert all(slot.dtype == "float64" for slot in optimizer._slots_of(x))


# Saving


@ROWS
def test_the_config_makes_the_same_optimizer(name):
    low = {hyper: scope.low for hyper, scope in find(name).hyper.items()}
    options = {"learning_rate": 0.3, **low, "weight_decay": 0.02, "clipnorm": 0.7, "name": "mine"}
    optimizer = load(name)(**options)
    config = json.loads(json.dumps(optimizer.get_config()))
    assert config == {**config, **options}
    again = keras.optimizers.deserialize(json.loads(json.dumps(keras.optimizers.serialize(optimizer))))
    assert type(again) is load(name)
    assert again.get_config() == type(optimizer).from_config(dict(config)).get_config() == config
    assert_same(trained(again), trained(optimizer))


@ROWS
def test_the_config_of_lanes_makes_the_same_optimizer(name):
    config = json.loads(json.dumps(load(name)([0.1, 0.2], lanes=2, clipnorm=[1.0, 2.0]).get_config()))
    assert config == {**config, "learning_rate": [0.1, 0.2], "lanes": 2, "clipnorm": [1.0, 2.0]}
    assert load(name).from_config(dict(config)).get_config() == config


@ROWS
def test_the_full_name_is_ours_and_the_bare_name_stays_keras_own(name):
    rule = load(name)
    assert type(keras.optimizers.get(f"tuner>{rule.__name__}")) is rule
    if peer := getattr(keras.optimizers, {"RMSProp": "RMSprop"}.get(rule.__name__, rule.__name__), None):
        assert type(keras.optimizers.get(rule.__name__)) is peer


@ROWS
def test_a_saved_model_goes_on_bit_for_bit(name, tmp_path):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    optimizer = quick(name)(weight_decay=0.01, clipnorm=1.0, use_ema=True, gradient_accumulation_steps=2)
    model.compile(optimizer, "mse", run_eagerly=True)
    for _ in range(5):
        model.train_on_batch(INPUTS, TARGETS)
    optimizer.learning_rate = 0.02
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    loaded.run_eagerly = True
    assert type(loaded.optimizer) is load(name)
    for _ in range(5):
        model.train_on_batch(INPUTS, TARGETS)
        loaded.train_on_batch(INPUTS, TARGETS)
    assert_same(values(model.weights), values(loaded.weights))
    assert_same(values(optimizer.variables), values(loaded.optimizer.variables))


# What Keras offers beside the rule


@ROWS
def test_sparse_gradients_equal_dense_ones(name):
    sparse, dense = (keras.Variable(np.ones((5, 2), "float32")) for _ in range(2))
    ours, peer = (quick(name)(weight_decay=0.1, clipnorm=0.5) for _ in range(2))
    for i in range(4):
        slices = tf.IndexedSlices(tf.ones((3, 2)) * (i - 1.5), tf.constant([0, 3, 0]), tf.constant([5, 2]))
        ours.apply([slices], [sparse])
        peer.apply([tf.convert_to_tensor(slices)], [dense])
    assert_same(values([sparse]), values([dense]))


@ROWS
def test_accumulated_gradients_equal_their_mean(name):
    micro = random_gradients(8, [value.shape for value in START])
    means = [[(a + b) / 2 for a, b in zip(*pair, strict=True)] for pair in zip(micro[::2], micro[1::2], strict=True)]
    options = {"weight_decay": 0.1, "global_clipnorm": 1.0}
    accumulated = applied(quick(name)(gradient_accumulation_steps=2, **options), micro)
    assert_close(accumulated, applied(quick(name)(**options), means), 1e-6)


@ROWS
def test_the_moving_average_is_that_of_the_weights(name):
    optimizer, variables, average = quick(name)(use_ema=True, ema_momentum=0.8), weights(), None
    for grads in random_gradients(5, [value.shape for value in START]):
        optimizer.apply([tf.constant(g) for g in grads], variables)
        now = values(variables)
        average = now if average is None else [0.8 * a + 0.2 * x for a, x in zip(average, now, strict=True)]
    optimizer.finalize_variable_values(variables)
    assert_close(values(variables), average, 1e-6)


def clipped(grads, common):
    match common:
        case {"clipvalue": limit}:
            return [np.clip(g, -limit, limit) for g in grads]
        case {"clipnorm": limit}:
            return [g * min(1.0, limit / np.linalg.norm(g)) for g in grads]
        case {"global_clipnorm": limit}:
            return [g * min(1.0, limit / np.linalg.norm([np.linalg.norm(g) for g in grads])) for g in grads]


@ROWS
@pytest.mark.parametrize("common", CLIP_CASES, ids=lambda case: next(iter(case)))
def test_clips_do_what_they_say(name, common):
    gradients = [*random_gradients(3, [value.shape for value in START]), [0.0 * value for value in START]]
    expected = applied(quick(name)(), [clipped(grads, common) for grads in gradients[:3]] + gradients[3:])
    assert_close(applied(quick(name)(**common), gradients), expected, 1e-6)
    without = applied(quick(name)(**dict.fromkeys(common, float("inf"))), gradients)
    assert_same(without, applied(quick(name)(), gradients))


@pytest.mark.parametrize("common", [{"clipnorm": 1.0}, {"global_clipnorm": 1.0}], ids=lambda case: next(iter(case)))
def test_a_norm_that_overflows_is_not_hidden(common):
    optimizer = load("sgd")(**common)
    (gradient,) = tf.function(lambda g: optimizer._clip_gradients([g]))(tf.constant([1e30, 1.0]))
    assert np.all(np.isnan(gradient))


@ROWS
def test_constraints_hold_after_each_step(name):
    x = keras.Variable([0.01, 5.0])
    x.constraint = keras.constraints.NonNeg()
    optimizer = load(name)(0.5)
    for _ in range(3):
        optimizer.apply([tf.constant([1.0, 1.0])], [x])
        assert x.numpy().min() >= 0.0


@ROWS
def test_weights_without_gradient_stay(name):
    kernel, bias = weights()
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        load(name)(weight_decay=0.1).apply([tf.ones((3, 2)), None], [kernel, bias])
    np.testing.assert_array_equal(bias.numpy(), START[1])


# Hyper-parameters


@ROWS
def test_each_hyper_parameter_is_alive_and_settable_without_a_new_trace(name):
    fixed = {"weight_decay": 0.1, "clipnorm": 1.0}
    optimizer, variables = load(name)(**fixed), weights()
    optimizer.build(variables)
    swings = [1.0, -0.05, -0.02, 0.5, -0.1, -0.03]  # so that a momentum and a gradient disagree in sign
    step = step_of(optimizer, variables, swings)
    compiled = tf.function(step)
    for hyper in {"learning_rate": ..., **find(name).hyper, **fixed}:
        before = optimizer.hyper(hyper).numpy().item()
        default = run_again(optimizer, variables, compiled, evaluated=True)
        changed = 1e3 if hyper in COMMON else 0.5 if before > 0.6 else 0.7
        optimizer.set_hyper(hyper, changed)
        again = run_again(optimizer, variables, compiled, evaluated=True)
        assert not np.array_equal(again[0], default[0]), hyper
        assert_same(again, trained(load(name)(**{**fixed, hyper: changed}), wrap=tf.function, swings=swings, evaluated=True))
        optimizer.set_hyper(hyper, before)
    assert step.traces == 1


def run_again(optimizer, variables, step, steps=6, *, evaluated=False):
    """As `trained`, but reusing everything."""
    optimizer.reset()
    for variable, value in zip(variables, START, strict=True):
        variable.assign(value)
    for _ in range(steps):
        step()
    if evaluated:
        optimizer.swap_to_evaluation()
    return values(variables)


@ROWS
def test_reset_repeats_bit_for_bit_without_a_new_trace(name):
    optimizer, variables = quick(name)(use_ema=True, gradient_accumulation_steps=2), weights()
    optimizer.build(variables)
    step = step_of(optimizer, variables)
    compiled = tf.function(step, jit_compile=True)
    built = values(optimizer.variables)
    first = run_again(optimizer, variables, compiled, steps=7)
    optimizer.finalize_variable_values(variables)
    assert_same(run_again(optimizer, variables, compiled, steps=7), first)
    optimizer.reset()
    assert_same(values(optimizer.variables), built)
    assert step.traces == 1


def test_keras_own_attributes_read_and_set_the_variables():
    optimizer = load("sgd")(weight_decay=0.1, clipnorm=0.5)
    assert optimizer.clipvalue is None
    optimizer.weight_decay, optimizer.clipnorm = 0.2, 0.25
    assert optimizer.get_config() == {**optimizer.get_config(), "weight_decay": 0.2, "clipnorm": 0.25}
    assert float(optimizer.weight_decay) == np.float32(0.2)
    with pytest.raises(ValueError, match="no variable hyper-parameter 'clipvalue'; it has learning_rate, weight_decay, clipnorm"):
        optimizer.clipvalue = 1.0


@pytest.mark.parametrize("rate", [1, np.float32(0.5), np.int64(1), np.array(0.5)], ids=repr)
def test_numbers_of_other_types_are_rates(rate):
    optimizer = load("sgd")(rate)
    assert float(optimizer.learning_rate) == float(rate)
    optimizer.learning_rate = tf.Variable(float(rate))
    optimizer.learning_rate = keras.Variable(float(rate))
    assert json.dumps(optimizer.get_config()["learning_rate"]) == str(float(rate))


@ROWS
def test_schedules_callables_and_callbacks_set_the_rate(name):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    scheduled, called, set_by_hand = (
        quick(name)(schedule),
        quick(name)(lambda: 0.1 * 0.5 ** int(called.iterations)),
        quick(name)(),
    )
    gradients = random_gradients(4, [value.shape for value in START])
    variables = weights()
    for k, grads in enumerate(gradients):
        set_by_hand.learning_rate = 0.1 * 0.5**k
        set_by_hand.apply([tf.constant(g) for g in grads], variables)
    assert_close(applied(scheduled, gradients), values(variables), 1e-6)
    assert_close(applied(called, gradients), values(variables), 1e-6)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(scheduled))
    assert again.get_config() == scheduled.get_config()
    assert_close(applied(again, gradients), values(variables), 1e-6)
    with pytest.raises(TypeError, match="not settable"):
        scheduled.learning_rate = 0.1
    with pytest.raises(ValueError, match="no variable hyper-parameter 'learning_rate'"):
        scheduled.set_hyper("learning_rate", 0.1)


def test_callbacks_change_the_rate():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(load("adam")(0.5), "mse", run_eagerly=True)
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=0, min_delta=1e9)
    model.fit(INPUTS, TARGETS, epochs=3, verbose=0, callbacks=[plateau])
    assert float(model.optimizer.learning_rate) == 0.125
    planned = keras.callbacks.LearningRateScheduler(lambda epoch: 0.25 / (epoch + 1))
    model.fit(INPUTS, TARGETS, epochs=2, verbose=0, callbacks=[planned])
    assert float(model.optimizer.learning_rate) == 0.125


@ROWS
def test_what_is_not_allowed_is_refused_with_what_is(name):
    rule = load(name)
    optimizer, laned = rule(), rule(lanes=3)
    for hyper in ("learning_rate", *find(name).hyper):
        for wrong in (-0.1, float("nan"), "fast", [0.1, 0.2], True):
            with pytest.raises(ValueError, match=rf"{hyper} must be a number in [\[(]0, .*; got"):
                optimizer.set_hyper(hyper, wrong)
        with pytest.raises(ValueError, match=f"{hyper} must be one number or 3 in"):
            laned.set_hyper(hyper, [0.1, 0.2])
    for hyper in ("learning_rate", *find(name).ranges):
        with pytest.raises(ValueError, match=rf"{hyper} must be a number in [\[(]0, .*; got -0.1"):
            rule(**{hyper: -0.1})
    known = ", ".join(("learning_rate", "lanes", *rule.choices, *find(name).ranges))
    with pytest.raises(ValueError, match=f"has no option rat; there are {known}"):
        rule(rat=1.0)
    with pytest.raises(ValueError, match="Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set"):
        rule(clipnorm=1.0, clipvalue=1.0)
    with pytest.raises(ValueError, match="no variable hyper-parameter 'rat'; it has learning_rate"):
        rule().set_hyper("rat", 1.0)


@pytest.mark.parametrize("hyper", ["beta_1", "beta_2"])
def test_a_number_that_rounds_out_of_its_interval_is_refused(hyper):
    with pytest.raises(ValueError, match=rf"{hyper} must be a number in \[0, 1\) \(as float32\)"):
        load("adam")(**{hyper: 0.999999999})


@pytest.mark.parametrize("lanes", [0, -1, 1.5, "two"])
def test_lanes_are_a_whole_number(lanes):
    with pytest.raises(ValueError, match="lanes must be None or a whole number from 1"):
        load("sgd")(lanes=lanes)


def test_other_wrong_uses_are_refused():
    with pytest.raises(ValueError, match="ema_overwrite_frequency counts one clock"):
        load("sgd")(lanes=2, use_ema=True, ema_overwrite_frequency=3)
    with pytest.raises(ValueError, match="the first axis of each variable must be 2"):
        load("sgd")(lanes=2).build([keras.Variable(np.ones((3, 2)))])
    with pytest.raises(ValueError, match=r"no lanes here; reset\(\) resets all"):
        load("sgd")().reset(1)
    with pytest.raises(ValueError, match="lane must be from 0 to 1; got 2"):
        load("sgd")(lanes=2).reset(2)
    with pytest.raises(ValueError, match="schedule must be one of lecture, fista, constant; got 'other'"):
        load("nesterov")(schedule="other")


# Options that are no numbers


@pytest.mark.parametrize(
    ("name", "options", "default"),
    [
        ("muon", {"exclude": ["head", r"dense_\d"]}, {"exclude": None}),
        ("soap", {"max_precond_dim": 8}, {"max_precond_dim": 1024}),
    ],
)
def test_options_of_matrices_are_kept_in_the_config(name, options, default):
    config = json.loads(json.dumps(load(name)(**options).get_config()))
    assert load(name).from_config(dict(config)).get_config() == config == {**config, **options}
    assert default.items() <= load(name)().get_config().items()


def test_wrong_options_of_matrices_are_refused():
    with pytest.raises(ValueError, match="exclude must be None or several regular expressions; got 'head'"):
        load("muon")(exclude="head")
    for wrong in (-1, 2.5, "many"):
        with pytest.raises(ValueError, match="max_precond_dim must be a whole number from 0"):
            load("soap")(max_precond_dim=wrong)


def orthogonal_paths(layers, **options):
    """The paths of the weights that Muon orthogonalises in a model of `layers`."""
    model, optimizer = keras.Sequential(layers), load("muon")(**options)
    optimizer.build(model.trainable_variables)
    pairs = zip(model.trainable_variables, optimizer._traits, strict=True)
    return [variable.path.split("/", 1)[1] for variable, traits in pairs if traits["orthogonal"]]


def test_muon_leaves_vectors_embeddings_and_the_output_layer_to_adamw():
    words = [
        keras.Input((4,), dtype="int32"),
        keras.layers.Embedding(10, 8, name="embedding"),
        keras.layers.Conv1D(6, 2, name="convolution"),
        keras.layers.Flatten(),
        keras.layers.Dense(5, name="hidden"),
        keras.layers.Dense(3, name="output"),
    ]
    assert orthogonal_paths(words) == ["convolution/kernel", "hidden/kernel"]
    assert orthogonal_paths(words, exclude=["hidden"]) == ["embedding/embeddings", "convolution/kernel", "output/kernel"]
    assert orthogonal_paths([keras.Input((4,)), keras.layers.Dense(3, name="only")]) == ["only/kernel"]


# The point to be evaluated


@ROWS
def test_a_swap_there_and_back_changes_nothing(name):
    optimizer, variables = load(name)(), weights()
    for grads in random_gradients(4, [value.shape for value in START]):
        optimizer.apply([tf.constant(g) for g in grads], variables)
    stored = values(variables)
    optimizer.swap_to_evaluation()
    evaluated = values(variables)
    optimizer.swap_to_evaluation()
    assert_same(values(variables), evaluated)
    assert ("eval_swap" in find(name).requires) == (not np.array_equal(stored[0], evaluated[0]))
    optimizer.swap_to_training()
    optimizer.swap_to_training()
    assert_close(values(variables), stored, 1e-6)


@ROWS
def test_training_goes_on_after_it_was_finalized(name):
    gradients = random_gradients(6, [value.shape for value in START])
    optimizer, variables = quick(name)(), weights()
    for k, grads in enumerate(gradients):
        optimizer.apply([tf.constant(g) for g in grads], variables)
        if k == 2:
            optimizer.finalize_variable_values(variables)
    optimizer.finalize_variable_values(variables)
    whole, straight = quick(name)(), weights()
    for grads in gradients:
        whole.apply([tf.constant(g) for g in grads], straight)
    whole.finalize_variable_values(straight)
    assert_close(values(variables), values(straight), 1e-6)


SWAPPING = [name for name in NAMES if "eval_swap" in find(name).requires]


@pytest.mark.parametrize("options", [{}, {"lanes": 2}, {"use_ema": True}], ids=str)
@pytest.mark.parametrize("name", [*SWAPPING, "averaged:sgd"])
def test_a_weight_that_is_frozen_after_fit_stays(name, options):
    start = [np.stack([value] * 2) if "lanes" in options else value for value in START]
    optimizer, (moving, frozen) = quick(name)(**options), weights(start)
    for grads in random_gradients(3, [value.shape for value in start]):
        optimizer.apply([tf.constant(g) for g in grads], [moving, frozen])
    optimizer.finalize_variable_values([moving, frozen])
    before = values([moving, frozen])
    for grads in random_gradients(3, [start[0].shape], seed=4):
        optimizer.apply([tf.constant(g) for g in grads], [moving])
    optimizer.finalize_variable_values([moving])
    assert_same(values([frozen]), before[1:])
    assert np.all(values([moving])[0] != before[0])


def test_fit_of_float8_ends_at_the_point_to_be_evaluated():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.layers[0].quantize("float8")
    model.compile(load("nesterov")(), "mse")
    model.fit(INPUTS, TARGETS, verbose=0)
    assert model.optimizer._carried["in_evaluation"].numpy() == 1


def test_weights_set_while_evaluating_are_kept():
    optimizer, variables = load("nesterov")(), weights()
    optimizer.apply([tf.constant(value) for value in START], variables)
    optimizer.swap_to_evaluation()
    (velocity,) = optimizer._slots_of(variables[0])
    variables[0].assign(np.full((3, 2), 7.0))
    optimizer.swap_to_training()
    np.testing.assert_allclose(variables[0].numpy(), 7.0 + 0.5 * velocity.numpy(), rtol=1e-6)


# Convergence


@ROWS
def test_some_rate_of_the_range_solves_a_small_problem(name):
    lanes, row = 7, find(name)
    curvatures = [np.array([10.0, 3.0, 1.0, 0.3], "float32"), np.geomspace(0.3, 10.0, 12, dtype="float32").reshape(3, 4)]
    variables = [keras.Variable(np.ones((lanes, *curvature.shape), "float32")) for curvature in curvatures]
    rates = np.geomspace(row.learning_rate.low, row.learning_rate.high, lanes)
    optimizer = load(name)(rates, lanes=lanes)
    optimizer.build(variables)

    def step(k):
        optimizer.apply([c * x.value for c, x in zip(curvatures, variables, strict=True)], variables)
        return k + 1

    tf.function(lambda: tf.while_loop(lambda k: k < 400, step, [0]), autograph=False)()
    optimizer.finalize_variable_values(variables)
    parts = [np.reshape(c * x.value**2, (lanes, -1)).sum(axis=1) for c, x in zip(curvatures, variables, strict=True)]
    assert np.nanmin(sum(parts)) < 1e-3 * sum(curvature.sum() for curvature in curvatures)
