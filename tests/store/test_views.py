"""What those read who show a study: news, ends, lifetimes, samples."""

from tests.store.claims import TTL, claim, epoch, finish
from tuner.store import Progress, Sample, Store, Study
from tuner.trial import Outcome, State


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
