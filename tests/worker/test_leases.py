"""Who has a trial, when several may think that they have it."""

import sys
from pathlib import Path

import pytest

from tests.conftest import study_spec
from tests.worker.supervising import PARKING, WIDE, supervisor, whole
from tuner.errors import BadInput, ChildDied, DatabaseAway, LostLease
from tuner.store import Claim, Progress, Store, Study
from tuner.trial import Epoch, State
from tuner.worker import Supervisor

LUCKY = {"width": {"int": [4, 12]}, "learning_rate": {"float": [1e-3, 1e-1], "log": True}}


def test_the_leases_of_a_dead_supervisor_are_taken_over_at_once(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(budget=1), 1, {})
    dead = supervisor(tables, study, tmp_path)
    object.__setattr__(dead.worker, "process_started", 1.0)  # another process had this number before
    tables.enlist(dead.worker)
    taken = tables.claim(study, dead.worker.name, 3600.0)
    assert taken is not None
    supervisor(tables, study, tmp_path).work(lambda: None)
    assert tables.trials(study)[0].state is State.COMPLETE


def test_a_trial_taken_away_is_let_go_and_nothing_else_changes(tables: Store, tmp_path: Path) -> None:
    spec = study_spec(train={"epochs": 40}, budget=2)
    study = tables.launch(spec, 2, {})
    record = tables.record
    stolen: list[int] = []

    def steal_once(progress: list[Progress], ttl: float) -> None:
        if not stolen and any(epoch.epoch == 10 for item in progress for epoch in item.epochs):
            thief = tables.claim(study, "thief", -7200.0, now=tables.clock() + 3600)
            assert thief is not None
            stolen.append(thief[0].number)
        record(progress, ttl)

    tables.record = steal_once  # type: ignore[method-assign,assignment]
    supervisor(tables, study, tmp_path).work(lambda: None)
    rows = tables.trials(study)
    assert stolen == [0]
    assert [(row.state, row.epoch) for row in rows] == [(State.COMPLETE, 40)] * 2
    assert rows[0].attempts == 3
    whole(tables.epochs(study)[0], rows[0])


def test_leases_that_run_out_at_their_owner_cost_nothing(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(budget=9, search=LUCKY), 9, {})
    worker = supervisor(tables, study, tmp_path, WIDE)

    def wake_up(_: Supervisor) -> bool:
        """As after a sleep that was longer than a lease."""
        tables.expire([worker.worker.name])
        return False

    worker.leave = wake_up
    worker.work(lambda: None)
    assert [(row.state, row.attempts, row.fence) for row in tables.trials(study)] == [(State.COMPLETE, 1, 1)] * 9


def test_a_trial_that_comes_back_from_another_worker_is_not_taken_in_beside_itself(tables: Store, tmp_path: Path) -> None:
    spec = study_spec(budget=4, enqueue=[{"width": width} for width in (15, 4, 5, 6)], train={"epochs": 40})
    study = tables.launch(spec, 4, {})
    worker = supervisor(tables, study, tmp_path, WIDE)

    def sleep_and_wake_up(_: Supervisor) -> bool:
        """The sleeper's trial was claimed and given back by another worker; when it wakes up it has room for one more."""
        if tables.trials(study)[1].fence == 1 and tables.counts(study)[State.FAILED]:
            tables.expire([worker.worker.name])
            thief = tables.claim(study, "thief", 30.0)
            assert thief is not None
            tables.release(thief[0])
        return False

    worker.leave = sleep_and_wake_up
    worker.work(lambda: None)
    rows = tables.trials(study)
    assert [row.state for row in rows] == [State.FAILED] + [State.COMPLETE] * 3
    for number in range(1, 4):
        whole(tables.epochs(study)[number], rows[number])


def test_what_a_name_still_has_from_before_is_given_back(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(budget=1), 1, {})
    worker = supervisor(tables, study, tmp_path)
    assert tables.claim(study, worker.worker.name, -1.0) is not None
    worker.work(lambda: None)
    (row,) = tables.trials(study)
    assert (row.state, row.attempts, row.crashes) == (State.COMPLETE, 2, 0)


@pytest.mark.parametrize(("end", "error"), [("BadInput", BadInput), ("SystemExit", ChildDied)])
def test_a_supervisor_that_gives_up_keeps_no_trial(tables: Store, tmp_path: Path, end: str, error: type[Exception]) -> None:
    study = tables.launch(study_spec(enqueue=PARKING, budget=6), 6, {})
    command = [sys.executable, "-m", "tests.fleeting", str(tmp_path / "begun"), end]
    with pytest.raises(error, match="gone"):
        supervisor(tables, study, tmp_path, command).work(lambda: None)
    rows = tables.trials(study)
    assert [(row.state, row.crashes) for row in rows if row.number != 1] == [(State.QUEUED, 1)] * 4 + [(State.QUEUED, 0)]
    assert rows[5].attempts == 1


class Leaving(Store):
    """A database that is away, as often as it is said to be, for who counts."""

    away = 0

    def counts(self, study: Study) -> dict[State, int]:
        if self.away:
            self.away -= 1
            raise DatabaseAway
        return super().counts(study)

    def release(self, claim: Claim, *, crashed: int = 0) -> None:
        super().release(claim, crashed=crashed)
        self.away = 2 * crashed


def test_a_database_that_is_away_between_two_children_is_waited_for(tables: Store, tmp_path: Path) -> None:
    leaving = Leaving(tables.url)
    study = tables.launch(study_spec(enqueue=PARKING, budget=6), 6, {})
    worker = supervisor(leaving, study, tmp_path, WIDE)
    worker.ttl = 0.3
    worker.work(lambda: None)
    leaving.close()
    ends = {row.number: row.state for row in tables.trials(study)}
    assert ends == dict.fromkeys(range(6), State.COMPLETE) | {1: State.FAILED, 4: State.FAILED}


def test_a_study_that_is_launched_again_after_its_deletion_is_none_of_those_who_had_it(store: Store) -> None:
    old = store.launch(study_spec(), 2, {})
    taken = store.claim(old, "a", 30.0)
    assert taken is not None
    store.delete(old)
    new = store.launch(study_spec(search={"width": {"int": [4, 5]}}), 2, {})
    assert store.claim(new, "b", 30.0) is not None
    assert store.again(old) is None
    assert store.claim(old, "a", 30.0) is None
    with pytest.raises(LostLease):
        store.record([Progress(taken[0], [Epoch(0, 1, {"loss": 1.0}, 0.1)])], 30.0)
    assert store.epochs(new) == {}
    store.delete(new)
    assert store.launch(study_spec(), 2, {}).id > new.id > old.id
