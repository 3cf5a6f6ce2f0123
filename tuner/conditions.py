"""Under what conditions a process trains: the code, the versions and the hardware that the last digits of a result depend on."""

import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("tensorflow", "keras", "numpy")
NONE = "none"

Conditions = Mapping[str, str]
"""What each of them is, by its name."""


def here(environment: Mapping[str, str]) -> Conditions:
    """Those of a process of this machine that has these environment variables."""
    return {
        "tuner": version("keras-lanes-tuner"),
        "commit": _commit(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "gpu": NONE if environment.get("CUDA_VISIBLE_DEVICES") == "-1" else _gpus(),
    }


def differences(recorded: Conditions, now: Conditions) -> Iterator[str]:
    """A line for each that is not what it was."""
    for name in dict.fromkeys([*recorded, *now]):
        then, today = recorded.get(name, "unknown"), now.get(name, "unknown")
        if then != today:
            yield f"{name}: {then} then, {today} now"


def _commit() -> str:
    """The commit that the code is of, `-dirty` when it was changed since; none where there is no working copy."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return NONE
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown: there is no git here"
    return asked.stdout.strip() or f"unknown: {asked.stderr.strip()}"


def _processor() -> str:
    return _said(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine()


def _gpus() -> str:
    """The models of NVIDIA's GPUs, as their driver says."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return ", ".join(dict.fromkeys(_said(file, "Model") for file in files)) or NONE


def _said(file: Path, key: str) -> str:
    """The first value behind a key in a file of lines `key : value`."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == key), "")
