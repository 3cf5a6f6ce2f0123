"""The calls to MLflow, and what can go wrong with them."""

import importlib
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from tuner.errors import BadInput, TunerError
from tuner.store import PARENT

# MLflow's limits
PARAM_LENGTH = 6_000
TAG_LENGTH = 8_000
EXPERIMENT_TAG_LENGTH = 5_000
PARAMS_PER_CALL = 100
METRICS_PER_CALL = 800
RUNS_PER_PAGE = 1_000
REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "BAD_REQUEST")


IDENTITY = "tuner.study"
CHAMPION = "champion"  # the alias of a registered model's version that won last

logger = logging.getLogger(__name__)


class Unreachable(TunerError):
    """MLflow does not answer now."""


class Refused(TunerError):
    """MLflow does not take this, now or later."""


class Point(NamedTuple):
    """A metric at a time (milliseconds since 1970) and a step."""

    key: str
    value: float
    at: int
    step: int


class Found(NamedTuple):
    """A run that MLflow has already, perhaps among the deleted ones."""

    run: str
    deleted: bool


class Beside(NamedTuple):
    """Where else a study's things go: to which run of which experiment."""

    experiment: str
    run: str


class Door:
    """The calls to MLflow. What goes wrong is either `Unreachable` or `Refused`."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._entities = _mlflow("entities")
        with _sorted(uri):
            self._store = _connect(uri)

    def experiment(self, name: str, identity: str) -> tuple[str, bool]:
        """The experiment of a study, and whether it had to be made."""
        if (known := self.find(identity)) is not None:
            return known, False
        tags = {IDENTITY: identity, "study": name, "mlflow.experimentKind": "custom_model_development"}
        with _sorted(self._uri):
            # The name may be taken: by a person, by another database, or by a deleted experiment, which keeps its name.
            title = name if self._store.get_experiment_by_name(name) is None else f"{name} {identity}"
            made = self._store.create_experiment(title, tags=[self._entities.ExperimentTag(*tag) for tag in tags.items()])
        return str(made), True

    def find(self, identity: str) -> str | None:
        """The experiment of a study, brought back when it was deleted; None when there is none."""
        wanted = f"tags.`{IDENTITY}` = '{identity}'"
        with _sorted(self._uri):
            found = self._store.search_experiments(self._entities.ViewType.ALL, max_results=1, filter_string=wanted)
            if found and found[0].lifecycle_stage == "deleted":
                self._store.restore_experiment(found[0].experiment_id)
        return str(found[0].experiment_id) if found else None

    def mark(self, experiment: str, tags: Mapping[str, str]) -> None:
        """Set tags of an experiment; one that is longer than MLflow takes is left out."""
        with _sorted(self._uri):
            for key, value in tags.items():
                if len(value) <= EXPERIMENT_TAG_LENGTH:
                    self._store.set_experiment_tag(experiment, self._entities.ExperimentTag(key, value))

    def trash(self, experiment: str, name: str) -> None:
        """Delete an experiment with its runs; `name` is what it is called from then on. `mlflow gc` frees the space."""
        with _sorted(self._uri):
            self._store.rename_experiment(experiment, name)
            self._store.delete_experiment(experiment)

    def runs(self, experiment: str, identity: str) -> dict[int, Found]:
        """The runs of a study by trial number, deleted ones too; the parent run is `PARENT`."""
        wanted, found, token = f"tags.`{IDENTITY}` = '{identity}'", {}, None
        with _sorted(self._uri):
            while token is None or token:
                page = self._store.search_runs(
                    [experiment], wanted, self._entities.ViewType.ALL, RUNS_PER_PAGE, page_token=token
                )  # fmt: skip
                for run in page:
                    number = int(run.data.tags.get("trial", PARENT))
                    found[number] = Found(run.info.run_id, run.info.lifecycle_stage == "deleted")
                token = page.token or ""
        return found

    def create(self, experiment: str, name: str, start: int, tags: Mapping[str, str]) -> str:
        """A new run; it is RUNNING."""
        with _sorted(self._uri):
            run = self._store.create_run(experiment, "tuner", start, self._tags(tags), name)
        return str(run.info.run_id)

    def restore(self, run: str) -> None:
        """Bring a deleted run back."""
        with _sorted(self._uri):
            self._store.restore_run(run)

    def log(self, run: str, points: Iterable[Point], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Write metrics, parameters and tags, in as few calls as MLflow allows."""
        metrics = _chunks([self._entities.Metric(*point) for point in points], METRICS_PER_CALL)
        entries = _chunks([self._entities.Param(*param) for param in params.items()], PARAMS_PER_CALL)
        calls: Iterable[Any] = zip_longest(metrics, entries, [self._tags(tags)] if tags else [], fillvalue=[])
        with _sorted(self._uri):
            for some, few, all_tags in calls:
                self._store.log_batch(run, metrics=some, params=few, tags=all_tags)

    def tags(self, run: str) -> dict[str, str]:
        """The tags of a run."""
        with _sorted(self._uri):
            found: dict[str, str] = self._store.get_run(run).data.tags
        return found

    def update(self, run: str, status: str, end: int | None) -> None:
        """Set a run's status, and its end when it has one."""
        with _sorted(self._uri):
            self._store.update_run_info(run, self._entities.RunStatus.from_string(status), end, None)

    def attach(self, run: str, name: str, text: str) -> None:
        """Store a text beside a run, if there is a place for it."""
        with TemporaryDirectory() as folder:
            (Path(folder) / name).write_text(text)
            self.upload(run, Path(folder))

    def upload(self, run: str, folder: Path) -> bool:
        """Store what lies in a folder beside a run; whether there was a place for it. Raises `Unreachable`."""
        registry = _mlflow("store.artifact.artifact_repository_registry")
        try:
            with _sorted(self._uri):
                place = self._store.get_run(run).info.artifact_uri
            registry.get_artifact_repository(place, tracking_uri=self._uri).log_artifacts(str(folder))
        except Unreachable:
            raise
        except Exception as error:  # noqa: BLE001 — artifact stores are plug-ins and raise what they like; the runs do without
            with _sorted(self._uri):
                self._store.search_experiments(max_results=1)  # does nobody answer at all? Then it was not the artifact store
            names = ", ".join(sorted(path.name for path in folder.iterdir()))
            logger.warning("%s was not stored with the study's run: %s", names, one_line(error, self._uri))
            return False
        return True

    def registered(self, name: str, tag: str, value: str) -> bool:
        """Whether a registered model, made if there is none, has a version with this tag; one always has the alias then."""
        exceptions, client = _mlflow("exceptions"), _mlflow("tracking.client").MlflowClient(self._uri, self._uri)
        with _sorted(self._uri):
            try:
                aliases = client.get_registered_model(name).aliases
            except exceptions.MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                aliases = client.create_registered_model(name).aliases
            mine = [version for version in client.search_model_versions(f"name = '{name}'") if version.tags.get(tag) == value]
            if mine and CHAMPION not in aliases:
                client.set_registered_model_alias(name, CHAMPION, mine[0].version)
        return bool(mine)

    def _tags(self, tags: Mapping[str, str]) -> list[Any]:
        return [self._entities.RunTag(*tag) for tag in tags.items()]


def model_name(study: str) -> str:
    """What the registered model of a study is called: without what MLflow refuses in such a name, or when it is asked for it."""
    return "".join("_" if character in "/:'" else character for character in study)


def _mlflow(module: str) -> Any:
    """A module of MLflow, loaded when it is needed: that takes 4 s, and who only asks for `lag` shall not wait for it."""
    return importlib.import_module(f"mlflow.{module}")


@contextmanager
def _sorted(uri: str) -> Iterator[None]:
    """Raises `Refused` or `Unreachable` for what MLflow raises."""
    try:
        yield
    except _mlflow("exceptions").MlflowException as error:
        kind = Refused if error.error_code in REFUSALS else Unreachable
        raise kind(f"MLflow: {one_line(error, uri)}") from None


def one_line(error: object, uri: str) -> str:
    """The first line of what was said, without the password of an address."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    password = urlsplit(uri).password
    return text.replace(password, "***").replace(unquote(password), "***") if password else text


def _chunks(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _connect(uri: str) -> Any:
    """MLflow's own tracking store for an address; `MlflowClient` would read each run once more before it ends it."""
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme in ("http", "https"):
        credentials = _mlflow("utils.credentials").get_default_host_creds(uri)
        connected = _mlflow("store.tracking.rest_store").RestStore(lambda: credentials)
    elif scheme in ("sqlite", "postgresql"):
        connected = _connect_database(uri)
    else:
        raise BadInput("TUNER_MLFLOW: not an address of MLflow; write http://HOST:PORT or sqlite:///FILE")
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # it prints a traceback for what we report in one line
    return connected


def _connect_database(uri: str) -> Any:
    """A database without a server before it; a SQLite file is made when it is missing, with `mlartifacts` beside it."""
    file = sqlite_file(uri)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=30)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    artifacts = (file.parent if file is not None else Path.cwd()) / "mlartifacts"
    connected = _mlflow("store.tracking.sqlalchemy_store").SqlAlchemyStore(uri, artifacts.as_uri())
    connected.get_experiment = cache(connected.get_experiment)  # `create_run` reads it every time, for a third of its cost
    if file is not None:
        _relax(connected.engine)
    return connected


def _relax(engine: Any) -> None:
    """Let a commit outlive the death of a process but not a power cut, as the store does: it saves four waits for the disk a run.

    MLflow uses two connections at a time, and its pool keeps them.
    """
    with engine.connect() as one, engine.connect() as other:
        for connection in (one, other):
            connection.exec_driver_sql("PRAGMA synchronous=NORMAL")


def sqlite_file(uri: str) -> Path | None:
    """The file behind an address; None when there is none."""
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None
