"""How busy a host is, and the training process on it: processors, memory, and GPUs where NVIDIA's driver tells of them.

The names are those of MLflow's system metrics, without the prefix that its page looks for. `training_...` is the training process
with those that it has started: 100 % is one core.
"""

import importlib
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import psutil

MEGABYTE = 1e6  # MLflow's

Usage = Mapping[str, float]
"""What is used, by name."""


class Used(NamedTuple):
    """Processor time in seconds, and bytes of memory."""

    seconds: float
    memory: int


class Gauge:
    """Of a host, of those of its GPUs that an environment shows to a process, and of a training process once there is one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._visible = environment.get("CUDA_VISIBLE_DEVICES")
        self._training: int | None = None
        self._looked = self._seconds = 0.0
        psutil.cpu_percent()  # of each thread, the next answer is the mean since this one

    def watch(self, training: int) -> None:
        """Note the number of a training process that begins now."""
        self._training, self._looked, self._seconds = training, time.monotonic(), 0.0

    def read(self) -> Usage:
        """What is used now, or has been on average since the last look; what cannot be told is left out."""
        memory = psutil.virtual_memory()
        host = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / MEGABYTE,
            "system_memory_usage_percentage": 100 * memory.used / memory.total,
        }
        values = {**host, **dict(self._of_training()), **dict(_of_gpus(self._visible))}
        return {name: round(value, 1) for name, value in values.items()}

    def _of_training(self) -> Iterator[tuple[str, float]]:
        if self._training is None:
            return
        with suppress(psutil.NoSuchProcess):  # something has just ended
            now, (seconds, memory) = time.monotonic(), used(self._training)
            share = (seconds - self._seconds) / (now - self._looked)
            self._looked, self._seconds = now, seconds
            yield "training_cpu_utilization_percentage", max(0.0, 100 * share)
            yield "training_memory_usage_megabytes", memory / MEGABYTE


def used(pid: int) -> Used:
    """What a process and those it started use. Raises `psutil.NoSuchProcess` when one of them has just ended."""
    process = psutil.Process(pid)
    tree = [process, *process.children(recursive=True)]
    times = [one.cpu_times() for one in tree]
    return Used(sum(time.user + time.system for time in times), sum(one.memory_info().rss for one in tree))


def _of_gpus(visible: str | None) -> Iterator[tuple[str, float]]:
    """Of the GPUs in a value of CUDA_VISIBLE_DEVICES, by their numbers on the host; of all when there is none."""
    nvml, count = _nvml()
    for name in [] if nvml is None else visible.split(",") if visible is not None else map(str, range(count)):
        with suppress(nvml.NVMLError):  # it is none, it has failed, or it does not tell, as a part of a divided one
            gpu = nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdecimal() else nvml.nvmlDeviceGetHandleByUUID(name)
            number, memory = nvml.nvmlDeviceGetIndex(gpu), nvml.nvmlDeviceGetMemoryInfo(gpu)
            yield f"gpu_{number}_memory_usage_megabytes", memory.used / MEGABYTE
            yield f"gpu_{number}_memory_usage_percentage", 100 * memory.used / memory.total
            yield f"gpu_{number}_utilization_percentage", nvml.nvmlDeviceGetUtilizationRates(gpu).gpu


@cache
def _nvml() -> tuple[Any, int]:
    """NVIDIA's library and its number of GPUs; None and 0 without the driver, or without the extra `gpu`."""
    if find_spec("pynvml") is None:
        return None, 0
    nvml = importlib.import_module("pynvml")
    try:
        nvml.nvmlInit()
        return nvml, nvml.nvmlDeviceGetCount()
    except nvml.NVMLError:
        return None, 0
