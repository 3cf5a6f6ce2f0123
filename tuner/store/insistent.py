"""A store that is asked again while the database is away."""

from collections.abc import Callable
from typing import Any

from tuner.errors import DatabaseAway
from tuner.store.database import Database


class Insistent:
    """A store whose verbs are repeated while the database is away; `wait` is called between, and raises when it is too late."""

    def __init__(self, store: Database, wait: Callable[[DatabaseAway], None]) -> None:
        self._store = store
        self._wait = wait

    def __getattr__(self, name: str) -> Callable[..., Any]:
        verb = getattr(self._store, name)

        def insist(*args: Any, **options: Any) -> Any:
            while True:
                try:
                    return verb(*args, **options)
                except DatabaseAway as error:
                    self._wait(error)

        return insist
