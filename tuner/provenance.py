"""What a study was launched with: the versions of what computes, the commit of the folder, the machine."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

PACKAGES = {name: name for name in ("tensorflow", "keras", "optuna", "mlflow", "numpy")} | {"tuner": "keras-lanes-tuner"}
GPUS = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")


def facts(folder: Path) -> dict[str, Any]:
    """What is kept with a study that is launched here, from this folder: `versions`, `commit` (if there is one), `machine`."""
    commit = _commit(folder)
    return {"versions": versions(), **({"commit": commit} if commit else {}), "machine": _machine()}


def versions() -> dict[str, str]:
    """The version of each package that is installed, and of Python."""
    found = {"python": platform.python_version()}
    for name, package in PACKAGES.items():
        try:
            found[name] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit(folder: Path) -> str:
    """The commit that git has checked out in a folder, and whether files differ from it; empty outside a work tree."""
    commit = _said("git", "-C", str(folder), "rev-parse", "HEAD")
    changed = commit and _said("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return f"{commit}, with changes" if changed else commit


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    gpus = _said(*GPUS).splitlines()
    return ", ".join([f"{platform.system()} {platform.machine()}", f"{os.cpu_count()} processors, {memory:.0f} GiB", *gpus])


def _said(*command: str) -> str:
    """What a program prints; empty when it is not installed or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
