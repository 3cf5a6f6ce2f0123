"""Being the only process that does something, on a host or on all hosts of a database."""

import fcntl
import os
from contextlib import suppress

import sqlalchemy as sa

from tuner.errors import DatabaseAway
from tuner.store.database import Database


class Alone:
    """Rights that are held until the process ends, or `close`: by file locks beside a SQLite file, by a session of PostgreSQL."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._file = os.open(f"{database.url.database}-{name}", os.O_RDWR | os.O_CREAT) if database.sqlite else None
        self._session: sa.Connection | None = None
        self._held: set[int] = set()

    def close(self) -> None:
        """Let other processes have the rights."""
        if self._file is not None:
            os.close(self._file)
        if self._session is not None:
            with suppress(sa.exc.DBAPIError):  # a session that is dead holds nothing
                self._session.execute(sa.text("SELECT pg_advisory_unlock_all()"))
            self._forget_session()

    def _forget_session(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session, self._held = None, set()

    def has(self, number: int) -> bool:
        """Whether this process has the right of this number, now that it asked. Raises `DatabaseAway`."""
        if self._file is not None:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except (BlockingIOError, PermissionError):
                return False
            return True
        try:
            return self._has(number)
        except sa.exc.DBAPIError as error:
            self._forget_session()
            raise DatabaseAway(f"the session that holds locks was lost: {error.orig}") from error

    def _has(self, number: int) -> bool:
        if self._session is None:
            self._session = self._database.session()
        if number in self._held:
            return bool(self._session.scalar(sa.text("SELECT 1")))  # a lost session has lost its locks
        asked = {"name": self._name, "number": number}
        if self._session.scalar(sa.text("SELECT pg_try_advisory_lock(hashtext(:name), :number)"), asked):
            self._held.add(number)
        return number in self._held
