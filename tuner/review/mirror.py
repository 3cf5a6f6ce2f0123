"""optuna-dashboard on a mirror of studies: a copy in memory, which the page may change without changing a study."""

import time
import warnings
from collections.abc import Callable, Collection, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna.study
from optuna.storages import InMemoryStorage

from tuner.errors import BadInput
from tuner.review.results import Review

HOST = "127.0.0.1"
INSTALL = "pip install 'keras-lanes-tuner[dashboard]'"
FRESH = 15.0  # seconds for which a copy is shown before the studies are read again

Read = Callable[[], Iterable[Review]]
"""The studies as they are now, always in the same order: the page knows them by their places."""


def mirror(reviews: Iterable[Review]) -> InMemoryStorage:
    """Studies with all their trials as Optuna stores them, as of when they were read."""
    storage = InMemoryStorage()
    for review in reviews:
        found = review.optuna
        copy = optuna.study.create_study(storage=storage, study_name=found.study_name, directions=found.directions)
        copy.add_trials(found.trials)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names of metrics are experimental
            copy.set_metric_names(list(review.study.spec.objective.names))
    return storage


def server(read: Read, port: int, listen: str = HOST, known_as: Collection[str] = (), *, fresh: float = FRESH) -> WSGIServer:
    """A server of the dashboard, which shows a copy for `fresh` seconds.

    It answers those who call it 127.0.0.1, localhost or one of `known_as`, each with its port. Raises `BadInput` when it is not
    installed, or the port is taken.
    """
    try:
        import optuna_dashboard  # noqa: F401, PLC0415 — an extra
    except ModuleNotFoundError:
        raise BadInput(f"optuna-dashboard is not installed: {INSTALL}") from None
    page = _Page(read, fresh)
    try:
        made = make_server(listen, port, page, handler_class=_Silent)
    except OSError as error:
        raise BadInput(f"--port: {port} cannot be used: {error.strerror}") from None
    page.hosts = {f"{host}:{made.server_port}" for host in (HOST, "localhost")} | set(known_as)
    return made


class _Page:
    """The dashboard as a WSGI application, of a copy that is never older than `fresh` seconds when something is asked for."""

    def __init__(self, read: Read, fresh: float) -> None:
        self._read, self._fresh = read, fresh
        self._renew()
        self.hosts: set[str] = set()

    def _renew(self) -> None:
        from optuna_dashboard import wsgi  # noqa: PLC0415 — an extra

        self._app, self._at = wsgi(mirror(self._read())), time.monotonic()

    def __call__(self, environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """An answer; none to a page elsewhere that has its own name lead here."""
        if environment.get("HTTP_HOST") not in self.hosts:
            start("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"this server does not go by that name; see tuner dashboard --known-as\n"]
        if time.monotonic() - self._at >= self._fresh:
            self._renew()
        answer: Iterable[bytes] = self._app(environment, start)
        return answer


class _Silent(WSGIRequestHandler):
    """Says nothing of what is asked for."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
