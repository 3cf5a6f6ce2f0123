"""Searches as a person starts them, ours and a peer's: a process each, counted from its start to its exit."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.review import study_file
from tuner.spec import StudySpec, parse
from tuner.store import Store
from tuner.trial import Params

DIGITS: dict[str, Any] = {
    "data": "digits",
    "model": "mlp",
    "objective": "val_accuracy",
    "pruner": "none",
    "train": {"epochs": 20},
    "search": {
        "depth": {"int": [1, 3]},
        "width": {"int": [16, 256], "log": True},
        "activation": ["relu", "tanh", "gelu"],
        "batch_size": [16, 32, 64, 128],
        "optimizer": ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "adam", "nadam"],
        "learning_rate": {"float": [1e-4, 1e-1], "log": True},
    },
}
MNIST: dict[str, Any] = {
    **DIGITS,
    "data": {"source": "mnist", "validation": 0.1, "test": 0.1},
    "train": {"epochs": 10},
    "search": {
        "depth": {"int": [1, 3]},
        "width": {"int": [32, 512], "log": True},
        "activation": ["relu", "tanh", "gelu"],
        "dropout": {"float": [0.0, 0.5]},
        "batch_size": [32, 64, 128],
        "optimizer": ["momentum", "nesterov", "rmsprop", "adam", "nadam"],
        "learning_rate": {"float": [1e-4, 1e-1], "log": True},
    },
}
LENET: dict[str, Any] = {
    **MNIST,
    "model": "lenet",
    "train": {"epochs": 5},
    "search": {
        "activation": ["relu", "tanh", "gelu"],
        "bias": [True, False],
        "dropout": {"float": [0.0, 0.5]},
        "batch_size": [32, 64, 128],
        "optimizer": ["momentum", "nesterov", "rmsprop", "adam", "nadam"],
        "learning_rate": {"float": [1e-4, 1e-1], "log": True},
    },
}
CONVNET: dict[str, Any] = {
    **LENET,
    "model": "convnet",
    "search": {**LENET["search"], "convolutions": 2, "filters": 8, "kernel": 5, "batch_size": 64},
}
ASHA = {"name": "asha", "from_epoch": 2, "factor": 3}


@dataclass(frozen=True)
class Ended:
    """A trial that has ended: when (seconds since 1970), its best objective, its parameters."""

    at: float
    value: float | None
    params: Params


@dataclass(frozen=True)
class Searched:
    """A search that is over: when its process was started, the search itself began, and the process was gone."""

    started: float
    begun: float
    gone: float
    trials: list[Ended]

    @property
    def seconds(self) -> float:
        """From start to exit."""
        return self.gone - self.started

    @property
    def per_hour(self) -> float:
        """Trials an hour, everything counted."""
        return 3600 * len(self.trials) / self.seconds

    def best(self, until: float | None = None) -> Ended:
        """The best of the trials that had ended by then; ends the benchmark when there is none."""
        counted = [trial for trial in self.trials if trial.value is not None and (until is None or trial.at <= until)]
        if not counted:
            raise SystemExit("no trial ended in the time that it was given")
        return max(counted, key=lambda trial: trial.value or 0.0)


def study(question: dict[str, Any], trials: int, **changes: Any) -> StudySpec:
    """A study of so many trials, without a race after them: a peer's search has none."""
    return parse({"name": "study", "budget": trials, "final": 0, **question, **changes})


def ours(spec: StudySpec, folder: Path, data: Path | None, seconds: float | None = None) -> Searched:
    """`tuner run` with MLflow in an empty folder; after `seconds` it is told to stop."""
    file = _written(spec, folder)
    _warm("tuner.cli", "tuner.worker", "tuner.lanes", "tuner.track.door")
    command = ["-m", "tuner.cli", "run", str(file), "--db", str(folder)]
    started, gone = _process([*command, *(["--data", str(data)] if data else [])], folder, seconds)
    tables = Store(f"sqlite:///{folder / 'tuner.db'}")
    rows = [row for row in tables.trials(tables.study(spec.name)) if row.started is not None]
    tables.close()
    trials = [Ended(row.ended, row.value, row.params or {}) for row in rows if row.ended is not None]
    return Searched(started, min(row.started or gone for row in rows), gone, trials)


def peer(name: str, spec: StudySpec, folder: Path, data: Path | None, seconds: float) -> Searched:
    """The peer `benchmarks.peers.<name>`; it begins trials for `seconds` after it has loaded, at most those of the study."""
    file, answer = _written(spec, folder), folder / "answer.json"
    _warm(f"benchmarks.peers.{name}")
    command = ["-m", f"benchmarks.peers.{name}", str(file), str(seconds), str(answer)]
    started, gone = _process([*command, *([str(data)] if data else [])], folder)
    said = json.loads(answer.read_text())
    trials = [Ended(trial["ended"], trial["value"], trial["params"]) for trial in said["trials"]]
    return Searched(started, said["begun"], gone, trials)


def _warm(*modules: str) -> None:
    """Import modules in a process that is not counted: the first import of all compiles them."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([sys.executable, "-c", f"import {', '.join(modules)}"], env=_environment(), check=True, **quiet)


def _written(spec: StudySpec, folder: Path) -> Path:
    folder.mkdir(parents=True)
    file = folder / "study.toml"
    file.write_text(study_file(spec))
    return file


def _process(command: list[str], folder: Path, seconds: float | None = None) -> tuple[float, float]:
    """When a Python process started and when it was gone; it is interrupted after `seconds`."""
    log, interrupted = folder / "output.log", False
    started = time.time()
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, *command], stdout=output, stderr=subprocess.STDOUT, env=_environment())
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait()
            interrupted = True
    if process.returncode and not interrupted:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{log.read_text()[-2000:]}")
    return started, time.time()


def _environment() -> dict[str, str]:
    """Quiet, and with modules that are compiled once, as a package manager leaves them, whatever the caller's shell says."""
    mine = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**mine, "TF_CPP_MIN_LOG_LEVEL": "2", "RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
