"""What a study needs on this machine, looked at one by one."""

import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.devices import ask_tensorflow
from tuner.errors import TunerError
from tuner.store import HEAD, Store

PACKAGES = ("tensorflow", "keras", "optuna", "mlflow", "sqlalchemy", "numpy")
FREE_BYTES = 2**30
DEVICES = "import tensorflow as tf; print(', '.join(d.name.split(':', 1)[1] for d in tf.config.list_physical_devices()))"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    good: bool
    found: str


def examine(url: str, home: Path, roots: Sequence[Path], environment: Mapping[str, str]) -> list[Finding]:
    """Look at everything; changes nothing. `environment` is what a training process would get."""
    return list(_examine(url, home, roots, environment))


def _examine(url: str, home: Path, roots: Sequence[Path], environment: Mapping[str, str]) -> Iterator[Finding]:
    version = sys.version_info
    yield Finding("Python", (3, 11) <= version[:2] < (3, 14), f"{platform.python_version()} (3.11 to 3.13 are supported)")
    for package in PACKAGES:
        yield _package(package)
    yield _devices(environment)
    yield _database(url)
    yield _disk(home)
    for root in roots:
        yield Finding("data folder", root.is_dir(), str(root))


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "not installed")


def _devices(environment: Mapping[str, str]) -> Finding:
    loads, said = ask_tensorflow(DEVICES, environment)
    return Finding("devices", loads, said if loads else f"TensorFlow does not load: {said}")


def _database(url: str) -> Finding:
    try:
        store = Store(url)
        version = store.version()
        store.close()
    except TunerError as error:
        return Finding("database", False, str(error))
    if store.sqlite and version is None:
        return Finding("database", True, f"none yet in {store.url.database}; made by the first run")
    found = f"{store.url.render_as_string()}, tables at {version}"
    return Finding(
        "database",
        version == HEAD,
        found if version == HEAD else f"{found}; this code needs {HEAD}, `tuner migrate` brings them there",
    )


def _disk(home: Path) -> Finding:
    existing = next(folder for folder in [home.resolve(), *home.resolve().parents] if folder.exists())
    free = shutil.disk_usage(existing).free
    return Finding("disk", free > FREE_BYTES, f"{free / 2**30:.1f} GiB free under {existing}")
