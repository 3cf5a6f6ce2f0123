"""The engine of lanes: who sits where, what a lane can notice of its neighbours, what is compiled, how trials go on."""

from concurrent.futures import wait
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import study_spec
from tests.solo.studies import epochs_of
from tests.test_lanes_equal_solo import check_same, curves, study
from tuner import data as sources
from tuner.lanes import ROUNDS, Lanes
from tuner.packing import Packing, planned
from tuner.solo import Solo
from tuner.space import Space
from tuner.trial import Failed, Failure, Trial

SPACE = {"width": {"int": [4, 60]}, "optimizer": ["sgd", "nesterov", "adam"], "dropout": {"float": [0.0, 0.5]}}


@pytest.fixture(scope="module")
def digits():
    spec = study({"width": 8})
    return sources.load(spec.data, spec.seed, [])


def trial(number, **params):
    """A trial of one hidden layer that differs from the others in everything but its form."""
    own = {"width": 8 + number % 40, "optimizer": ("sgd", "nesterov", "adam")[number % 3], "dropout": 0.1 * (number % 4)}
    return Trial(number, {"learning_rate": 0.01, **own, **params}, seed=number)


def trained(engine, numbers, watched):
    """The metrics of one trial's epochs beside others."""
    return curves(engine, [trial(number) for number in numbers])[watched]


def test_a_lane_cannot_tell_who_is_beside_it_nor_where_it_sits(digits):
    first, last = (trained(Lanes(study(SPACE), digits, 4), numbers, 5) for numbers in ([5, 1, 2, 3], [7, 8, 9, 5]))
    assert first == last


@pytest.mark.parametrize(
    ("search", "value"),
    [
        ({"beta_2": {"float": [0.9, 1 - 1e-9]}}, {"beta_2": 1 - 1e-9}),  # in 32 bits it is 1
        ({"epsilon": {"float": [1e-50, 1.0]}}, {"epsilon": 1e-50}),  # and this is 0
        ({"schedule": "step", "step.every": {"float": [0.1, 1.0]}}, {"schedule": "step", "step.every": 0.0}),
    ],
    ids=lambda case: next(reversed(case)),
)
def test_a_number_that_its_optimizer_does_not_take_fails_a_trial_in_a_lane_as_it_does_alone(digits, search, value):
    spec = study({"optimizer": "adam", **search})
    engine, refused = Lanes(spec, digits, 2), Trial(0, {"optimizer": "adam", "learning_rate": 0.01, **value}, seed=0)
    for other in (engine, Solo(spec, digits)):
        with pytest.raises(ValueError, match=f"{next(reversed(value)).rpartition('.')[2]} must be"):
            other.add(refused)
    assert engine.advance() == []


def test_a_lane_whose_neighbour_turns_nan_stays_as_it_is(digits):
    quiet, beside = Lanes(study(SPACE), digits, 2), Lanes(study(SPACE), digits, 2)
    poisoned = trial(3, learning_rate=1e38)
    expected = trained(quiet, [5, 4], 5)
    found = curves(beside, [trial(5), poisoned])
    assert not np.isfinite(found[3][-1]["loss"])
    assert found[5] == expected


def test_the_costs_of_a_trial_are_those_of_its_network_alone(digits):
    aims = {"objective": ["val_accuracy", "parameters", "latency_ms"], "constraints": ["model_bytes <= 1e6"]}
    spec = study_spec(**aims, train={"epochs": 1}, search={"depth": 1, "width": [8, 60], "learning_rate": 0.01})
    trials = [Trial(n, {"depth": 1, "width": 8, "learning_rate": 0.01}, n) for n in range(2)]
    pack, alone = Lanes(spec, digits, 2), Solo(spec, digits)
    alone.add(trials[0])
    for each in trials:
        pack.add(each)
    weights = 64 * 8 + 8 + 8 * 10 + 10
    for epoch in (*pack.advance(), *alone.advance()):
        assert {**epoch.costs, "latency_ms": 0} == {"parameters": weights, "model_bytes": 4 * weights, "latency_ms": 0}
        assert 0 < epoch.costs["latency_ms"] < 1000
        assert epoch.parameters == weights


def test_a_freed_lane_is_taken_by_the_next_trial_and_nothing_is_compiled(digits):
    engine = Lanes(study(SPACE, pruner="asha"), digits, 2)
    for number in (1, 2):
        engine.add(trial(number))
    engine.advance()
    compiled = engine.traces
    assert engine.room == 0
    engine.stop(1)
    assert (engine.room, engine.like) == (1, 1), "the first of the form, also when it has gone"
    engine.add(trial(4))
    assert [(e.number, e.epoch) for e in engine.advance()] == [(4, 1), (2, 2)]
    assert engine.traces == compiled
    found = [e.metrics for e in epochs_of(engine) if e.number == 4]
    check_same(found, trained(Lanes(study(SPACE, pruner="asha"), digits, 1), [4], 4)[1:])


@pytest.mark.parametrize("pruner", ["none", "asha"])
def test_a_small_pack_that_has_emptied_gives_way_to_a_larger_one(digits, pruner):
    engine = Lanes(study(SPACE, pruner=pruner), digits, 4)
    alone = trained(engine, [1], 1)
    check_same(trained(engine, range(4), 1), alone)
    assert engine.traces == 2


def test_one_graph_serves_what_does_not_shape_it(digits):
    engine = Lanes(study({**SPACE, "activation": ["relu", "tanh"], "bias": [True, False]}), digits, 2)
    curves(engine, [trial(n, activation=("relu", "tanh")[n % 2], bias=n > 3) for n in range(6)])
    assert engine.traces == 1


def test_packs_have_one_form_each(digits):
    engine = Lanes(study({**SPACE, "depth": {"int": [1, 2]}}), digits, 4)
    for number in range(4):
        engine.add(trial(number, depth=1 + number % 2))
    seen = [{e.number for e in engine.advance()} for _ in range(6)]
    assert seen == [{0, 2}] * 3 + [{1, 3}] * 3
    assert engine.traces == 2


@pytest.mark.parametrize(
    ("pruner", "budget", "turn"), [("none", 10, 2), ("asha", 10, 2), ("asha", 19, 4), ("asha", 99, 2 * ROUNDS)]
)
def test_the_next_form_is_known_and_compiled_before_its_turn(digits, pruner, budget, turn):
    engine = Lanes(study({**SPACE, "depth": {"int": [1, 2]}}, pruner=pruner, budget=budget), digits, 2)
    for number in range(2):
        engine.add(trial(number, depth=1))
    for number in range(2, turn):
        engine.advance()
        engine.stop(number - 2)
        engine.add(trial(number, depth=1))
    assert (engine.room, engine.like) == (1, None)
    engine.add(trial(8, depth=2))
    assert (engine.room, engine.like) == (0, 8), "the others of its form come when it is their turn"
    assert {e.number for e in engine.advance()} == {turn - 2, turn - 1}
    wait(engine._ahead.values())
    assert engine.traces == 2
    for number in (turn - 2, turn - 1):
        engine.stop(number)
    assert (engine.room, engine.like) == (1, 8)
    engine.add(trial(9, depth=2))
    alone = Lanes(study(SPACE), digits, 1)
    check_same([e.metrics for e in epochs_of(engine) if e.number == 9], curves(alone, [trial(9, depth=2)])[9])
    assert engine.traces == 2


@pytest.mark.parametrize("pruner", ["none", "asha"])
def test_a_trial_goes_on_from_its_checkpoint_in_whatever_pack(digits, tmp_path, pruner):
    spec = study(SPACE, pruner=pruner)
    whole = trained(Lanes(spec, digits, 1), [4], 4)
    engine = Lanes(spec, digits, 4)
    for number in (1, 4, 2):
        engine.add(trial(number))
    engine.advance()
    checkpoint = engine.save(4, tmp_path)
    other = Lanes(spec, digits, 2)
    other.add(replace(trial(4), checkpoint=checkpoint))
    other.add(trial(9))
    resumed = [e for e in epochs_of(other) if e.number == 4]
    assert [e.epoch for e in resumed] == [2, 3]
    check_same([e.metrics for e in resumed], whole[1:])


def test_a_trial_that_has_not_trained_has_nothing_to_save(digits, tmp_path):
    engine = Lanes(study(SPACE), digits, 2)
    engine.add(trial(1))
    assert engine.save(1, tmp_path) is None


@pytest.fixture(scope="module")
def full(digits):
    """An engine whose pack of four is full, and the metrics of trial 0 in it when nothing happens."""
    engine = Lanes(study(SPACE, pruner="asha"), digits, 4)
    return engine, trained(engine, range(4), 0)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["add", "stop", "advance"]), st.booleans()), max_size=25))
def test_whatever_happens_around_it_a_trial_has_the_same_bits(full, acts):
    """Trial 0 beside others that come, go and turn NaN."""
    engine, expected = full
    others, number = list(range(1, 4)), 10
    for other in (*others, 0):
        engine.add(trial(other))
    found = []
    for act, wild in [*acts, *[("advance", False)] * 3]:
        if act == "add" and len(others) < 3:
            number += 1
            engine.add(trial(number, learning_rate=1e38 if wild else 0.01))
            others.append(number)
        elif act == "stop" and others:
            engine.stop(others.pop(0))
        elif act == "advance":
            epochs = engine.advance()
            found += [e.metrics for e in epochs if e.number == 0]
            others = [other for other in others if (other, 3) not in {(e.number, e.epoch) for e in epochs}]
    for other in others:
        engine.stop(other)
    assert found == expected


# Grouping ------------------------------------------------------------


def test_only_what_lanes_may_differ_in_is_left_free():
    space = {**SPACE, "depth": {"int": [1, 3]}, "width": {"int": [16, 256], "log": True}, "optimizer": ["adam", "sgd", "muon"]}
    packing = Packing(Space(study(space)))
    params = {"depth": 2, "width": 100, "optimizer": "sgd", "dropout": 0.1, "learning_rate": 0.1}
    alike = packing.alike(params)
    assert alike["depth"].value == 2
    assert alike["width"].int == (65, 128)
    assert alike["optimizer"].choice == ("adam", "sgd")
    assert not alike.keys() & {"dropout", "learning_rate"}
    assert packing.alike({**params, "optimizer": "muon"})["optimizer"].value == "muon"
    assert packing.form(params) == packing.form({**params, "width": 65, "optimizer": "adam", "dropout": 0.4})
    assert len({packing.form({**params, **other}) for other in ({}, {"width": 64}, {"depth": 1}, {"optimizer": "muon"})}) == 4


def test_lanes_are_planned_by_budget_and_size_and_refused_with_a_reason():
    def lanes(search=(), **entries):
        return planned(Packing(Space(study({"width": {"int": [8, 64]}, **dict(search)}, **entries))))

    assert lanes(budget=1000) == 32
    assert lanes(budget=100) == 8
    assert lanes(budget=20) is None
    assert lanes(budget=4, lanes=3) == 3
    assert lanes(budget=1000, lanes="off") is None
    space = Space(study({"optimizer": ["adam", "sam:adam"]}))
    wide = Packing(Space(study({"width": {"int": [8, 4096]}})))
    assert [wide.fitting(wide.form({"width": width}), (8, 8, 1), 10) for width in (10, 1000)] == [128, 1]
    assert Packing(space).refusal == "sam:adam needs more than the gradient of a batch"
    space = Space(study({"optimizer": ["sgd", "adam"], "sgd.clipnorm": 1.0, "adam.clipvalue": 1.0}))
    assert Packing(space).refusal == "the lanes of a pack have one way to clip, not clipnorm and clipvalue"


# Memory ------------------------------------------------------------


class Cramped(Lanes):
    """An engine whose machine holds packs of `bearable` lanes."""

    bearable = 4

    def _train(self, form, *, dry):
        if self.bearable < self._pack(form, dry=dry).K:
            raise MemoryError("so many lanes do not fit")
        return super()._train(form, dry=dry)


def test_without_memory_packs_halve_and_trials_go_on_from_where_they_were_saved(digits, tmp_path):
    whole = curves(Lanes(study(SPACE, pruner="asha"), digits, 4), [trial(n) for n in range(4)])
    engine = Cramped(study(SPACE, pruner="asha"), digits, 4)
    for number in range(4):
        engine.add(trial(number))
    found = {e.number: {1: e.metrics} for e in engine.advance()}
    engine.save(1, tmp_path)
    engine.bearable = 2
    again = []
    for epoch in epochs_of(engine):
        again.append((epoch.number, epoch.epoch))
        found[epoch.number][epoch.epoch] = epoch.metrics
    assert sorted(again) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), *((n, e) for n in (2, 3) for e in (1, 2, 3))]
    for number, curve in whole.items():
        check_same([found[number][epoch] for epoch in (1, 2, 3)], curve)


def test_only_a_trial_that_alone_is_too_large_fails(digits):
    engine = Cramped(study(SPACE), digits, 2)
    engine.bearable = 0
    for number in (1, 2):
        engine.add(trial(number))
    assert engine.advance() == [Failed(1, Failure.OUT_OF_MEMORY, "so many lanes do not fit")]
    engine.bearable = 1
    assert [(e.number, e.epoch) for e in epochs_of(engine)] == [(2, 1), (2, 2), (2, 3)]
