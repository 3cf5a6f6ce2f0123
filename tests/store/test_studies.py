"""Studies that are paused, cancelled, extended and deleted, their workers and leaders."""

import pytest
import sqlalchemy as sa

from tests.conftest import study_spec
from tests.store.claims import TTL, claim, epoch, finish
from tuner.errors import BadInput, LostLease
from tuner.store import Progress, Store, Study, Worker, metadata
from tuner.trial import Outcome, State


def test_nothing_of_a_paused_study_is_claimed_until_it_goes_on(store: Store, study: Study) -> None:
    running, _ = claim(store, study)
    store.pause(study, paused=True)
    assert store.study("small").paused
    assert store.claim(study, "b", TTL) is None
    assert store.waiting() == []
    finish(store, running)
    store.pause(study, paused=False)
    assert claim(store, study)[0].number == 1


def test_a_cancelled_study_takes_every_lease_away(store: Store, study: Study) -> None:
    done, running = claim(store, study)[0], claim(store, study)[0]
    finish(store, done)
    store.cancel(study, "no longer wanted", now=1005.0)
    assert store.renew([running], TTL) == [running]
    with pytest.raises(LostLease):
        finish(store, running)
    rows = store.trials(study)
    assert [row.state for row in rows] == [State.COMPLETE] + [State.CANCELLED] * 3
    assert (rows[1].ended, rows[1].message, store.study("small").stopped) == (1005.0, "no longer wanted", "no longer wanted")
    assert store.claim(study, "b", TTL) is None


def test_studies_with_something_to_claim_are_known_with_their_share(store: Store) -> None:
    one, two, three = (store.launch(study_spec(name=name), 2, {}) for name in ("one", "two", "three"))

    def waiting(now: float) -> dict[str, tuple[int, int]]:
        return {study.name: (study.priority, running) for study, running in store.waiting(now=now)}

    claim(store, one, now=1000.0)
    assert waiting(1001.0) == {"one": (0, 1), "two": (0, 0), "three": (0, 0)}
    store.prioritise(three, 5)
    claim(store, two, now=1000.0)
    claim(store, two, now=1000.0)
    assert waiting(1001.0) == {"one": (0, 1), "three": (5, 0)}
    assert waiting(1031.0) == {"one": (0, 0), "two": (0, 0), "three": (5, 0)}  # the leases ran out


def test_the_conditions_of_a_trial_are_those_of_who_trained_it_last(store: Store, study: Study) -> None:
    first, second = Worker("a", "host", 1, 2.0), Worker("b", "host", 3, 4.0)
    store.note(study, first, {"keras": "3.0"})
    store.note(study, first, {"keras": "never"})
    store.note(study, second, {"keras": "3.1"})
    claim(store, study, "a", now=1000.0)
    taken, _ = claim(store, study, "b", now=2000.0)
    finish(store, taken, now=2000.0)
    claim(store, study, "c", now=2000.0)
    by_b, by_c, nobodys = store.trials(study)[:3]
    assert store.conditions(study, by_b) == {"keras": "3.1"}
    assert (store.conditions(study, by_c), store.conditions(study, nobodys)) == (None, None)
    store.delete(study)
    store.note(study, second, {"keras": "3.2"})
    assert store.conditions(study, by_b) is None


def test_workers_are_seen_with_what_they_hold_until_they_are_forgotten(store: Store, study: Study) -> None:
    store.enlist(Worker("a", "host", 1, 2.0, "gpu 0"), now=1000.0)
    store.enlist(Worker("b", "host", 3, 4.0), now=1000.0)
    claim(store, study, "a")
    store.enlist(Worker("b", "host", 3, 4.0, message="quarantined", engine="8 lanes"), now=1010.0)
    one, two = store.workers(now=1012.0)
    assert (one.worker.device, one.silence, one.trials) == ("gpu 0", 12.0, [("small", 0)])
    assert (two.worker.message, two.worker.engine) == ("quarantined", "8 lanes")
    assert (two.silence, two.started, two.trials) == (2.0, 1000.0, [])
    store.strike_off(now=1010.0 + 86_401)
    assert [sighting.worker.name for sighting in store.workers()] == ["a"]
    store.dismiss(one.worker)
    assert [sighting.worker.name for sighting in store.workers()] == ["a"]  # it still holds a trial
    store.cancel(study, "enough")
    store.dismiss(one.worker)
    assert store.workers() == []


def test_extending_adds_rows_and_undoes_a_stop(store: Store, study: Study) -> None:
    taken, _ = claim(store, study)
    store.stop(study, "budget.target", now=1005.0)
    assert store.study("small").stopped == "budget.target"
    assert store.counts(study)[State.CANCELLED] == 3
    finish(store, taken)
    longer = store.extend(study, 2)
    assert (longer.trials, longer.stopped, store.counts(longer)[State.QUEUED]) == (6, "", 2)
    assert claim(store, longer)[0].number == 4
    with pytest.raises(BadInput, match="more than 10000"):
        store.extend(longer, 10_000)


def test_a_grid_is_extended_by_the_points_that_it_has_left(store: Store) -> None:
    grid = store.launch(study_spec(sampler="grid", search={"width": [4, 5, 6], "bias": [True, False]}), 4, {})
    longer = store.extend(grid, 9)
    assert (longer.trials, store.counts(longer)[State.QUEUED]) == (6, 6)
    with pytest.raises(BadInput, match="--trials: all 6 configurations of the grid have a trial; write another `name`"):
        store.extend(longer, 1)
    with pytest.raises(BadInput, match=r"4 \+ 2 is more than 6"):
        store.extend(grid, 2)  # who had not heard of it
    assert store.study(grid.name) == longer


def test_deleting_leaves_nothing(store: Store, study: Study) -> None:
    taken, _ = claim(store, study)
    store.record([Progress(taken, [epoch(0, 1)])], TTL)
    store.refer("mlflow", study, "7")
    store.delete(study)
    assert store.studies() == []
    with store._read() as connection:
        for table in metadata.tables.values():
            assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0


@pytest.mark.parametrize(("metric", "best"), [("val_accuracy", [1, 0]), ("val_loss", [0, 1])])
def test_leaders_follow_the_direction(store: Store, metric: str, best: list[int]) -> None:
    study = store.launch(study_spec(objective=metric), 3, {})
    for value in (0.2, 0.8):
        taken = claim(store, study)[0]
        finish(store, taken, value)
    assert [row.number for row in store.leaders(study, 5)] == best


def test_leaders_keep_to_the_constraints_and_of_equal_ones_the_cheaper_is_first(store: Store) -> None:
    aims = {"objective": ["val_accuracy", "latency_ms"], "constraints": ["parameters <= 50", "latency_ms <= 0.5"]}
    study = store.launch(study_spec(**aims, budget=5), 5, {})
    for value, weights, latency in ((0.9, 60, 0.1), (0.8, 50, 0.5), (0.8, 50, 0.4), (0.9, 40, 0.6)):
        costs = {"parameters": weights, "latency_ms": latency}
        taken = claim(store, study)[0]
        outcome = Outcome(State.COMPLETE, value=value, costs=costs)
        store.record([Progress(taken, [epoch(taken.number, 1, value)], outcome=outcome)], TTL)
    assert [row.costs.get("parameters") for row in store.trials(study)] == [60, 50, 50, 40, None]
    assert [(row.number, row.value) for row in store.leaders(study, 4)] == [(2, 0.8), (1, 0.8)]
