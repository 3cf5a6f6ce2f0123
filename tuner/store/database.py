"""The database behind the store: its address, transactions, clock, and the version of the tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tuner.errors import BadInput, DatabaseAway, DatabaseLost
from tuner.failpoints import reach
from tuner.store.tables import HEAD, VERSION_TABLE

SCHEMA = "tuner"
MLFLOW_SCHEMA = "mlflow"
POSTGRESQL_SESSION = {
    "search_path": SCHEMA,
    "timezone": "UTC",
    "statement_timeout": "30s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "60s",
}
POSTGRESQL_CONNECTION = {  # a host that is gone without a word is noticed within 15 s, and while leases hold by workers
    "application_name": "tuner",
    "client_encoding": "utf8",  # in a database without an encoding everything would come back as bytes
    "connect_timeout": 4,
    "keepalives_idle": 6,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
READ_ONLY = "25006"  # what a server answers that is not the first one at present, or whose disk is full
MIGRATION_WAIT = "60s"


def address(url: str, password: str | None = None, *, named: str = "--db") -> sa.URL:
    """The database address, checked; `password` is one that was read from a file, `named` says where the address stands.

    Raises `BadInput`; a message never holds the password.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise BadInput(f"{named}: not a database address; write sqlite:///FILE or postgresql://USER@HOST/NAME") from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise BadInput(f"{named}: {parsed.get_backend_name()} is not supported; use sqlite or postgresql")
    if "password" in parsed.query:
        raise BadInput(f"{named}: the password stands in the query part, where it would be printed; use PGPASSFILE")
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
        if password is not None:
            parsed = parsed.set(password=password)
    return parsed


def mlflow_address(url: sa.URL) -> str:
    """MLflow's tables beside ours: a schema of their own, as both keep their version in a table of one name."""
    beside = url.update_query_dict({"options": f"-csearch_path={MLFLOW_SCHEMA}"})
    return beside.render_as_string(hide_password=False)


class Database:
    """Connections to one database, and transactions on them."""

    def __init__(self, url: str | sa.URL) -> None:
        self.url = address(url) if isinstance(url, str) else url
        self.sqlite = self.url.get_backend_name() == "sqlite"
        if self.sqlite:
            self._engine = sa.create_engine(self.url)
            sa.event.listen(self._engine, "connect", _configure_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
            self._now: sa.ColumnElement[float] = sa.literal_column("(julianday('now') - 2440587.5) * 86400.0", sa.Float)
        else:
            # One more for each thread that needs it: who waited for another's would wait behind those that time out.
            self._engine = sa.create_engine(
                self.url, pool_pre_ping=True, pool_size=2, max_overflow=-1, connect_args=POSTGRESQL_CONNECTION
            )
            sa.event.listen(self._engine, "connect", _configure_postgresql)
            self._now = sa.literal_column("extract(epoch from clock_timestamp())::float8", sa.Float)

    @property
    def _file(self) -> Path:
        return Path(self.url.database or "")

    def close(self) -> None:
        """Give every connection back."""
        self._engine.dispose()

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        """A transaction; raises `DatabaseLost`, and `DatabaseAway` when the same may succeed later."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            raise self._lost(error) from error

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.execution_options(reading=True).begin() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            raise self._lost(error) from error

    def _lost(self, error: sa.exc.DBAPIError) -> DatabaseLost:
        kind = DatabaseAway if self._is_away(error) else DatabaseLost
        return kind(f"{self.url.render_as_string()}: {_reason(error)}")

    def _is_away(self, error: sa.exc.DBAPIError) -> bool:
        if self.sqlite:
            return getattr(error.orig, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
        standby = getattr(error.orig, "sqlstate", None) == READ_ONLY
        return standby or error.connection_invalidated or isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)

    def session(self) -> sa.Connection:
        """A connection without transactions, for what belongs to a session."""
        return self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def _at(self, now: float | None) -> sa.ColumnElement[float]:
        return self._now if now is None else sa.literal(now, sa.Float)

    def _upsert(self, table: sa.Table) -> Any:
        return (sqlite.insert if self.sqlite else postgresql.insert)(table)

    def clock(self) -> float:
        """The database's time."""
        with self._read() as connection:
            return float(connection.scalar(sa.select(self._now)) or 0.0)

    # The tables' version ------------------------------------------------------------

    def migrate(self) -> None:
        """Bring the tables to the version that this code needs; of several processes at once one does it, the others wait.

        On PostgreSQL it makes the schemas `tuner` and `mlflow` too. Raises `BadInput` when the tables are newer than this code.
        """
        version = self.version()
        if version is not None and version > HEAD:
            self.check_version()
        if version != HEAD:
            with self.migration():
                pass

    @contextmanager
    def migration(self) -> Iterator[None]:
        """Migrate, and keep other migrations waiting until the block has ended: other tables may be made there."""
        if self.sqlite:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BadInput(f"--db: {self._file.parent} cannot be made: {error.strerror}") from None
        from tuner.migrations import upgrade  # noqa: PLC0415 — Alembic takes 0.3 s to import and is needed once

        with self._migrating_alone():
            with self._write() as connection:
                if not self.sqlite:
                    for schema in (SCHEMA, MLFLOW_SCHEMA):
                        connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
                upgrade(connection)
                reach("migration.written")
            reach("migration.committed")
            yield

    @contextmanager
    def _migrating_alone(self) -> Iterator[None]:
        if self.sqlite:  # a writing transaction is alone
            yield
            return
        with self._write() as connection:
            for timeout in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
                connection.execute(sa.text(f"SET LOCAL {timeout} = '{MIGRATION_WAIT}'"))
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('tuner.migrate'))"))
            yield

    def check_version(self) -> None:
        """Raises `BadInput` when the tables are not those that this code needs."""
        version = self.version()
        if version is None:
            raise BadInput("--db: there are no tables of tuner yet; make them with: tuner migrate")
        if version < HEAD:
            raise BadInput(f"--db: the tables are at {version}, this program needs {HEAD}; bring them there with: tuner migrate")
        if version > HEAD:
            raise BadInput(f"--db: the tables are at {version}, this program knows {HEAD}; install the newer one")

    def version(self) -> str | None:
        """The revision of the tables; None when there are none."""
        if self.sqlite and not self._file.exists():
            return None
        with self._read() as connection:
            if not sa.inspect(connection).has_table(VERSION_TABLE, schema=None if self.sqlite else SCHEMA):
                return None
            found = connection.scalar(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))
        return str(found) if found is not None else None


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own; `_begin_sqlite` does
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=30000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes the lock at once: a transaction that began by reading could not wait for it later.
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _configure_postgresql(connection: Any, _record: object) -> None:
    settings = "; ".join(f"SET {name} = '{value}'" for name, value in POSTGRESQL_SESSION.items())
    connection.execute(settings)
    connection.commit()


def _reason(error: sa.exc.DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0]
