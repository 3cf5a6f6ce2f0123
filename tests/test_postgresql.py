"""What only PostgreSQL has: sessions that are killed, answers that are lost, settings, schemas, passwords."""

import select
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import sqlalchemy as sa

from tests.conftest import study_spec
from tuner import worker
from tuner.errors import BadInput, DatabaseAway
from tuner.process import here
from tuner.store import Alone, Plan, Progress, Stage, Store, Study
from tuner.store.database import POSTGRESQL_CONNECTION, address
from tuner.trial import Epoch, Outcome, State

TTL = 30.0
WAITING = "SELECT FROM pg_stat_activity WHERE application_name = 'tuner' AND wait_event_type = 'Lock'"
PASSWORD = "p@s/w:rd?{#%} hunter2"


class Relay:
    """Stands between a client and the server's socket; once `deaf`, it passes a COMMIT on and keeps the answer for itself."""

    def __init__(self, folder: Path, server: str) -> None:
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        self.deaf = False
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        threads = []
        while client := self._next():
            threads.append(threading.Thread(target=self._pass, args=(client,)))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def _next(self) -> socket.socket | None:
        try:
            return self._listener.accept()[0]
        except OSError:
            return None  # it was closed

    def _pass(self, client: socket.socket) -> None:
        """Carry bytes both ways until one side hangs up, or an answer is to be lost."""
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._server)
            lost = False
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(1 << 16)
                    if source is client and self.deaf and b"COMMIT" in data:
                        lost, self.deaf = True, False
                    if not data or (source is server and lost):
                        return
                    (server if source is client else client).sendall(data)

    def close(self) -> None:
        """Hang up; the client must have done so."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def fresh(postgresql: str) -> Iterator[Store]:
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS tuner CASCADE")
    opened = Store(postgresql)
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def study(fresh: Store) -> Study:
    return fresh.launch(study_spec(), 4, {})


@pytest.fixture
def relay(postgresql: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Relay, Store]]:
    folder = tmp_path_factory.mktemp("r")
    host = str(sa.make_url(postgresql).query["host"])
    made = Relay(folder, f"{host}/.s.PGSQL.5432")
    store = Store(sa.make_url(postgresql).set(query={"host": str(folder)}).render_as_string())
    yield made, store
    store.close()
    made.close()


def test_a_session_has_its_settings(fresh: Store) -> None:
    with fresh._read() as connection:
        told = {name: connection.scalar(sa.text(f"SHOW {name}")) for name in ("search_path", "TimeZone", "application_name")}
        limits = {name: connection.scalar(sa.text(f"SHOW {name}")) for name in ("statement_timeout", "lock_timeout")}
        schemas = set(connection.scalars(sa.text("SELECT nspname FROM pg_namespace")))
    assert told == {"search_path": "tuner", "TimeZone": "UTC", "application_name": "tuner"}
    assert limits == {"statement_timeout": "30s", "lock_timeout": "5s"}
    assert {"tuner", "mlflow"} <= schemas


def test_idle_connections_that_the_server_dropped_are_replaced_unseen(fresh: Store, study: Study, postgresql: str) -> None:
    kill_sessions(postgresql)
    assert fresh.claim(study, "a", TTL) is not None


def test_a_server_that_takes_no_writes_for_a_while_is_away(fresh: Store, study: Study, postgresql: str) -> None:
    def set_read_only(value: str) -> None:
        with psycopg.connect(postgresql, autocommit=True, options="-c default_transaction_read_only=off") as connection:
            connection.execute(f"ALTER ROLE CURRENT_USER SET default_transaction_read_only = {value}")
        kill_sessions(postgresql)

    set_read_only("on")
    try:
        with pytest.raises(DatabaseAway, match="read-only"):
            fresh.claim(study, "a", TTL)
    finally:
        set_read_only("off")
    assert fresh.claim(study, "a", TTL) is not None


def test_no_device_waits_behind_the_others_for_a_server_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent, ThreadPoolExecutor(8) as pool:
        silent.bind(str(tmp_path / ".s.PGSQL.5432"))
        silent.listen()
        store = Store(f"postgresql://postgres@/postgres?host={tmp_path}")
        asked = [pool.submit(store.clock) for _ in range(8)]
        sessions = [silent.accept()[0] for _ in asked]
        assert not any(one.done() for one in asked)
        for session in sessions:
            session.close()
        assert all(isinstance(one.exception(), DatabaseAway) for one in asked)
        store.close()


def test_who_cannot_reach_the_server_knows_it_while_its_leases_hold() -> None:
    wait, silence = POSTGRESQL_CONNECTION["connect_timeout"], POSTGRESQL_CONNECTION["tcp_user_timeout"] / 1000
    assert worker.TTL / worker.RENEWALS + silence + wait < worker.TTL  # a renewal is lost, then another session tried for
    assert worker.TTL * (1 - worker.MARGIN) + worker.RETRY + wait < worker.TTL  # tried for once more at the last moment


def test_a_session_killed_inside_a_transaction_leaves_nothing_and_the_same_works_again(
    fresh: Store, study: Study, postgresql: str
) -> None:
    taken = fresh.claim(study, "a", TTL)
    assert taken is not None
    progress = [Progress(taken[0], [Epoch(0, 1, {"loss": 1.0}, 0.1)])]
    with (
        psycopg.connect(postgresql) as other,
        psycopg.connect(postgresql, autocommit=True) as watch,
        ThreadPoolExecutor(1) as pool,
    ):
        other.execute("LOCK TABLE tuner.epoch IN EXCLUSIVE MODE")
        doomed = pool.submit(fresh.record, progress, TTL)
        while not watch.execute(WAITING).rowcount:  # until the trial's row is changed, and its epoch is not yet there
            pass
        kill_sessions(postgresql)
        with pytest.raises(DatabaseAway):
            doomed.result()
    assert (fresh.epochs(study), fresh.trials(study)[0].epoch) == ({}, 0)
    fresh.record(progress, TTL)
    assert [e.epoch for e in fresh.epochs(study)[0]] == [1]


STEERED: dict[str, tuple[Callable[[Store, Study], None], set[tuple[bool, int, bool]]]] = {
    "pause": (lambda store, study: store.pause(study, paused=True), {(True, 0, False)}),
    "priority": (lambda store, study: store.prioritise(study, 5), {(False, 5, False)}),
    "cancel": (lambda store, study: store.cancel(study, "by a person"), {(False, 0, True)}),
    "delete": (lambda store, study: store.delete(study), set()),
}
"""A verb, and what becomes of a race: whether it is paused, its priority, and whether nothing is to follow it."""


@pytest.mark.parametrize("verb", STEERED)
def test_a_race_that_is_being_written_is_steered_with_its_study(fresh: Store, postgresql: str, verb: str) -> None:
    study = fresh.launch(study_spec(final={"finalists": 2, "seeds": 3}), 4, {})
    fresh.stop(study, "enough")
    steer, expected = STEERED[verb]
    with (
        psycopg.connect(postgresql) as other,
        psycopg.connect(postgresql, autocommit=True) as watch,
        ThreadPoolExecutor(2) as pool,
    ):
        other.execute("LOCK TABLE tuner.trial IN EXCLUSIVE MODE")
        written = pool.submit(fresh.follow, study, Plan(Stage.RACE, study.spec, {}, [{"width": 4}]))
        while watch.execute(WAITING).rowcount < 1:  # until the race is there, and its trials are not
            pass
        steered = pool.submit(steer, fresh, study)
        while watch.execute(WAITING).rowcount < 2:  # until the verb waits for it
            pass
        other.rollback()
        written.result()
        steered.result()
        found = watch.execute("SELECT paused, priority, followed FROM tuner.study WHERE stage = 'race'").fetchall()
    assert set(found) == expected


def test_what_a_worker_notes_of_a_study_that_is_being_deleted_is_dropped(fresh: Store, study: Study, postgresql: str) -> None:
    mine = here()
    with (
        psycopg.connect(postgresql) as other,
        psycopg.connect(postgresql, autocommit=True) as watch,
        ThreadPoolExecutor(2) as pool,
    ):
        other.execute("DELETE FROM tuner.study")
        noted = [
            pool.submit(fresh.note, study, mine, {"machine": "m"}),
            pool.submit(fresh.sample, study, mine.name, {"a": 1.0}),
        ]
        while watch.execute(WAITING).rowcount < 2:
            pass
        other.commit()
        for one in noted:
            one.result()
    assert fresh.samples(study, after=0.0, limit=1) == []


def test_an_end_whose_commit_was_not_answered_counts_once(fresh: Store, study: Study, relay: tuple[Relay, Store]) -> None:
    line, store = relay
    taken = store.claim(study, "a", TTL)
    assert taken is not None
    progress = [Progress(taken[0], [Epoch(0, 1, {"loss": 1.0}, 0.1)], outcome=Outcome(State.COMPLETE, value=0.5))]
    line.deaf = True
    with pytest.raises(DatabaseAway):
        store.record(progress, TTL)
    assert fresh.trials(study)[0].state is State.COMPLETE  # it was committed, but nobody said so
    store.record(progress, TTL)
    assert (fresh.counts(study)[State.COMPLETE], [e.epoch for e in fresh.epochs(study)[0]]) == (1, [1])


def test_a_claim_whose_commit_was_not_answered_is_given_back(fresh: Store, study: Study, relay: tuple[Relay, Store]) -> None:
    line, store = relay
    store.clock()  # the connection is there
    line.deaf = True
    with pytest.raises(DatabaseAway):
        store.claim(study, "a", TTL)
    assert fresh.trials(study)[0].state is State.RUNNING
    store.disown("a", [])
    taken = store.claim(study, "a", TTL)
    assert taken is not None
    assert (taken[0].number, taken[1].crashes) == (0, 0)


def test_a_database_without_tables_says_what_to_do(fresh: Store, postgresql: str) -> None:
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("DROP SCHEMA tuner CASCADE")
    with pytest.raises(BadInput, match="tuner migrate"):
        fresh.check_version()
    fresh.migrate()
    fresh.check_version()
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("UPDATE tuner.tuner_alembic_version SET version_num = '9999'")
    with pytest.raises(BadInput, match="the tables are at 9999"):
        fresh.check_version()


def test_a_database_without_an_encoding_serves_as_well(postgresql: str) -> None:
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("CREATE DATABASE plain ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    plain = Store(urlsplit(postgresql)._replace(path="/plain").geturl())
    plain.migrate()
    assert plain.launch(study_spec(name="naïve"), 1, {}).name == plain.studies()[0].name == "naïve"
    plain.close()


def test_one_process_at_a_time_has_a_right_and_a_lost_session_gives_it_up(fresh: Store, postgresql: str) -> None:
    other = Store(postgresql)
    mine, theirs, third = Alone(fresh, "view"), Alone(other, "view"), Alone(other, "another view")
    assert mine.has(1)
    assert mine.has(1)
    assert not theirs.has(1)
    assert theirs.has(2)
    assert third.has(1)
    third.close()
    kill_sessions(postgresql)
    with pytest.raises(DatabaseAway):
        mine.has(1)
    with pytest.raises(DatabaseAway):
        theirs.has(2)
    assert theirs.has(1)
    assert not mine.has(1)
    theirs.close()
    assert mine.has(1)
    mine.close()
    other.close()


def test_a_password_with_every_awkward_character_works_and_is_never_printed(postgresql: str) -> None:
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS awkward")
        connection.execute(sa.text("CREATE ROLE awkward LOGIN PASSWORD '" + PASSWORD + "'").text)
    url = address(str(sa.make_url(postgresql).set(username="awkward")), PASSWORD)
    store = Store(url)
    assert store.clock() > 0
    assert url.password == PASSWORD
    gone = Store(url.set(query={"host": "/nowhere"}))
    with pytest.raises(DatabaseAway) as refused:
        gone.clock()
    assert "hunter2" not in str(refused.value)
    assert "***" in str(refused.value)
    store.close()


def kill_sessions(url: str) -> None:
    """End every other session of the database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tuner'")
