"""The verbs of workers and people in every order, at once, twice, and without their answers (P1, P2, P5)."""

import os
import random
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings, stateful
from hypothesis import strategies as st

from tests.conftest import study_spec
from tests.faults.history import Witness, clean, examine
from tests.faults.life import Cradle
from tuner.errors import LostLease
from tuner.store import Claim, Progress, Store, Study
from tuner.trial import Epoch, Outcome, State
from tuner.worker import Supervisor

TTL, EPOCHS = 30.0, 3
OWNERS = st.sampled_from("abc")
ANY = st.integers(0, 30)


def epoch(number: int, index: int) -> Epoch:
    return Epoch(number, index, {"loss": 1.0 / (number + index)}, 0.1)


def end(number: int) -> Outcome:
    return Outcome(State.COMPLETE, value=float(number))


class Fleet(stateful.RuleBasedStateMachine):
    """Three workers and a person on one study, under a clock that jumps; a worker may act on every claim that it ever had."""

    launched = 0

    def __init__(self, tables: Store, folder: Path) -> None:
        super().__init__()
        Fleet.launched += 1
        self.history = folder / f"history-{Fleet.launched}"
        self.store = Witness(tables.url, self.history)
        self.study = self.store.launch(study_spec(name=f"study {Fleet.launched}"), 4, {}, now=0.0)
        self.now = 0.0
        self.claims: list[tuple[str, Claim, int]] = []  # with the last epoch that was recorded when it was claimed
        self.last: Callable[[], object] = lambda: None

    def guarded(self, claim: Claim, write: Callable[[], object]) -> None:
        """A write that happens, or changes nothing and is refused because the fence is another or the trial does not run."""
        before = self.store.trials(self.study)
        self.last = write
        try:
            write()
        except LostLease:
            row = before[claim.number]
            assert (row.fence, row.state) != (claim.fence, State.RUNNING)
            assert self.store.trials(self.study) == before

    @stateful.rule(owner=OWNERS)
    def claim(self, owner: str) -> None:
        taken = self.store.claim(self.study, owner, TTL, now=self.now)
        if taken is not None:
            assert taken[1].state is State.RUNNING
            self.claims.append((owner, taken[0], taken[1].epoch))
            if taken[1].params is None:
                self.guarded(taken[0], lambda: self.store.propose(taken[0], {"width": taken[0].number}, {}))

    @stateful.precondition(lambda self: self.claims)
    @stateful.rule(which=ANY, count=st.integers(1, 2))
    def record(self, which: int, count: int) -> None:
        owner, claim, done = self.claims[which % len(self.claims)]
        self.claims[which % len(self.claims)] = (owner, claim, done + count)
        epochs = [epoch(claim.number, index) for index in range(done + 1, done + count + 1)]
        outcome = end(claim.number) if done + count >= EPOCHS else None
        self.guarded(claim, lambda: self.store.record([Progress(claim, epochs, outcome=outcome)], TTL, now=self.now))

    @stateful.precondition(lambda self: self.claims)
    @stateful.rule(which=ANY, crashed=st.integers(0, 2))
    def release(self, which: int, crashed: int) -> None:
        claim = self.claims[which % len(self.claims)][1]
        self.guarded(claim, lambda: self.store.release(claim, crashed=crashed))

    @stateful.rule()
    def ask_again(self) -> None:
        """What was done last and is asked for once more changes nothing."""
        before = self.store.trials(self.study)
        with suppress(LostLease):
            self.last()
        after = self.store.trials(self.study)
        assert [(r.state, r.fence, r.epoch, r.value, r.crashes) for r in after if r.state is not State.RUNNING] == [
            (r.state, r.fence, r.epoch, r.value, r.crashes) for r in before if r.state is not State.RUNNING
        ]

    @stateful.rule()
    def renew(self) -> None:
        claims = [claim for _, claim, _ in self.claims]
        rows = self.store.trials(self.study)
        lost = self.store.renew(claims, TTL, now=self.now)
        assert lost == [c for c in claims if (rows[c.number].fence, rows[c.number].state) != (c.fence, State.RUNNING)]

    @stateful.rule(seconds=st.sampled_from([1.0, 20.0, 31.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @stateful.rule(owner=OWNERS)
    def expire(self, owner: str) -> None:
        self.store.expire([owner], now=self.now)

    @stateful.rule(owner=OWNERS)
    def disown(self, owner: str) -> None:
        self.store.disown(owner, [claim for whose, claim, _ in self.claims if whose == owner])

    @stateful.rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:  # noqa: FBT001 — the same
        self.store.pause(self.study, paused=paused)

    @stateful.rule()
    def cancel(self) -> None:
        self.store.cancel(self.study, "enough", now=self.now)

    @stateful.rule()
    def extend(self) -> None:
        self.store.extend(self.study, 1)

    @stateful.invariant()
    def the_budget_is_the_rows(self) -> None:
        rows = self.store.trials(self.study)
        assert [row.number for row in rows] == list(range(self.store.study(self.study.name).trials))

    def teardown(self) -> None:
        """Bring the study to its end, and judge."""
        self.store.pause(self.study, paused=False)
        self.now += TTL + 1
        while (taken := self.store.claim(self.study, "last", TTL, now=self.now)) is not None:
            claim, row = taken
            if row.params is None:
                self.store.propose(claim, {"width": claim.number}, {})
            epochs = [epoch(claim.number, index) for index in range(row.epoch + 1, EPOCHS + 1)]
            self.store.record([Progress(claim, epochs, outcome=end(claim.number))], TTL, now=self.now)
        verdict = examine(self.history, self.store, self.study)
        self.store.close()
        assert verdict == clean()


def test_in_whatever_order_things_happen_nothing_is_lost_or_invented(tables: Store, tmp_path: Path) -> None:
    quick = settings(
        max_examples=60, stateful_step_count=40, suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate], derandomize=True,
    )  # fmt: skip
    stateful.run_state_machine_as_test(lambda: Fleet(tables, tmp_path), settings=quick)
    assert Fleet.launched >= 60


def test_steering_while_many_workers_claim_starts_nothing_in_spite_of_it(store: Store, tmp_path: Path) -> None:
    """P2: a hundred commands while six workers do nothing but claim and end."""
    history = tmp_path / "history"
    study = store.launch(study_spec(budget=10), 10, {})
    over = threading.Event()
    workers = [threading.Thread(target=_work_until, args=(over, store.url, history, study, f"w{n}")) for n in range(6)]
    person, draw = Witness(store.url, history), random.Random(0)
    for worker in workers:
        worker.start()
    for _ in range(100):
        draw.choice([lambda: person.pause(study, paused=True), lambda: person.pause(study, paused=False)])()
        person.extend(study, 1)
    person.cancel(study, "enough")
    person.extend(study, 5)
    person.cancel(study, "enough again")
    over.set()
    for worker in workers:
        worker.join()
    states = {row.state for row in store.trials(study)}
    verdict = examine(history, store, study)
    person.close()
    assert verdict == clean()
    assert states == {State.COMPLETE, State.CANCELLED}


def _work_until(over: threading.Event, url: Any, history: Path, study: Study, name: str) -> None:
    store = Witness(url, history)
    while not over.is_set():
        if (taken := store.claim(study, name, TTL)) is not None:
            claim = taken[0]
            try:
                store.propose(claim, {"width": claim.number}, {})
                store.record([Progress(claim, [epoch(claim.number, 1)], outcome=end(claim.number))], TTL)
            except LostLease:
                continue  # it was cancelled
    store.close()


class Twice(Witness):
    """Everything that a worker writes arrives twice."""

    def propose(self, *args: Any, **options: Any) -> None:
        for _ in range(2):
            super().propose(*args, **options)

    def renew(self, *args: Any, **options: Any) -> list[Claim]:
        return [super(Twice, self).renew(*args, **options) for _ in range(2)][-1]

    def record(self, *args: Any, **options: Any) -> None:
        for _ in range(2):
            super().record(*args, **options)

    def release(self, *args: Any, **options: Any) -> None:
        for _ in range(2):
            super().release(*args, **options)


def test_what_arrives_twice_counts_once(tables: Store, tmp_path: Path) -> None:
    outcomes = []
    for name, kind in (("once", Witness), ("twice", Twice)):
        home = tmp_path / name
        home.mkdir()
        store = kind(tables.url, home / "history")
        spec = study_spec(name=name, pruner="asha", budget=6, train={"epochs": 9, "checkpoint_seconds": 0.0})
        study = store.launch(spec, 6, {})
        worker = Supervisor(store, study, home, [], dict(os.environ))
        worker.command = [sys.executable, "-m", "tests.paper"]
        worker.work(lambda: None)
        assert examine(home / "history", store, study) == clean()
        epochs = {number: [e.epoch for e in recorded] for number, recorded in store.epochs(study).items()}
        outcomes.append(([(r.state, r.params, r.value, r.epoch, r.attempts) for r in store.trials(study)], epochs))
        store.close()
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("what", ["claim", "proposal", "epoch", "end", "release"])
def test_a_write_whose_answer_is_lost_is_repeated_and_counts_once(cradle: Cradle, tmp_path: Path, what: str) -> None:
    also = ",epoch.trained=kill:5" if what == "release" else ""
    life = cradle.begin(tmp_path, "work", "1.0", failpoint=f"{what}.committed=raise{also}")
    assert life.wait() == 0, life.said
    store = Store(f"sqlite:///{tmp_path / 'tuner.db'}")
    study = store.study("small")
    assert examine(tmp_path / "history", store, study) == clean()
    answers = [line for line in (tmp_path / "history").read_text().splitlines() if '"unknown"' in line]
    assert len(answers) == 1
    store.close()
