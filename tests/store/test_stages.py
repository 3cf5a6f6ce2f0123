"""The stages that follow a study."""

import threading

import pytest

from tests.conftest import study_spec
from tests.store.claims import TTL, claim, finish
from tuner.store import Plan, Stage, Store, Study, Worker
from tuner.trial import State


def race_of(study: Study, runs: int = 2) -> Plan:
    spec = study.spec.model_copy(update={"budget": study.spec.budget.model_copy(update={"trials": runs})})
    return Plan(Stage.RACE, spec, {"finalists": [1]}, [{"width": 8}] * runs)


@pytest.fixture
def raced(store: Store) -> Study:
    """A study of one trial, which has ended, and is to be followed by a race."""
    study = store.launch(study_spec(budget=1, final=1), 1, {}, now=1000.0)
    finish(store, claim(store, study)[0])
    return study


def test_a_stage_begins_once_and_only_when_what_it_follows_has_ended(store: Store) -> None:
    study = store.launch(study_spec(budget=1, final=1), 1, {})
    store.follow(study, race_of(study))
    assert store.next(study) is None
    finish(store, claim(store, study)[0])
    assert [(waiting.id, running) for waiting, running in store.waiting()] == [(study.id, 0)]  # somebody has to see to it
    threads = [threading.Thread(target=store.follow, args=(study, race_of(study))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (stage,) = store.stages(study)
    assert (stage.name, stage.stage, stage.origin, stage.trials, stage.facts) == (
        "small",
        Stage.RACE,
        study.id,
        2,
        {"finalists": [1]},
    )
    assert store.next(study) == stage
    assert [row.params for row in store.trials(stage)] == [{"width": 8}] * 2
    assert [waiting.id for waiting, _ in store.waiting()] == [stage.id]
    assert [taken[0].number for _ in range(3) if (taken := store.claim(stage, "a", TTL)) is not None] == [0, 1]


def test_a_study_that_wants_no_race_is_followed_by_nothing(store: Store) -> None:
    for name, final in (("none", 0), ("no plan", 1)):
        study = store.launch(study_spec(name=name, budget=1, final=final), 1, {})
        finish(store, claim(store, study)[0])
        store.follow(study, race_of(study) if name == "none" else None)
        assert (store.next(study), store.waiting()) == (None, [])


def test_a_stage_counts_for_nothing_in_its_study(store: Store, raced: Study) -> None:
    store.follow(raced, race_of(raced))
    stage = store.next(raced)
    assert stage is not None
    store.enlist(Worker("a", "host", 1, 2.0))
    running, _ = claim(store, stage)
    assert [seen.trials for seen in store.workers()] == [[("small race", 0)]]
    finish(store, running, 0.99)
    assert [study.id for study in store.studies()] == [raced.id]
    assert store.study("small").id == raced.id
    assert (store.counts(raced)[State.COMPLETE], [row.value for row in store.leaders(raced, 5)]) == (1, [0.5])
    assert (len(store.trials(raced)), list(store.epochs(raced)), len(store.recent(raced, 0.0, 9))) == (1, [0], 1)
    store.delete(raced)
    assert store.again(stage) is None


def test_a_stage_is_steered_with_its_study(store: Store, raced: Study) -> None:
    store.prioritise(raced, 3)
    store.follow(raced, race_of(raced))
    stage = store.next(raced)
    assert stage is not None
    assert stage.priority == 3
    store.pause(raced, paused=True)
    assert store.claim(stage, "a", TTL) is None
    store.pause(raced, paused=False)
    running, _ = claim(store, stage)
    store.cancel(raced, "enough")
    assert store.renew([running], TTL) == [running]
    assert store.counts(stage)[State.CANCELLED] == 2
    assert store.waiting() == []
    assert store.trials(raced)[0].state is State.COMPLETE


def test_an_extended_study_ends_its_race_and_gets_another_one_when_it_has_ended(store: Store, raced: Study) -> None:
    store.follow(raced, race_of(raced))
    first = store.next(raced)
    assert first is not None
    held, _ = claim(store, first)
    longer = store.extend(raced, 1)
    assert store.renew([held], TTL) == [held]
    store.follow(first, race_of(first))  # who had not heard of it does no harm
    store.follow(raced, race_of(raced))
    assert (store.next(first), store.next(longer)) == (None, None)
    assert [waiting.id for waiting, _ in store.waiting()] == [raced.id]
    finish(store, claim(store, longer)[0])
    store.follow(longer, race_of(longer))
    second = store.next(longer)
    assert second is not None
    assert [stage.id for stage in store.stages(raced)] == [first.id, second.id]


def test_dropped_trials_end_at_once_whoever_holds_them(store: Store, raced: Study) -> None:
    store.follow(raced, race_of(raced, 3))
    stage = store.next(raced)
    assert stage is not None
    done, held = claim(store, stage)[0], claim(store, stage)[0]
    finish(store, done)
    store.drop(stage, [0, 1], "cannot win any more")
    assert store.renew([held], TTL) == [held]
    rows = store.trials(stage)
    assert [row.state for row in rows] == [State.COMPLETE, State.PRUNED, State.QUEUED]
    assert rows[1].message == "cannot win any more"
