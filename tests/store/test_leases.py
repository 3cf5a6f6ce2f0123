"""Claims, leases and fences, and what may be recorded under them."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import study_spec
from tests.store.claims import TTL, at_once, claim, epoch, finish
from tuner.errors import LostLease
from tuner.store import Claim, Progress, Row, Store, Study, Worker
from tuner.trial import Checkpoint, Failure, Outcome, State


def test_a_claim_is_a_new_fence_and_a_lease(store: Store, study: Study) -> None:
    first, row = claim(store, study)
    second, _ = claim(store, study, "b")
    assert (first.number, first.fence, second.number) == (0, 1, 1)
    assert (row.state, row.owner, row.attempts, row.params) == (State.RUNNING, "a", 1, None)


@pytest.mark.parametrize(("budget", "workers", "claims"), [(4, 8, 1), (1, 64, 1), (200, 8, 40)])
def test_nothing_is_claimed_twice(store: Store, budget: int, workers: int, claims: int) -> None:
    study = store.launch(study_spec(name="many"), budget, {})
    taken: list[tuple[Claim, Row] | None] = []
    at_once(workers, lambda _: taken.extend(store.claim(study, "w", TTL) for _ in range(claims)))
    assert len(taken) == workers * claims
    assert sorted(item[0].number for item in taken if item is not None) == list(range(budget))


def test_an_expired_lease_is_claimed_anew_with_everything_the_trial_had(store: Store, study: Study) -> None:
    old, _ = claim(store, study, now=1000.0)
    store.propose(old, {"width": 8}, {"note": 1})
    saved = Checkpoint(Path("x/0-1.safetensors"), 1, "ab")
    store.record([Progress(old, [epoch(0, 1)], checkpoint=saved)], TTL, now=1010.0)
    assert claim(store, study, "b", now=1039.0)[0].number == 1
    new, row = claim(store, study, "b", now=1040.5)
    assert (new.number, new.fence, row.attempts, row.crashes, row.epoch) == (0, 2, 2, 1, 1)
    assert (row.params, row.attrs, row.checkpoint) == ({"width": 8}, {"note": 1}, saved)


def test_a_success_elsewhere_is_a_trial_that_another_worker_trained(store: Store, study: Study) -> None:
    finish(store, claim(store, study, "a")[0])
    hopeless, _ = claim(store, study, "b")
    store.record([Progress(hopeless, outcome=Outcome(State.PRUNED, message="by formula"))], TTL)
    failed, _ = claim(store, study, "c")
    store.record([Progress(failed, [epoch(2, 1)], outcome=Outcome(State.FAILED, failure=Failure.ERROR))], TTL)
    assert [store.succeeded_elsewhere(study, name) for name in "abc"] == [False, True, True]
    pruned, _ = claim(store, study, "b")
    store.record([Progress(pruned, [epoch(3, 1)], outcome=Outcome(State.PRUNED, value=0.5))], TTL)
    assert store.succeeded_elsewhere(study, "a")


def test_an_expired_lease_stays_with_its_owner_until_another_claims_the_trial(store: Store, study: Study) -> None:
    mine, _ = claim(store, study, "a", now=1000.0)
    assert claim(store, study, "a", now=1031.0)[0].number == 1
    store.record([Progress(mine, [epoch(0, 1)])], TTL, now=1032.0)
    assert claim(store, study, "b", now=1063.0)[0] == replace(mine, fence=2)
    assert store.renew([mine], TTL, now=1064.0) == [mine]


def test_a_stale_owner_changes_nothing(store: Store, study: Study) -> None:
    old, _ = claim(store, study, now=1000.0)
    store.propose(old, {"width": 8}, {})
    new, _ = claim(store, study, "b", now=1031.0)
    before = store.trials(study)
    for stale in (
        lambda: store.propose(old, {"width": 9}, {}),
        lambda: store.record([Progress(old, [epoch(0, 1)])], TTL),
        lambda: store.record([Progress(old, outcome=Outcome(State.COMPLETE, value=1.0))], TTL),
        lambda: store.release(old),
    ):
        with pytest.raises(LostLease):
            stale()
    assert store.renew([old, new], TTL, now=1032.0) == [old]
    assert store.trials(study) == before
    assert store.epochs(study) == {}


def test_one_lost_lease_undoes_the_whole_record(store: Store, study: Study) -> None:
    lost, _ = claim(store, study, now=1000.0)
    claim(store, study, "b", now=1031.0)
    mine, _ = claim(store, study, "a", now=1031.0)
    with pytest.raises(LostLease):
        store.record([Progress(mine, [epoch(mine.number, 1)]), Progress(lost, [epoch(0, 1)])], TTL)
    assert store.epochs(study) == {}


def test_an_end_is_final(store: Store, study: Study) -> None:
    taken, _ = claim(store, study)
    finish(store, taken, 0.9)
    with pytest.raises(LostLease):
        store.record([Progress(taken, outcome=Outcome(State.FAILED, failure=Failure.ERROR))], TTL)
    row = store.trials(study)[0]
    assert (row.state, row.value, row.epoch, row.parameters, row.ended) == (State.COMPLETE, 0.9, 1, 99, 1001.0)
    assert claim(store, study, now=9999.0)[0].number == 1


def test_a_recorded_epoch_keeps_its_first_record(store: Store, study: Study) -> None:
    taken, _ = claim(store, study)
    store.record([Progress(taken, [epoch(0, 1, 0.1), epoch(0, 2, 0.2)])], TTL)
    store.record([Progress(taken, [epoch(0, 1, 0.7)])], TTL)
    assert [e.metrics["val_accuracy"] for e in store.epochs(study)[0]] == [0.1, 0.2]
    assert store.trials(study)[0].epoch == 2


def test_values_that_are_not_finite_come_back_as_they_were(store: Store, study: Study) -> None:
    taken, _ = claim(store, study)
    store.record([Progress(taken, [epoch(0, 1, float("nan")), epoch(0, 2, float("inf"))])], TTL)
    nan, inf = (e.metrics["val_accuracy"] for e in store.epochs(study)[0])
    assert (nan != nan, inf) == (True, float("inf"))


def test_recording_prolongs_the_lease(store: Store, study: Study) -> None:
    taken, _ = claim(store, study, now=1000.0)
    store.record([Progress(taken, [epoch(0, 1)])], TTL, now=1020.0)
    assert claim(store, study, "b", now=1045.0)[0].number == 1
    assert store.renew([taken], TTL, now=1045.0) == []


def test_a_released_trial_comes_first_and_is_no_crash(store: Store, study: Study) -> None:
    taken, _ = claim(store, study)
    claim(store, study, "b")
    store.propose(taken, {"width": 8}, {})
    store.release(taken)
    again, row = claim(store, study, "c")
    assert (again.number, again.fence, row.attempts, row.crashes) == (0, 2, 2, 0)
    store.release(again, crashed=1)
    again, row = claim(store, study, "c")
    assert row.crashes == 1
    store.release(again, crashed=2)
    assert claim(store, study, "c")[1].crashes == 3


def test_a_checkpoint_forgives_the_crashes_before_it(store: Store, study: Study) -> None:
    taken, _ = claim(store, study)
    store.release(taken, crashed=1)
    again, _ = claim(store, study)
    store.record([Progress(again, [epoch(0, 1)], checkpoint=Checkpoint(Path("x"), 1, "ab"))], TTL)
    assert store.trials(study)[0].crashes == 0


def test_the_leases_of_dead_workers_end_at_once(store: Store, study: Study) -> None:
    worker = Worker("a", "host", 1, 2.0)
    store.enlist(worker)
    claim(store, study, "a")
    assert store.owners("host") == [worker]
    assert store.owners("elsewhere") == []
    store.expire(["a"])
    taken = store.claim(study, "b", TTL)
    assert taken is not None
    assert taken[0].number == 0


def test_who_lost_the_answer_to_an_end_may_write_it_again(store: Store, study: Study) -> None:
    taken, _ = claim(store, study)
    end = Progress(taken, [epoch(0, 1)], outcome=Outcome(State.COMPLETE, value=0.9))
    for _ in range(2):
        store.record([end], TTL)
    other, _ = claim(store, study)
    for _ in range(2):
        store.release(other, crashed=1)
    rows = store.trials(study)
    assert [(row.state, row.epoch, row.crashes) for row in rows[:2]] == [(State.COMPLETE, 1, 0), (State.QUEUED, 0, 1)]
    assert [e.epoch for e in store.epochs(study)[0]] == [1]


def test_who_lost_the_answer_to_many_ends_may_write_them_again_with_what_is_new(store: Store, study: Study) -> None:
    claims = [claim(store, study)[0] for _ in range(4)]
    saved = Checkpoint(Path("1/3.safetensors"), 1, "c")
    ends = [Progress(c, [epoch(c.number, 1)], outcome=Outcome(State.COMPLETE, value=0.1 * c.number)) for c in claims[:2]]
    running = Progress(claims[2], [epoch(2, 1)], checkpoint=saved)
    store.record([*ends, running], TTL)
    another = Progress(claims[3], [epoch(3, 1)], outcome=Outcome(State.PRUNED, value=0.5))
    store.record([*ends, running, another], TTL)
    rows = store.trials(study)[:4]
    assert [(row.state, row.value, row.epoch) for row in rows] == [
        (State.COMPLETE, 0.0, 1),
        (State.COMPLETE, 0.1, 1),
        (State.RUNNING, None, 1),
        (State.PRUNED, 0.5, 1),
    ]
    assert (rows[2].checkpoint, rows[2].previous) == (saved, None)
    assert {number: len(epochs) for number, epochs in store.epochs(study).items()} == {0: 1, 1: 1, 2: 1, 3: 1}


def test_a_trial_that_its_owner_does_not_know_of_is_given_back(store: Store, study: Study) -> None:
    known, unknown, others = claim(store, study)[0], claim(store, study)[0], claim(store, study, "b")[0]
    store.disown("a", [known])
    states = {row.number: (row.state, row.owner) for row in store.trials(study)[:3]}
    assert states == {0: (State.RUNNING, "a"), 1: (State.QUEUED, None), 2: (State.RUNNING, "b")}
    assert store.renew([known, unknown, others], TTL) == [unknown]


def test_two_checkpoints_are_known_and_writing_one_twice_keeps_both(store: Store, study: Study) -> None:
    taken, _ = claim(store, study)
    first, second = (Checkpoint(Path(f"1/{n}.safetensors"), n, f"{n}") for n in (1, 2))
    store.record([Progress(taken, [epoch(0, 1)], checkpoint=first)], TTL)
    assert (store.trials(study)[0].checkpoint, store.trials(study)[0].previous) == (first, None)
    for _ in range(2):
        store.record([Progress(taken, [epoch(0, 2)], checkpoint=second)], TTL)
        assert (store.trials(study)[0].checkpoint, store.trials(study)[0].previous) == (second, first)
    finish(store, taken)
    assert (store.trials(study)[0].checkpoint, store.trials(study)[0].previous) == (None, None)
