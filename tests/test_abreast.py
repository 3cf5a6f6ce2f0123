"""Several trials at a time, each in a graph of its own: which studies they are for, and that each is its trial alone."""

import pytest

from tests.solo.studies import epochs_of
from tests.test_lanes_equal_solo import check_same, curves, study
from tuner import data as sources
from tuner.abreast import Abreast
from tuner.packing import ABREAST, Packing, abreast
from tuner.solo import Solo
from tuner.space import Space
from tuner.spec import parse
from tuner.trial import Failed, Failure, Trial

CONVNET = {"filters": 4, "dropout": {"float": [0.0, 0.5]}, "optimizer": ["adam", "momentum"], "normalisation": "batch"}

COSTLY = {"name": "costly", "model": "convnet", "data": "digits", "budget": 50, "search": {"filters": [2, 4]}}


@pytest.fixture(scope="module")
def spec():
    return study(CONVNET, model="convnet")


@pytest.fixture(scope="module")
def digits(spec):
    return sources.load(spec.data, spec.seed, [])


@pytest.fixture(scope="module")
def alone(spec, digits):
    return curves(Solo(spec, digits), [trial(number) for number in range(3)])


def trial(number):
    params = {"dropout": 0.1 * number, "optimizer": ("adam", "momentum")[number % 2], "learning_rate": 0.01}
    return Trial(number, params, seed=number)


def test_trials_abreast_are_what_they_are_alone_and_the_next_takes_the_place_of_one_that_left(spec, digits, alone):
    engine = Abreast(spec, digits, 2)
    found = curves(engine, [trial(number) for number in range(3)])
    for number, curve in alone.items():
        check_same(found[number], curve)
    assert (engine.room, str(engine)) == (1, "2 trials at a time, 4 graphs"), "the third has the graph of the first"


def test_a_stopped_trial_leaves_its_place_and_a_saved_one_goes_on_anywhere(spec, digits, alone, tmp_path):
    engine = Abreast(spec, digits, 2)
    for number in (0, 1):
        engine.add(trial(number))
    assert engine.room == 0
    first = {epoch.number: epoch.metrics for epoch in engine.advance()}
    checkpoint = engine.save(1, tmp_path)
    engine.stop(1)
    assert engine.room == 1
    assert [(e.number, e.epoch) for e in engine.advance()] == [(0, 2)]
    again = Abreast(spec, digits, 2)
    again.add(Trial(1, trial(1).params, 1, checkpoint))
    check_same([first[1], *(epoch.metrics for epoch in epochs_of(again))], alone[1])


class Cramped(Solo):
    """An engine on a machine that refuses memory, as often as `refusals` has entries, to trials that have trained an epoch."""

    def __init__(self, spec, data, refusals):
        super().__init__(spec, data)
        self.refusals = refusals

    def _epoch(self, graph, epoch):
        if epoch > 1 and self.refusals:
            raise MemoryError(self.refusals.pop())
        return super()._epoch(graph, epoch)


@pytest.mark.parametrize("refused", [1, 2])
def test_without_memory_there_is_a_place_less_and_trials_go_on_from_where_they_were_saved(spec, digits, alone, tmp_path, refused):
    engine, refusals = Abreast(spec, digits, 2), ["no memory left"] * refused
    engine._solos = [Cramped(spec, digits, refusals), Cramped(spec, digits, refusals if refused == 2 else [])]
    for number in (0, 1):
        engine.add(trial(number))
    found = {number: {} for number in (0, 1)}
    for epoch in engine.advance():
        found[epoch.number][epoch.epoch] = epoch.metrics
        engine.save(epoch.number, tmp_path)
    assert len(engine.advance()) == 2 - refused
    assert engine.room == 0
    for epoch in epochs_of(engine):
        found[epoch.number][epoch.epoch] = epoch.metrics
    assert str(engine).startswith("1 trials at a time")
    check_same(found[0].values(), alone[0])
    assert found[1].keys() >= ({1, 2, 3} if refused == 2 else {1, 3})


def test_a_trial_for_which_memory_does_not_suffice_alone_fails(spec, digits):
    engine = Abreast(spec, digits, 1)
    engine._solos = [Cramped(spec, digits, ["no memory left"])]
    engine.add(trial(0))
    engine.advance()
    assert engine.advance() == [Failed(0, Failure.OUT_OF_MEMORY, "MemoryError: no memory left")]
    assert engine.room == 1


class Broken(Solo):
    """An engine that breaks after an epoch."""

    def _epoch(self, graph, epoch):
        if epoch > 1:
            raise ValueError("it broke\nhere")
        return super()._epoch(graph, epoch)


def test_a_trial_that_breaks_takes_no_neighbour_with_it(spec, digits, alone):
    engine = Abreast(spec, digits, 2)
    engine._solos = [Broken(spec, digits), Solo(spec, digits)]
    for number in (0, 1):
        engine.add(trial(number))
    curve = [epoch.metrics for epoch in engine.advance() if epoch.number == 1]
    failed, epoch = sorted(engine.advance(), key=lambda result: result.number)
    assert failed == Failed(0, Failure.ERROR, "ValueError: it broke")
    assert engine.room == 1
    check_same([*curve, epoch.metrics, *(epoch.metrics for epoch in epochs_of(engine))], alone[1])


def test_convolutions_that_say_nothing_else_train_abreast():
    def most(search, **entries):
        return abreast(Packing(Space(study(search, **entries))))

    assert most(CONVNET, model="convnet", budget=11) == 2
    assert most(CONVNET, model="convnet", budget=1000) == ABREAST
    assert most(CONVNET, model="convnet", budget=7) == 1
    assert abreast(Packing(Space(parse({**COSTLY, "objective": ["val_accuracy", "latency_ms"]})))) == 1
    assert abreast(Packing(Space(parse({**COSTLY, "objective": ["val_accuracy", "parameters"]})))) == ABREAST
    assert most(CONVNET, model="convnet", lanes="off") == most(CONVNET, model="convnet", lanes=8) == 1
    assert most({"width": 8}) == 1
