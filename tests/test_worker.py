"""The supervisor with a real child process, whose engine needs no TensorFlow (see `tests.paper`)."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import study_spec
from tests.paper import accuracy
from tests.starved import count
from tuner.cgroup import Cgroup
from tuner.errors import BadInput, ChildDied, DatabaseAway, LostLease
from tuner.search import extend
from tuner.store import Claim, Progress, Row, Store, Study
from tuner.trial import Checkpoint, Epoch, Failure, State
from tuner.worker import MAX_DEATHS, Supervisor

PAPER = [sys.executable, "-m", "tests.paper"]
LUCKY = {"width": {"int": [4, 12]}, "learning_rate": {"float": [1e-3, 1e-1], "log": True}}


def supervisor(tables: Store, study: Study, home: Path, command: list[str] | None = None) -> Supervisor:
    made = Supervisor(tables, study, home, [], dict(os.environ))
    made.command = command or PAPER
    return made


def limited(folder: Path) -> Cgroup:
    """A folder that stands for a control group; `tests.starved` counts its kills there."""
    (folder / "memory.max").write_text(f"{1229 * 2**20}\n")
    return Cgroup(folder)


def run(tables: Store, home: Path, tick: Callable[[], None] = lambda: None, **changes: Any) -> tuple[Study, list[Row]]:
    spec = study_spec(**changes)
    study = tables.launch(spec, spec.budget.trials, {})
    supervisor(tables, study, home).work(tick)
    return study, tables.trials(study)


def test_every_budgeted_trial_ends_once_with_all_its_epochs(tables: Store, tmp_path: Path) -> None:
    study, rows = run(tables, tmp_path, budget=6)
    assert [(row.number, row.state, row.attempts, row.fence) for row in rows] == [(n, State.COMPLETE, 1, 1) for n in range(6)]
    for row in rows:
        assert row.params is not None
        assert row.value == accuracy(row.params, 3)
        assert [e.epoch for e in tables.epochs(study)[row.number]] == [1, 2, 3]


def test_the_same_seed_gives_the_same_parameters(tables: Store, tmp_path: Path) -> None:
    _, first = run(tables, tmp_path, name="one", sampler="tpe", budget=25)
    _, second = run(tables, tmp_path, name="two", sampler="tpe", budget=25)
    assert [row.params for row in first] == [row.params for row in second]
    assert [row.value for row in first] == [row.value for row in second]


def test_a_hopeless_trial_is_pruned_at_a_rung_and_told_so(tables: Store, tmp_path: Path) -> None:
    study, rows = run(tables, tmp_path, budget=20, pruner="asha", train={"epochs": 9})
    pruned = [row for row in rows if row.state is State.PRUNED]
    assert pruned
    assert any(row.state is State.COMPLETE for row in rows)
    for row in pruned:
        assert row.epoch < 9
        assert row.value == max(e.metrics["val_accuracy"] for e in tables.epochs(study)[row.number])
        assert "completed_rung_0" in row.attrs


@pytest.mark.parametrize(
    ("width", "kind", "said"),
    [
        (13, Failure.ERROR, "RuntimeError: width 13 is unlucky"),
        (14, Failure.OUT_OF_MEMORY, "MemoryError: width 14 is too large"),
        (15, Failure.NON_FINITE, "loss is nan after epoch 2"),
    ],
)
def test_a_failed_trial_has_a_kind_and_a_message_and_the_study_goes_on(
    tables: Store, tmp_path: Path, width: int, kind: Failure, said: str
) -> None:
    search = {"width": [width, 4], "learning_rate": {"float": [0.01, 0.1]}}
    _, rows = run(tables, tmp_path, search=search, enqueue=[{"width": width}, {"width": 4}], budget=2)
    assert (rows[0].state, rows[0].failure, rows[0].message) == (State.FAILED, kind, said)
    assert rows[1].state is State.COMPLETE


def test_an_impossible_network_is_pruned_before_a_child_hears_of_it(tables: Store, tmp_path: Path) -> None:
    search = {"kernel": [3, 5], "learning_rate": {"float": [0.01, 0.1]}}
    enqueue = [{"kernel": 5}, {"kernel": 3}]
    spec = study_spec(model="lenet", search=search, enqueue=enqueue, budget=2, objective="val_accuracy")
    study = tables.launch(spec, 2, {"rows": 1797, "input_shape": [8, 8, 1], "classes": 10})
    made = supervisor(tables, study, tmp_path)
    made.work(lambda: None)
    impossible, trained = tables.trials(study)
    assert (impossible.state, impossible.epoch, impossible.value) == (State.PRUNED, 0, None)
    assert impossible.message == "convolution 2: 5×5 with padding 0 does not fit into 4×4"
    assert trained.state is State.COMPLETE
    assert list(tables.epochs(study)) == [1]
    assert made._search.unfinished([impossible, trained]) == []


def test_a_network_that_breaks_a_constraint_by_formula_is_not_trained(tables: Store, tmp_path: Path) -> None:
    aims = {"objective": ["val_accuracy", "model_bytes"], "constraints": ["parameters <= 600"]}
    search = {"depth": 1, "width": [8, 4], "learning_rate": 0.03}
    spec = study_spec(**aims, search=search, enqueue=[{"width": 8}, {"width": 4}], budget=2)
    study = tables.launch(spec, 2, {"rows": 1797, "input_shape": [8, 8, 1], "classes": 10})
    supervisor(tables, study, tmp_path).work(lambda: None)
    large, trained = tables.trials(study)
    assert (large.state, large.epoch, large.value) == (State.PRUNED, 0, None)
    assert large.message == "parameters <= 600: parameters 610, model_bytes 2,440"
    assert large.costs == {"parameters": 610, "model_bytes": 2440}
    assert (trained.state, trained.costs) == (State.COMPLETE, {"parameters": 4, "model_bytes": 4})


def test_checkpoints_of_ended_trials_are_removed(tables: Store, tmp_path: Path) -> None:
    folder, most = tmp_path / "checkpoints", 0

    def count() -> None:
        nonlocal most
        most = max(most, len(list(folder.rglob("*.json"))))

    record = tables.record

    def counting(progress: list[Progress], ttl: float) -> None:
        record(progress, ttl)
        count()

    tables.record = counting  # type: ignore[method-assign,assignment]
    run(tables, tmp_path, train={"epochs": 5, "checkpoint_seconds": 0.0})
    assert most == 3  # the newest two, and the one before them until the newest is on record
    assert not list(folder.rglob("*"))


def test_draining_saves_and_releases_and_the_next_run_goes_on(tables: Store, tmp_path: Path) -> None:
    spec = study_spec(train={"epochs": 200}, budget=1)
    study = tables.launch(spec, 1, {})
    first = supervisor(tables, study, tmp_path)
    record = tables.record

    def drain_at_fifty(progress: list[Progress], ttl: float) -> None:
        record(progress, ttl)
        if any(epoch.epoch == 50 for item in progress for epoch in item.epochs):
            first.drain()

    tables.record = drain_at_fifty  # type: ignore[method-assign,assignment]
    first.work(lambda: None)
    (row,) = tables.trials(study)
    assert (row.state, row.epoch, row.crashes) == (State.QUEUED, 50, 0)
    assert row.checkpoint is not None
    assert row.checkpoint.epoch == 50
    supervisor(tables, study, tmp_path).work(lambda: None)
    (row,) = tables.trials(study)
    assert (row.state, row.epoch, row.attempts) == (State.COMPLETE, 200, 2)
    _whole(tables.epochs(study)[0], row)


def _whole(epochs: list[Epoch], row: Row) -> None:
    """The epochs are gapless, and the running sum went on from the checkpoint as if nothing had happened."""
    assert row.params is not None
    assert [e.epoch for e in epochs] == list(range(1, len(epochs) + 1))
    total = 0.0
    for epoch in epochs:
        total += accuracy(row.params, epoch.epoch)
        assert epoch.metrics["sum"] == total


@pytest.mark.parametrize("damage", [b"", b"{}", None])
def test_a_damaged_checkpoint_is_never_loaded_and_the_trial_begins_anew(
    tables: Store, tmp_path: Path, damage: bytes | None
) -> None:
    study = tables.launch(study_spec(budget=1), 1, {})
    taken = tables.claim(study, "a", 30.0)
    assert taken is not None
    path = tmp_path / "0-2.json"
    path.write_bytes(b'{"number": 0, "epoch": 2, "sum": 99.0}')
    tables.propose(taken[0], {"width": 8, "optimizer": "sgd", "learning_rate": 0.01}, {})
    tables.record([Progress(taken[0], checkpoint=Checkpoint(path, 2, "0" * 64))], 30.0)
    tables.release(taken[0])
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    supervisor(tables, study, tmp_path).work(lambda: None)
    (row,) = tables.trials(study)
    assert row.state is State.COMPLETE
    _whole(tables.epochs(study)[0], row)


def test_a_damaged_checkpoint_is_replaced_by_the_one_before_and_homes_may_have_any_path(tables: Store, tmp_path: Path) -> None:
    spec = study_spec(train={"epochs": 40, "checkpoint_seconds": 0.0}, budget=1)
    study = tables.launch(spec, 1, {})
    first, home = supervisor(tables, study, tmp_path / "one"), tmp_path / "two"
    first.leave = lambda worker: tables.trials(study)[0].epoch >= 20
    first.work(lambda: None)
    (row,) = tables.trials(study)
    assert row.checkpoint is not None
    assert row.previous is not None
    assert row.checkpoint.epoch > row.previous.epoch > 10
    (tmp_path / "one").rename(home)
    (home / row.checkpoint.path).write_bytes(b"{}")
    second = supervisor(tables, study, home)
    second.work(lambda: None)
    (row,) = tables.trials(study)
    assert (row.state, row.epoch, row.attempts) == (State.COMPLETE, 40, 2)
    _whole(tables.epochs(study)[0], row)
    assert "goes on from an older state" in (home / "logs" / f"{second.worker.name}.log").read_text()


def test_a_disk_that_takes_nothing_stops_no_trial_and_is_reported(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(train={"epochs": 40, "checkpoint_seconds": 0.0}, budget=1), 1, {})
    working = supervisor(tables, study, tmp_path)
    record = tables.record

    def break_disk(progress: list[Progress], ttl: float) -> None:
        record(progress, ttl)
        if tables.trials(study)[0].epoch == 10:
            (tmp_path / study.folder).rename(tmp_path / "gone")

    tables.record = break_disk  # type: ignore[method-assign,assignment]
    working.work(lambda: None)
    (row,) = tables.trials(study)
    assert (row.state, row.epoch, row.attempts) == (State.COMPLETE, 40, 1)
    _whole(tables.epochs(study)[0], row)
    assert working.worker.message.startswith("trial 0 is not saved: ")


@pytest.mark.parametrize("said", ["", "; trial 0 is not saved: "])
def test_what_was_wrong_before_is_said_beside_what_is_not_saved(tables: Store, tmp_path: Path, said: str) -> None:
    study = tables.launch(study_spec(train={"epochs": 9, "checkpoint_seconds": 0.0}, budget=1), 1, {})
    working = supervisor(tables, study, tmp_path)
    working.worker = replace(working.worker, message="other cannot be begun here")
    working.leave = lambda worker: bool(said and shutil.rmtree(tmp_path / worker._folder, ignore_errors=True))
    working.work(lambda: None)
    assert working.worker.message.startswith(f"other cannot be begun here{said}")
    assert ("not saved" in working.worker.message) == bool(said)


def test_a_child_that_hangs_is_killed_and_its_log_says_where(tables: Store, tmp_path: Path) -> None:
    spec = study_spec(enqueue=[{"width": 13}], budget=2)
    study = tables.launch(spec, 2, {})
    hanging = supervisor(tables, study, tmp_path, [sys.executable, "-m", "tests.hanging"])
    hanging.stall, hanging.group = 1.0, Cgroup(tmp_path)
    hanging.work(lambda: count(tmp_path))  # the kernel kills others meanwhile
    stuck, fine = tables.trials(study)
    assert (stuck.state, stuck.failure, stuck.attempts) == (State.FAILED, Failure.CRASHED, 3)
    assert "killed, as it did nothing for 1 s" in stuck.message
    assert "hanging.py" in stuck.log
    assert fine.state is State.COMPLETE


def test_a_child_that_takes_too_long_to_stop_is_killed_and_its_trial_released(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(enqueue=[{"width": 13}], budget=2), 2, {})
    hanging = supervisor(tables, study, tmp_path, [sys.executable, "-m", "tests.hanging"])
    hanging.work(lambda: hanging.drain(0.5) if tables.trials(study)[0].params else None)
    row = tables.trials(study)[0]
    assert (row.state, row.crashes, row.attempts) == (State.QUEUED, 0, 1)


def test_a_cancelled_study_ends_its_child_whatever_it_does(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(enqueue=[{"width": 13}], budget=2), 2, {})
    hanging = supervisor(tables, study, tmp_path, [sys.executable, "-m", "tests.hanging"])
    hanging.ttl = 1.0
    hanging.work(lambda: tables.cancel(study, "enough") if tables.trials(study)[0].params else None)
    assert [row.state for row in tables.trials(study)] == [State.CANCELLED] * 2
    sample, *_ = tables.samples(study, after=0.0, limit=1)
    assert sample.worker == hanging.worker.name
    assert min(sample.usage["system_memory_usage_megabytes"], sample.usage["training_memory_usage_megabytes"]) > 0


def test_a_paused_study_is_left_with_its_trials_saved(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(train={"epochs": 4_000}, budget=1), 1, {})
    leaving = supervisor(tables, study, tmp_path)
    leaving.ttl = 0.5
    record = tables.record

    def pause(progress: list[Progress], ttl: float) -> None:
        record(progress, ttl)
        if progress and not tables.study("small").paused:
            tables.pause(study, paused=True)

    tables.record = pause  # type: ignore[method-assign,assignment]
    leaving.work(lambda: None)
    (row,) = tables.trials(study)
    assert (row.state, row.crashes) == (State.QUEUED, 0)
    assert row.checkpoint is not None
    assert row.checkpoint.epoch == row.epoch > 0


def test_a_trial_that_keeps_killing_its_process_fails_and_the_study_goes_on(tables: Store, tmp_path: Path) -> None:
    spec = study_spec(enqueue=[{"width": 13}], budget=3)
    study = tables.launch(spec, 3, {})
    supervisor(tables, study, tmp_path, [sys.executable, "-m", "tests.deadly"]).work(lambda: None)
    rows = tables.trials(study)
    assert (rows[0].state, rows[0].failure, rows[0].attempts) == (State.FAILED, Failure.CRASHED, 3)
    assert "killed by SIGKILL" in rows[0].message
    assert [row.state for row in rows[1:]] == [State.COMPLETE, State.COMPLETE]


def test_a_child_that_cannot_begin_ends_the_work_with_its_last_words(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(), 4, {})
    hopeless = supervisor(tables, study, tmp_path, [sys.executable, "-c", "import sys; sys.exit('no such engine')"])
    with pytest.raises(ChildDied, match=r"exit code 1; its last line in .*: no such engine"):
        hopeless.work(lambda: None)
    assert tables.counts(study)[State.QUEUED] == 4


def test_a_child_that_is_killed_for_want_of_memory_before_it_has_a_trial_says_so(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(), 4, {})
    starving = supervisor(tables, study, tmp_path)
    starving.group = limited(tmp_path)
    code = f"from pathlib import Path; from tests.starved import die; die(Path({str(tmp_path)!r}))"
    starving.command = [sys.executable, "-c", code]
    with pytest.raises(
        ChildDied, match=r"killed by the kernel for want of memory, limit 1,229 MiB; its last line in .*: nothing"
    ):
        starving.work(lambda: None)
    assert tables.counts(study)[State.QUEUED] == 4


def test_target_and_patience_end_a_study_early(tables: Store, tmp_path: Path) -> None:
    search = {"width": [12, 4], "learning_rate": 0.03}
    _, rows = run(tables, tmp_path, name="t", search=search, enqueue=[{"width": 12}], budget={"trials": 9, "target": 0.8})
    assert [row.state for row in rows] == [State.COMPLETE] + [State.CANCELLED] * 8
    assert rows[1].message == "budget.target: trial 0 reached 0.875"
    _, rows = run(tables, tmp_path, name="p", search=search, enqueue=[{"width": 12}], budget={"trials": 9, "patience": 3})
    assert [row.state for row in rows] == [State.COMPLETE] * 4 + [State.CANCELLED] * 5


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"target": 0.8}, "budget.target: trial 0 reached 0.875"),
        ({"patience": 3}, "budget.patience: no trial of the last 3 was better than trial 0"),
    ],
)
def test_a_study_that_is_at_a_limit_is_not_extended(store: Store, tmp_path: Path, limit: dict[str, Any], reason: str) -> None:
    search = {"width": [12, 4], "learning_rate": 0.03}
    run(store, tmp_path, search=search, enqueue=[{"width": 12}], budget={"trials": 9, **limit})
    study = store.study("small")
    before = store.trials(study)
    with pytest.raises(BadInput) as refused:
        extend(store, study, 2)
    assert str(refused.value).startswith(f"small: {reason}; more trials would be cancelled at once; write another `name` in")
    assert (store.study("small"), store.trials(study)) == (study, before)


def test_a_study_is_extended_while_its_hours_last(store: Store) -> None:
    spec = study_spec(budget={"trials": 9, "hours": 1})
    study = store.launch(spec, 9, {}, now=store.clock() - 1800)
    over = store.launch(spec.model_copy(update={"name": "over"}), 9, {}, now=store.clock() - 3601)
    assert extend(store, study, 2).trials == 11
    with pytest.raises(BadInput, match=r"over: budget\.hours: 1 hours are over; more trials would be cancelled at once; write"):
        extend(store, over, 2)
    assert store.study("over") == over


def test_hours_end_a_study(tables: Store, tmp_path: Path) -> None:
    spec = study_spec(budget={"trials": 9, "hours": 1})
    study = tables.launch(spec, 9, {}, now=tables.clock() - 3601)
    supervisor(tables, study, tmp_path).work(lambda: None)
    assert tables.counts(study)[State.CANCELLED] == 9
    assert tables.study("small").stopped == "budget.hours: 1 hours are over"


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
    _whole(tables.epochs(study)[0], rows[0])


# Many trials in one child ------------------------------------------------------------

WIDE = [sys.executable, "-m", "tests.wide"]


@pytest.mark.parametrize("pruner", ["none", "asha"])
def test_a_child_of_many_lanes_ends_every_trial_once_and_the_same_the_next_time(
    tables: Store, tmp_path: Path, pruner: str
) -> None:
    found = []
    for name in ("one", "two"):
        search = {"width": {"int": [4, 12]}, "learning_rate": {"float": [1e-3, 1e-1], "log": True}}
        spec = study_spec(name=name, sampler="tpe", pruner=pruner, budget=26, train={"epochs": 9}, search=search)
        study = tables.launch(spec, 26, {})
        worker = supervisor(tables, study, tmp_path / name, WIDE)
        worker.work(lambda: None)
        assert worker.worker.engine == "4 engines of paper"
        rows = tables.trials(study)
        assert [(row.number, row.attempts, row.fence) for row in rows] == [(n, 1, 1) for n in range(26)]
        assert {row.state for row in rows} <= {State.COMPLETE, State.PRUNED}
        found.append([(row.params, row.value, row.epoch) for row in rows])
    assert found[0] == found[1]


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
        _whole(tables.epochs(study)[number], rows[number])


def test_what_a_name_still_has_from_before_is_given_back(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(budget=1), 1, {})
    worker = supervisor(tables, study, tmp_path)
    assert tables.claim(study, worker.worker.name, -1.0) is not None
    worker.work(lambda: None)
    (row,) = tables.trials(study)
    assert (row.state, row.attempts, row.crashes) == (State.COMPLETE, 2, 0)


def test_a_trial_that_kills_the_process_takes_none_of_its_neighbours_with_it(tables: Store, tmp_path: Path) -> None:
    widths = [{"width": 13 if number == 2 else 4 + number} for number in range(9)]
    study = tables.launch(study_spec(enqueue=widths, budget=9), 9, {})
    supervisor(tables, study, tmp_path, WIDE).work(lambda: None)
    rows = tables.trials(study)
    assert [(row.number, row.failure) for row in rows if row.state is not State.COMPLETE] == [(2, Failure.CRASHED)]
    assert rows[2].attempts == 3


PARKING = [{"width": width} for width in (4, 15, 6, 7, 13, 8)]
"""In a child of `tests.wide`, number 1 makes room for number 4, which kills the child while number 5 is proposed for later."""


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


@pytest.mark.parametrize("crashes", [0, 1])
def test_a_trial_killed_for_want_of_memory_has_one_more_try_alone_and_its_neighbours_end(
    tables: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, crashes: int
) -> None:
    widths = [{"width": 13 if number == 2 else 4 + number} for number in range(9)]
    study = tables.launch(study_spec(enqueue=widths, budget=9), 9, {})
    for taken in [tables.claim(study, "a", 30.0) for _ in range(4 * crashes)]:
        assert taken is not None
        tables.release(taken[0], crashed=1)
    starving = supervisor(tables, study, tmp_path, [sys.executable, "-m", "tests.starved", str(tmp_path)])
    starving.group = limited(tmp_path)
    starving.work(lambda: None)
    rows = tables.trials(study)
    assert [(row.number, row.failure) for row in rows if row.state is not State.COMPLETE] == [(2, Failure.HOST_OUT_OF_MEMORY)]
    assert [row.attempts for row in rows] == [2 + crashes] * 4 + [1] * 5
    (message,) = rows[2].message.splitlines()
    assert message.startswith(
        "the training process of this trial alone was killed by the kernel for want of memory, limit 1,229 MiB"
    )
    assert starving.group.oom_kills == 2
    assert "4 trials go on alone, as their process was killed by the kernel for want of memory" in caplog.text


def test_a_trial_that_keeps_killing_whole_workers_ends_too(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(budget=3), 3, {})
    for number in range(MAX_DEATHS + 1):  # who dies without a word leaves a lease that runs out
        claimed = tables.claim(study, f"worker {number}", -1.0)
        assert claimed is not None
    assert claimed[1].crashes == MAX_DEATHS
    tables.release(claimed[0])
    supervisor(tables, study, tmp_path).work(lambda: None)
    lost, *others = tables.trials(study)
    assert (lost.state, lost.failure) == (State.FAILED, Failure.CRASHED)
    assert lost.message == "its worker died 6 times without reaching a checkpoint of it; a container's memory may be too small"
    assert all(row.state is State.COMPLETE for row in others)


def test_a_trial_that_workers_die_of_before_it_has_parameters_ends_too(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(budget=3, sampler="grid", search={"width": [4, 5], "learning_rate": 0.01}), 3, {})
    for _ in range(MAX_DEATHS):
        with pytest.raises(IndexError):
            supervisor(tables, study, tmp_path).work(lambda: None)
    supervisor(tables, study, tmp_path).work(lambda: None)
    *others, lost = tables.trials(study)
    assert (lost.state, lost.failure, lost.params) == (State.FAILED, Failure.CRASHED, None)
    assert [row.state for row in others] == [State.COMPLETE] * 2


def test_a_pause_holds_also_when_the_budget_ends_the_study_at_that_moment(tables: Store) -> None:
    study = tables.launch(study_spec(final={"finalists": 2, "seeds": 3}), 4, {})
    tables.pause(study, paused=True)
    tables.stop(study, "budget.patience: enough")
    assert tables.study("small").paused
    assert tables.waiting() == []
    tables.pause(study, paused=False)
    assert [due.name for due, _ in tables.waiting()] == ["small"]


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


def test_a_home_that_takes_no_folders_is_said_in_one_line_and_costs_no_attempt(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(), 2, {})
    home = tmp_path / "home"
    home.write_text("a file")
    with pytest.raises(BadInput, match=r"^--home: .*home/checkpoints.* cannot be made: Not a directory$"):
        supervisor(tables, study, home).work(lambda: None)
    home.unlink()
    home.mkdir()
    (home / "logs").write_text("a file")
    with pytest.raises(BadInput, match=r"^--home: .*home/logs cannot be made: File exists$"):
        supervisor(tables, study, home).work(lambda: None)
    assert [row.attempts for row in tables.trials(study)] == [0, 0]
