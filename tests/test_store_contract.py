"""Every verb of the store, the same on SQLite and on PostgreSQL. Time is an argument."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tests.conftest import study_spec
from tuner.errors import BadInput, LostLease, StudyChanged, UnknownStudy
from tuner.spec import StudySpec
from tuner.store import HEAD, VERSION_TABLE, Claim, Plan, Progress, Row, Sample, Stage, Store, Study, Worker, address, metadata
from tuner.trial import Checkpoint, Epoch, Failure, Outcome, State

TTL = 30.0


@pytest.fixture
def study(store: Store) -> Study:
    return store.launch(study_spec(), 4, {"rows": 10}, now=1000.0)


def claim(store: Store, study: Study, owner: str = "a", now: float = 1000.0) -> tuple[Claim, Row]:
    taken = store.claim(study, owner, TTL, now=now)
    assert taken is not None
    return taken


def epoch(number: int, index: int, value: float = 0.5) -> Epoch:
    return Epoch(number, index, {"loss": 1.0, "val_accuracy": value}, 0.1, parameters=99)


def finish(store: Store, taken: Claim, value: float = 0.5, now: float = 1001.0) -> None:
    store.propose(taken, {"width": 4}, {})
    outcome = Outcome(State.COMPLETE, value=value)
    store.record([Progress(taken, [epoch(taken.number, 1, value)], outcome=outcome)], TTL, now=now)


def at_once(count: int, act: Callable[[int], object]) -> None:
    """Do something in many threads."""
    threads = [threading.Thread(target=act, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_the_tables_are_what_the_code_expects(store: Store) -> None:
    with store._engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_tables_that_are_newer_than_the_code_are_refused(store: Store) -> None:
    with store._write() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(BadInput, match=f"the tables are at 9999, this program knows {HEAD}; install the newer one"):
        store.migrate()


def test_migrating_at_once_from_many_threads_migrates_once(store: Store, tmp_path: Path) -> None:
    url = store.url if not store.sqlite else sa.make_url(f"sqlite:///{tmp_path / 'other.db'}")
    others = [Store(url.render_as_string(hide_password=False)) for _ in range(4)]
    at_once(len(others), lambda number: others[number].migrate())
    assert {other.version() for other in others} == {HEAD}
    for other in others:
        other.close()


def test_the_budget_is_there_from_the_launch_on(store: Store, study: Study) -> None:
    assert [row.number for row in store.trials(study)] == [0, 1, 2, 3]
    assert store.counts(study)[State.QUEUED] == 4
    assert study.facts == {"rows": 10}


def test_launching_twice_is_one_study(store: Store, study: Study) -> None:
    again = store.launch(study_spec(), 4, {"rows": 10}, now=2000.0)
    assert again == study
    assert len(store.trials(study)) == 4


@pytest.mark.parametrize("names", [1, 5, 20])
def test_launching_from_many_threads_at_once_is_one_study_a_name(store: Store, names: int) -> None:
    studies: list[Study] = []
    at_once(20, lambda n: studies.append(store.launch(study_spec(name=f"study {n % names}"), 4, {})))
    assert len(studies) == 20
    assert len({study.id for study in studies}) == len(store.studies()) == names
    assert {len(store.trials(study)) for study in store.studies()} == {4}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 7}, "seed"),
        ({"train": {"epochs": 5}}, "train.epochs"),
        (
            {"search": {"width": {"int": [4, 17]}, "optimizer": ["sgd", "adam"], "learning_rate": 0.5}},
            "search.learning_rate, search.width",
        ),
    ],
)
def test_a_changed_file_under_an_old_name_is_refused_with_what_differs(
    store: Store, study: Study, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(StudyChanged, match=f"differs in {said};") as refused:
        store.launch(study_spec(**changes), 4, {})
    assert "`name`" in str(refused.value)
    assert store.study("small").spec == study.spec


def test_an_unknown_study_names_those_there_are(store: Store, study: Study) -> None:
    with pytest.raises(UnknownStudy, match=f"there are: {study.name}"):
        store.study("smal")


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


def test_how_busy_workers_are_is_kept_for_a_day_and_as_long_as_the_study(store: Store, study: Study) -> None:
    busy, idle = {"cpu_utilization_percentage": 99.5, "gpu_0_utilization_percentage": 7.0}, {"cpu_utilization_percentage": 0.5}

    def kept(after: float = 0.0, limit: int = 9) -> list[Sample]:
        return store.samples(study, after=after, limit=limit)

    store.sample(study, "b", idle, now=1020.0)
    store.sample(study, "b", idle, now=1000.0)
    store.sample(study, "a", busy, now=1000.0)
    store.sample(study, "a", idle, now=1000.0)
    assert kept() == [Sample("a", 1000.0, busy), Sample("b", 1000.0, idle), Sample("b", 1020.0, idle)]
    assert (kept(after=1000.0), kept(limit=1)) == ([Sample("b", 1020.0, idle)], [Sample("a", 1000.0, busy)])
    store.sample(study, "c", busy, now=1010.0 + 86_400)
    assert [sample.worker for sample in kept()] == ["b", "c"]
    store.delete(study)
    store.sample(study, "c", busy, now=1010.0 + 86_400)
    assert kept() == []


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


def test_recent_trials_come_in_the_order_of_their_end(store: Store, study: Study) -> None:
    first, second = claim(store, study)[0], claim(store, study)[0]
    finish(store, second, now=1001.0)
    finish(store, first, now=1002.0)
    assert [row.number for row in store.recent(study, 0.0, 5)] == [1, 0]
    assert [row.number for row in store.recent(study, 1001.0, 5)] == [0]
    assert [row.number for row in store.recent(study, 0.0, 1)] == [0]


def test_a_view_follows_epochs_states_and_attempts(store: Store, study: Study) -> None:
    assert store.behind("mlflow", study) == []
    taken, _ = claim(store, study)
    store.propose(taken, {"width": 4}, {})
    store.record([Progress(taken, [epoch(0, 1)])], TTL)
    (news,) = store.behind("mlflow", study)
    assert (news.row.number, news.reference, news.shown) == (0, None, 0)
    store.shown("mlflow", study, [(news.row, "run")])
    assert store.behind("mlflow", study) == []
    assert [view.row.number for view in store.behind("other", study)] == [0]
    store.record([Progress(taken, [epoch(0, 2)])], TTL)
    (news,) = store.behind("mlflow", study)
    assert (news.reference, news.shown) == ("run", 1)
    assert [e.epoch for e, _ in store.epoch_times(study, 0, after=news.shown)] == [2]
    store.shown("mlflow", study, [(news.row, "run")])
    store.record([Progress(taken, outcome=Outcome(State.COMPLETE, value=1.0))], TTL)
    assert store.behind("mlflow", study)[0].row.state is State.COMPLETE


def test_lifetimes_are_those_of_trials_that_were_begun_or_have_ended(store: Store, study: Study) -> None:
    taken, _ = claim(store, study, now=1000.0)
    finish(store, taken, 0.25, now=1003.0)
    claim(store, study, now=1004.0)
    over, at_work = store.lifetimes(study)
    assert over == (0, State.COMPLETE, 0.25, 1000.0, 1003.0)
    assert (at_work.number, at_work.state, at_work.started, at_work.ended) == (1, State.RUNNING, 1004.0, None)
    store.stop(study, "enough", now=1005.0)
    assert {one.state for one in store.lifetimes(study)[2:]} == {State.CANCELLED}


def test_a_view_that_read_before_a_commit_still_sees_it(store: Store, study: Study) -> None:
    taken, _ = claim(store, study)
    store.propose(taken, {"width": 4}, {})
    (news,) = store.behind("mlflow", study)
    store.record([Progress(taken, [epoch(0, 1)])], TTL)
    store.shown("mlflow", study, [(news.row, "run")])
    assert [behind.row.epoch for behind in store.behind("mlflow", study)] == [1]


def test_a_forgotten_view_begins_anew(store: Store, study: Study) -> None:
    taken, _ = claim(store, study)
    store.propose(taken, {"width": 4}, {})
    store.refer("mlflow", study, "7")
    store.shown("mlflow", study, [(store.trials(study)[0], "run")])
    assert (store.reference("mlflow", study), store.standing("mlflow", study)) == ("7", (0, "", 0))
    store.stand("mlflow", study, ended=1)
    store.stand("mlflow", study, sampled=60)
    store.stand("mlflow", study, report="4/12")
    store.refer("mlflow", study, "8")
    assert (store.reference("mlflow", study), store.standing("mlflow", study)) == ("8", (1, "4/12", 60))
    store.forget("mlflow", study)
    assert (store.reference("mlflow", study), store.standing("mlflow", study)) == (None, (0, "", 0))
    assert store.behind("mlflow", study)[0].reference is None


def test_the_clock_is_the_databases(store: Store) -> None:
    first = store.clock()
    assert first > 1.7e9
    assert store.clock() >= first


def test_names_are_values_never_sql(store: Store) -> None:
    names = ["a'; DROP TABLE study; --", "100%", "{x}", "ünïcode 🦊", "x" * 200]
    for name in names:
        store.launch(study_spec(name=name), 1, {})
    assert sorted(study.name for study in store.studies()) == sorted(names)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "not a database address"),
        ("mysql://u@h/d", "mysql is not supported"),
        ("postgresql://u@h/d?password=hunter2", "PGPASSFILE"),
    ],
)
def test_an_unusable_address_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        address(url)
    assert "hunter2" not in str(refused.value)


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


def test_specs_survive_the_store(store: Store, spec: Callable[..., StudySpec]) -> None:
    wide = spec(
        search={
            "depth": {"int": [1, 4], "step": 1},
            "width": {"int": [4, 64], "log": True, "per_layer": True},
            "optimizer": ["sgd", "momentum"],
            "momentum": {"float": [0.5, 0.99], "when": {"optimizer": "momentum"}},
            "bias": [True, False],
            "dropout": 0.1,
        },
        enqueue=[{"depth": 2}],
        objective=["val_accuracy", "parameters"],
        constraints=["latency_ms <= 0.25"],
    )
    study = store.launch(wide, 4, {})
    assert study.spec == wide
    assert study.spec.identity == wide.identity
    assert replace(study, spec=wide) == study


# Stages ------------------------------------------------------------


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
