"""The judge of histories: a quiet study is clean, and each forgery of it is called by its name."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import study_spec
from tests.faults.history import Call, Found, Witness, clean, judge, read
from tuner.errors import LostLease
from tuner.store import Claim, Progress, Store, Study
from tuner.trial import Epoch, Failure, Outcome, State

TTL = 30.0


def epoch(number: int, index: int) -> Epoch:
    return Epoch(number, index, {"loss": 1.0 / index}, 0.1)


def claim(store: Store, study: Study, owner: str, now: float) -> Claim:
    taken = store.claim(study, owner, TTL, now=now)
    assert taken is not None
    return taken[0]


@pytest.fixture
def quiet(tmp_path: Path) -> tuple[list[Call], Found]:
    """Three trials: one that another worker takes over, one that is given back, one that fails."""
    store = Witness(f"sqlite:///{tmp_path / 'tuner.db'}", tmp_path / "history")
    store.migrate()
    study = store.launch(study_spec(budget=3), 3, {})
    lost = claim(store, study, "a", 1000.0)
    store.propose(lost, {"width": 4}, {})
    store.record([Progress(lost, [epoch(0, 1)])], TTL, now=1000.0)
    taken = claim(store, study, "b", 1031.0)
    with pytest.raises(LostLease):
        store.record([Progress(lost, [epoch(0, 2)])], TTL, now=1032.0)
    store.record([Progress(taken, [epoch(0, 2)], outcome=Outcome(State.COMPLETE, value=0.5))], TTL, now=1033.0)
    store.pause(study, paused=True)
    assert store.claim(study, "b", TTL, now=1034.0) is None
    store.pause(study, paused=False)
    for owner in "ab":
        back = claim(store, study, owner, 1035.0)
        if owner == "a":
            store.propose(back, {"width": 5}, {})
            store.release(back)
    store.record([Progress(back, [epoch(1, 1)], outcome=Outcome(State.PRUNED, value=0.1))], TTL, now=1036.0)
    bad = claim(store, study, "a", 1037.0)
    store.propose(bad, {"width": 6}, {})
    store.record([Progress(bad, outcome=Outcome(State.FAILED, failure=Failure.ERROR))], TTL, now=1038.0)
    found = Found(3, store.trials(study), store.epochs(study))
    store.close()
    return read(tmp_path / "history"), found


def calls(history: list[Call], verb: str, number: int) -> list[Call]:
    """The calls of a kind about a trial that were told to have happened."""
    return [
        call
        for call in history
        if call.verb == verb and call.done and (call.claimed or (call.writes and call.writes[0]["number"],))[0] == number
    ]


def again(history: list[Call], call: Call, **changes: object) -> None:
    """The call once more at the end of the history."""
    end = 1 + max(line for call in history for line in (call.begun, call.ended or 0))
    history.append(replace(copy.deepcopy(call), begun=end, ended=end + 1, **changes))  # type: ignore[arg-type]


def drop_row(_history: list[Call], found: Found) -> None:
    found.rows = found.rows[:2]


def reopen_row(_history: list[Call], found: Found) -> None:
    found.rows = [replace(found.rows[0], state=State.RUNNING), *found.rows[1:]]


def forget_epoch(_history: list[Call], found: Found) -> None:
    found.epochs = {**found.epochs, 0: found.epochs[0][:1]}


def change_end(history: list[Call], _found: Found) -> None:
    (call,) = calls(history, "record", 1)
    call.writes[0]["end"] = [State.COMPLETE, 0.1]


def change_params(_history: list[Call], found: Found) -> None:
    found.rows = [replace(found.rows[0], params={"width": 5}), *found.rows[1:]]


def lower_fence(_history: list[Call], found: Found) -> None:
    found.rows = [replace(found.rows[0], fence=1), *found.rows[1:]]


def invent_epoch(_history: list[Call], found: Found) -> None:
    found.epochs = {**found.epochs, 2: [epoch(2, 1)]}


def change_metrics(_history: list[Call], found: Found) -> None:
    found.epochs = {**found.epochs, 1: [replace(epoch(1, 1), metrics={"loss": 2.0})]}


def cancel_row(_history: list[Call], found: Found) -> None:
    found.rows = [*found.rows[:2], replace(found.rows[2], state=State.CANCELLED)]


def claim_while_paused(history: list[Call], _found: Found) -> None:
    (halt,) = (call for call in history if call.verb == "pause")
    (call,) = calls(history, "claim", 2)
    call.begun = call.ended = (halt.ended or 0) + 1
    history[:] = [other for other in history if other is call or other.begun < call.begun or not other.writes]


def double_row(_history: list[Call], found: Found) -> None:
    found.rows = [*found.rows, found.rows[1]]


def double_epoch(_history: list[Call], found: Found) -> None:
    found.epochs = {**found.epochs, 1: [epoch(1, 1), epoch(1, 1)]}


def propose_twice(history: list[Call], _found: Found) -> None:
    (call,) = calls(history, "propose", 0)
    history.append(replace(copy.deepcopy(call), asked={**call.asked, "params": {"width": 9}}))


def end_twice(history: list[Call], _found: Found) -> None:
    call = calls(history, "record", 0)[-1]
    again(history, call, asked={"trials": [{**call.writes[0], "fence": 3, "epochs": []}]})


def exceed(_history: list[Call], found: Found) -> None:
    found.budget = 2


def claim_beyond(history: list[Call], found: Found) -> None:
    (call,) = calls(history, "claim", 2)
    found.rows = [*found.rows, replace(found.rows[2], number=3)]
    again(history, call, told={"number": 3, "fence": 1})


def claim_twice(history: list[Call], _found: Found) -> None:
    again(history, calls(history, "claim", 2)[0], asked={"owner": "c"})


def write_late(history: list[Call], _found: Found) -> None:
    again(history, calls(history, "record", 0)[0])


FORGERIES: dict[Callable[[list[Call], Found], None], tuple[str, ...]] = {
    drop_row: ("lost",),
    reopen_row: ("lost",),
    forget_epoch: ("lost",),
    change_end: ("lost", "unexpected"),
    change_params: ("lost",),
    lower_fence: ("lost",),
    invent_epoch: ("unexpected",),
    change_metrics: ("unexpected",),
    cancel_row: ("lost", "unexpected"),
    claim_while_paused: ("unexpected",),
    double_row: ("duplicated",),
    double_epoch: ("duplicated",),
    propose_twice: ("duplicated", "lost"),
    end_twice: ("duplicated", "lost"),
    exceed: ("over budget",),
    claim_beyond: ("over budget", "unexpected"),
    claim_twice: ("two owners of one fence",),
    write_late: ("stale writes",),
}


def test_a_quiet_study_is_clean(quiet: tuple[list[Call], Found]) -> None:
    assert judge(*quiet) == clean()
    assert [call.answer for call in quiet[0]].count("refused") == 1


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_forged_history_is_called_by_its_name(
    quiet: tuple[list[Call], Found], forge: Callable[[list[Call], Found], None]
) -> None:
    forge(*quiet)
    assert {fault for fault, count in judge(*quiet).items() if count} == set(FORGERIES[forge])


def test_a_call_of_which_nobody_heard_the_answer_may_have_happened_or_not(quiet: tuple[list[Call], Found]) -> None:
    history, found = quiet
    call = calls(history, "record", 0)[-1]
    call.ended, call.answer = None, "unknown"
    assert judge(history, found) == clean()
    found.epochs = {**found.epochs, 0: found.epochs[0][:1]}
    assert judge(history, found) == clean()
