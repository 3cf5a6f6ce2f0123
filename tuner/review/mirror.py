"""optuna-dashboard on a mirror of a study: a copy in memory, which the page may change without changing the study."""

import warnings
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna.study
from optuna.storages import InMemoryStorage

from tuner.errors import BadInput
from tuner.review.results import Review

HOST = "127.0.0.1"
INSTALL = "pip install 'keras-lanes-tuner[dashboard]'"


def mirror(review: Review) -> InMemoryStorage:
    """The study with all trials as Optuna stores it, as of when it was read."""
    storage = InMemoryStorage()
    found = review.optuna
    copy = optuna.study.create_study(storage=storage, study_name=found.study_name, directions=found.directions)
    copy.add_trials(found.trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names of metrics are experimental
        copy.set_metric_names(list(review.study.spec.objective.names))
    return storage


def server(review: Review, port: int) -> WSGIServer:
    """A server of the dashboard, for this machine alone. Raises `BadInput` when it is not installed, or the port is taken."""
    try:
        from optuna_dashboard import wsgi  # noqa: PLC0415 — an extra
    except ModuleNotFoundError:
        raise BadInput(f"optuna-dashboard is not installed: {INSTALL}") from None
    try:
        return make_server(HOST, port, wsgi(mirror(review)), handler_class=_Silent)
    except OSError as error:
        raise BadInput(f"--port: {port} cannot be used: {error.strerror}") from None


class _Silent(WSGIRequestHandler):
    """Says nothing of what is asked for."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
