"""Processes: the training child and the line to it, and who a worker is."""

import math
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import psutil

from tuner import cgroup, gauge
from tuner.cgroup import Cgroup
from tuner.channel import Channel
from tuner.store import Worker

BUSY = 0.01  # of a core: a child that uses more works
DUMP = 1.0  # seconds that a stalled child gets to write where it hangs
LOG_TAIL = 4_000  # bytes of a child's log that are kept with a trial that failed
MEBIBYTE = 2**20  # bytes
BOOT = 8  # characters that tell one boot of any host from another
FIRST_NAMESPACE = 4026531836  # the process namespace of a host itself; a container has one of its own


class Child:
    """The training process, in the control group of this one, and the line to it."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str], group: Cgroup) -> None:
        self._group, self._oom_kills = group, group.oom_kills
        ours, theirs = socket.socketpair()
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with theirs, log.open("ab") as output:
            self._log_start = output.tell()
            # A session of its own: Ctrl-C in the terminal reaches the supervisor only, which lets the child finish its epoch.
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=environment, start_new_session=True,
            )  # fmt: skip
        self.channel = Channel(ours)
        self._worked = self._looked = time.monotonic()
        self._used = 0.0
        self._killed_for = ""

    def kill(self) -> None:
        """End it at once and wait until it is gone."""
        self.process.kill()
        self.process.wait()
        self.channel.close()

    def heard(self) -> None:
        """Note that it reported."""
        self._worked = time.monotonic()

    def kill_if_stalled(self, limit: float) -> None:
        """Kill it when it has neither reported nor used a processor for `limit` seconds; its stacks are in its log then."""
        now = time.monotonic()
        if now - self._looked >= limit / 10:
            used = _processor_seconds(self.process.pid)
            if used - self._used > BUSY * (now - self._looked):
                self._worked = now
            self._looked, self._used = now, used
        if now - self._worked > limit:
            self._killed_for = f"killed, as it did nothing for {limit:g} s"
            self.process.send_signal(signal.SIGUSR1)
            time.sleep(DUMP)
            self.process.kill()

    @cached_property
    def starved(self) -> str:
        """That the kernel killed it for want of memory, and the limit; empty when it did not, or does not tell.

        It is taken to have done so when the process ended by a SIGKILL of others while the group's count rose.
        """
        by_others = self.process.wait() == -signal.SIGKILL and not self._killed_for
        if not by_others or self._group.oom_kills == self._oom_kills:
            return ""
        limit = self._group.limit
        return "killed by the kernel for want of memory" + (f", limit {limit / MEBIBYTE:,.0f} MiB" if limit is not None else "")

    def tail(self) -> str:
        """The last lines of its log."""
        with self.log.open("rb") as file:
            file.seek(max(self._log_start, self.log.stat().st_size - LOG_TAIL))
            return file.read().decode(errors="replace").replace("\0", "").strip()

    def last_words(self) -> str:
        """How the process ended, and the last line of its log."""
        code = self.process.wait()
        how = self._killed_for or self.starved or (f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")
        lines = self.tail().splitlines()
        return f"{how}; its last line in {self.log}: {lines[-1].strip() if lines else 'nothing'}"


def here(name: str = "", device: str = "") -> Worker:
    """This process as a worker, or one device of it, under a name that no other has."""
    host, process = _host(), psutil.Process()
    label = "-".join(part for part in (name or socket.gethostname()[:40], device.replace(" ", "")) if part)
    return Worker(f"{label[:55]}-{uuid.uuid4().hex[:8]}", host, process.pid, _started(process), device)


def _host() -> str:
    """Where process numbers mean the same: the host, or a container on it, until it is booted again."""
    namespace, boot = Path("/proc/self/ns/pid"), Path("/proc/sys/kernel/random/boot_id")
    number = namespace.stat().st_ino if namespace.exists() else FIRST_NAMESPACE
    # Hosts that were copied have one name, and their containers the same numbers.
    booted = [boot.read_text()[:BOOT]] if boot.exists() else []
    return " ".join([socket.gethostname(), *booted, *([] if number == FIRST_NAMESPACE else [str(number)])])


def _started(process: psutil.Process) -> float:
    """Seconds after the boot of the host: the time of day would be another one for a living process when a clock is set."""
    return float(process.create_time() - psutil.boot_time())


def alive(worker: Worker) -> bool:
    """Whether a worker of this host still runs."""
    try:
        return abs(_started(psutil.Process(worker.pid)) - worker.process_started) < 1.0
    except psutil.NoSuchProcess:
        return False


def _processor_seconds(pid: int) -> float:
    """What a process and those it started have used of processors."""
    try:
        return gauge.used(pid).seconds
    except psutil.NoSuchProcess:
        return math.inf  # something has just ended: that is work


def processors(variables: Mapping[str, str]) -> int:
    """How many processors a training process with these variables has.

    As many as TensorFlow is told to use, else all that this process may run on and its control group has time of.
    """
    told = variables.get("TF_NUM_INTRAOP_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(here, math.ceil(cgroup.of(controller="cpu").processors or here))
