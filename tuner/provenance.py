"""Where a result comes from: the code, the versions and the machine of a launch, and of each process that trains."""

import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

PACKAGES = {"tuner": "keras-lanes-tuner"} | {name: name for name in ("tensorflow", "keras", "numpy", "optuna", "mlflow")}
COMPUTING = ("python", "tuner", "tensorflow", "keras", "numpy")  # what the last digits of a result depend on
ROOT = Path(__file__).parents[1]
NONE = "none"

Conditions = Mapping[str, str]
"""What a process trains under, by name."""


def facts(folder: Path) -> dict[str, Any]:
    """What is kept with a study that is launched here, from this folder: `versions`, `commit` (if there is one), `machine`."""
    commit = _commit(folder)
    memory = psutil.virtual_memory().total / 2**30
    machine = f"{platform.system()}, {_processor()}, {memory:.0f} GiB"
    return {"versions": versions(), **({"commit": commit} if commit else {}), "machine": machine}


def versions() -> dict[str, str]:
    """The version of each package that is installed, and of Python."""
    found = {"python": platform.python_version()}
    for name, package in PACKAGES.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            continue
    return found


def here(environment: Mapping[str, str]) -> Conditions:
    """The conditions of a process of this machine that has these environment variables; `commit` is that of this program."""
    known = versions()
    return {
        **{name: known[name] for name in COMPUTING if name in known},
        "commit": (_commit(ROOT) if (ROOT / ".git").exists() else "") or NONE,
        "processor": _processor(),
        "gpu": NONE if environment.get("CUDA_VISIBLE_DEVICES") == "-1" else _gpus(),
    }


def differences(recorded: Conditions, now: Conditions) -> Iterator[str]:
    """A line for each that is not what it was."""
    for name in dict.fromkeys([*recorded, *now]):
        then, today = recorded.get(name, "unknown"), now.get(name, "unknown")
        if then != today:
            yield f"{name}: {then} then, {today} now"


def _commit(folder: Path) -> str:
    """The commit that git has checked out in a folder, and whether files differ from it; empty outside a work tree."""
    commit = _answer("git", "-C", str(folder), "rev-parse", "HEAD")
    changed = commit and _answer("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return f"{commit}, with changes" if changed else commit


def _answer(*command: str) -> str:
    """What a program prints; empty when it is not installed or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    model = _said(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores"


def _gpus() -> str:
    """The models of NVIDIA's GPUs, as their driver says."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return ", ".join(dict.fromkeys(_said(file, "Model") for file in files)) or NONE


def _said(file: Path, key: str) -> str:
    """The first value behind a key in a file of lines `key : value`."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == key), "")
