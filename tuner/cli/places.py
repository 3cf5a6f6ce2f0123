"""Where things are: the only place that reads the environment.

TUNER_DB                     where the tables are: a folder for SQLite files, or the address of a PostgreSQL database
TUNER_DB_PASSWORD_FILE       a file with its password; PostgreSQL's own PGPASSFILE does as well
TUNER_HOME                   the folder for checkpoints and logs
TUNER_DATA                   folders that data may lie in, apart from the present one
TUNER_MLFLOW                 the address of an MLflow, http://HOST:PORT, or of the database that its tables are in
TUNER_MLFLOW_PASSWORD_FILE   a file with the password of that database
TUNER_FAILPOINT              where tests let a process die (`tuner.failpoints`)
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tuner.cli.shell import HOME, native_lines_kept
from tuner.errors import BadInput

if TYPE_CHECKING:
    from tuner.store import Store

TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "1"}
# XLA would make a kernel of each small number of a lane that no step changes: a sixth of the time that compiling takes.
XLA = "--xla_disable_hlo_passes=while-loop-invariant-code-motion"
PLACEHOLDERS = ("", "changeme", "password", "postgres", "mlflow", "tuner")  # what stands where somebody forgot to make a password
PASSWORD_FILES = ("TUNER_DB_PASSWORD_FILE", "PGPASSFILE")
SECRET = ("TUNER_", "PG", "MLFLOW_", "RAY_")  # what a training child does not inherit, as a user's code may run in it


def home(db: str, folder: Path | None = None) -> Path:
    """The folder for checkpoints, logs and SQLite files."""
    given = folder or (Path(os.environ["TUNER_HOME"]) if os.environ.get("TUNER_HOME") else None)
    return given or (Path(HOME) if "://" in db else Path(db))


def url(db: str) -> str:
    """The database's address, with the password if a file holds it."""
    from tuner.store import address

    where = db if "://" in db else f"sqlite:///{(Path(db) / 'tuner.db').resolve()}"
    return address(where, _password("TUNER_DB_PASSWORD_FILE")).render_as_string(hide_password=False)


def _password(variable: str) -> str | None:
    file = os.environ.get(variable)
    if not file:
        return None
    try:
        password = Path(file).read_text().rstrip("\r\n")
    except OSError as error:
        raise BadInput(f"{variable}: {file} cannot be read: {error.strerror}") from None
    if password.lower() in PLACEHOLDERS:
        raise BadInput(f"{variable}: {file} holds nothing, or a word that everybody tries; make a password: make secrets")
    return password


def password_files() -> dict[str, str]:
    """The variables that name files with passwords, for workers on other hosts, which have such files of their own."""
    return {name: str(Path(os.environ[name]).absolute()) for name in PASSWORD_FILES if os.environ.get(name)}


def refuse_for_other_hosts(db: str) -> None:
    """Raises `BadInput` when other hosts cannot use these tables, or would read the password on the way to them."""
    if "://" not in db or db.startswith("sqlite"):
        raise BadInput("--db: other hosts cannot use SQLite files; write postgresql://USER@HOST/NAME")
    if urlsplit(db).password:
        raise BadInput("TUNER_DB: a password in it would be shown to others on its way; use PGPASSFILE or TUNER_DB_PASSWORD_FILE")


def mlflow_uri(db: str) -> str:
    """MLflow's address: the one that was given, else beside the tables: the schema `mlflow`, or the file `mlflow.db`."""
    from tuner.store import address, mlflow_address

    if given := os.environ.get("TUNER_MLFLOW"):
        password = _password("TUNER_MLFLOW_PASSWORD_FILE")
        if password is None:
            return given
        return address(given, password, named="TUNER_MLFLOW").render_as_string(hide_password=False)
    return mlflow_address(address(url(db))) if "://" in db else f"sqlite:///{(Path(db) / 'mlflow.db').resolve()}"


def has_mlflow(db: str) -> bool:
    """Whether there is an MLflow that may know the studies."""
    return bool(os.environ.get("TUNER_MLFLOW")) or "://" in db or (Path(db) / "mlflow.db").exists()


def failpoint() -> str:
    """What `tuner.failpoints` arms; empty outside tests."""
    return os.environ.get("TUNER_FAILPOINT", "")


def roots(data: str | None) -> list[Path]:
    """The folders that data may lie in: here, what `TUNER_DATA` lists, and what `--data` names."""
    listed = [Path(part) for part in os.environ.get("TUNER_DATA", "").split(os.pathsep) if part]
    return [Path.cwd(), *listed, *([Path(data)] if data and ("/" in data or Path(data).exists()) else [])]


def child_environment() -> dict[str, str]:
    """What a training child inherits: nothing that says where a database or a cluster is, or how to enter it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(SECRET)}
    return {**_tensorflow(), **inherited, "XLA_FLAGS": _xla_flags()}


def load_tensorflow() -> None:
    """Load TensorFlow into this process with the environment of a training child, silently unless it fails.

    Until it has looked for devices it writes lines that its log level does not hold back.
    """
    os.environ.update({**_tensorflow(), **os.environ, "XLA_FLAGS": _xla_flags()})
    with native_lines_kept():
        from tuner.abreast import on_a_gpu

        on_a_gpu()


def _tensorflow() -> dict[str, str]:
    """By itself TensorFlow begins a thread for each processor of the host, also in a container with the time of two."""
    from tuner.process import processors

    return {**TENSORFLOW, "TF_NUM_INTRAOP_THREADS": str(processors(os.environ))}


def _xla_flags() -> str:
    """Ours, then those that are set, which win."""
    return f"{XLA} {os.environ.get('XLA_FLAGS', '')}".strip()


def mlflow_environment() -> Mapping[str, str]:
    """The environment of a process that uses MLflow."""
    from tuner import track

    return {**os.environ, **track.ENVIRONMENT}


def use_mlflow_here() -> None:
    """Prepare this process for MLflow."""
    os.environ.update(mlflow_environment())


@contextmanager
def store(db: str, *, create: bool = False) -> "Iterator[Store]":
    """The tables at the version that this program needs. Those in SQLite are brought there, or made by `create`.

    In a shared database only `tuner migrate` does so: workers may be using it.
    """
    from tuner.store import Store

    opened = Store(url(db))
    try:
        if opened.sqlite and not create and opened.version() is None:
            raise BadInput(f"--db: there are no studies in {db}; begin with: tuner run FILE")
        if opened.sqlite:
            opened.migrate()
        else:
            opened.check_version()
        yield opened
    finally:
        opened.close()
