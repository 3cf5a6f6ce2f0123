"""A worker: the devices of one host, each working on whichever study comes next.

One thread a device; in it one supervisor (`tuner.worker`) at a time, with one training child that sees that device alone. Between
two children the device chooses anew: the study of the highest priority, among equals the one that the fewest trials are at work
on, among those the one that it has left alone for longest.

A study that cannot be begun here, because its data are not readable, its child dies at once, or an exception comes that nobody
expects, is put aside for a while, and the others go on. A device on which `SUSPECT` trials in a row failed of a study of which
another worker has trained a trial without failure is no longer trusted: it takes nothing more, says so in `tuner workers`, and
waits for a person.
"""

import logging
import math
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tuner.errors import BadInput, ChildDied, DatabaseAway, DatabaseLost
from tuner.process import here
from tuner.store import Store, Study, Worker
from tuner.sweep import sweep
from tuner.trial import State
from tuner.worker import STALL, Supervisor

POLL = 2.0  # seconds between two looks for work
LOOK = 10.0  # seconds between two looks whether another study must go first, and between two signs of life while idle
SLICE = 60.0  # seconds that a study may keep a device while another of its priority has none
ASIDE = 300.0  # seconds for which a study that cannot be begun here is left alone
SWEEP = 600.0  # seconds between two looks at the disk
SUSPECT = 5  # trials that fail in a row
COUNT_GPUS = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Site:
    """Where a worker stands: its name, its folder for checkpoints and logs, where data may lie, and how much disk it may fill.

    `allow_code` says whether it may run functions that study files name; `command` starts a training child, `stall` is how many
    seconds that may do nothing.
    """

    name: str
    home: Path
    roots: Sequence[Path]
    disk: int
    allow_code: bool = False
    stall: float = STALL
    command: Sequence[str] = (sys.executable, "-m", "tuner.child")


def environments(wanted: str, base: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Each device by its label, with the environment of its child; `wanted` is `auto`, `cpu`, `gpu` or numbers like `0,1`.

    Raises `BadInput`.
    """
    numbers = [part.strip() for part in wanted.split(",")]
    if wanted == "cpu":
        return {"cpu": {**base, "CUDA_VISIBLE_DEVICES": "-1"}}
    if wanted not in ("auto", "gpu") and not (all(n.isdecimal() for n in numbers) and len(set(numbers)) == len(numbers)):
        raise BadInput(f"--devices: {wanted!r} is none; write cpu, gpu, or the numbers of GPUs, as in 0,1")
    visible = base["CUDA_VISIBLE_DEVICES"].split(",") if base.get("CUDA_VISIBLE_DEVICES") else None
    count = _count_gpus(base)
    if wanted in ("auto", "gpu"):
        numbers = [str(number) for number in range(count)]
        if not numbers and wanted == "auto":
            return environments("cpu", base)
    if not numbers or int(max(numbers, key=int)) >= count:
        raise BadInput(f"--devices: TensorFlow sees {count} GPUs here, {wanted!r} was asked for; see: tuner doctor")
    return {
        f"gpu {n}": {**base, "CUDA_VISIBLE_DEVICES": visible[int(n)] if visible else n, "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        for n in numbers
    }


def _count_gpus(environment: Mapping[str, str]) -> int:
    loads, said = ask_tensorflow(COUNT_GPUS, environment)
    if not loads:
        raise BadInput(f"--devices: TensorFlow does not load: {said}")
    return int(said)


def ask_tensorflow(program: str, environment: Mapping[str, str]) -> tuple[bool, str]:
    """Whether a program that loads TensorFlow ends well, and its last line.

    It runs in a process of its own: one that has seen a GPU keeps some of its memory.
    """
    asked = subprocess.run([sys.executable, "-c", program], env=dict(environment), capture_output=True, text=True, check=False)
    said = (asked.stderr if asked.returncode else asked.stdout).strip().rpartition("\n")[2]
    return not asked.returncode, said or f"exit code {asked.returncode}, without a word"


Share = tuple[Study, int]
"""A study, and how many of its trials are at work."""


def following(waiting: Sequence[Share], left: Mapping[int, float]) -> Study | None:
    """The study to work on next; `left` says when this device left which study, by its id."""
    best = min(waiting, key=lambda item: (-item[0].priority, item[1], left.get(item[0].id, -math.inf)), default=None)
    return best[0] if best is not None else None


def gives_way(mine: Share, held: int, others: Sequence[Share], *, served: float) -> bool:
    """Whether a device with `held` trials that has `served` its study for so many seconds shall go to another one.

    At once to one of a higher priority; after `SLICE` to an equal one that nobody works on, or that is still behind when the
    device has changed sides.
    """
    study, share = mine
    if any(other.priority > study.priority for other, _ in others):
        return True
    equals = [running for other, running in others if other.priority == study.priority]
    return served >= SLICE and any(running == 0 or running + 2 * held <= share for running in equals)


class Device:
    """One device and its loop. `quarantine` says why it is not trusted any more; empty while it is."""

    def __init__(self, store: Store, site: Site, label: str, environment: dict[str, str]) -> None:
        self._store = store
        self._site = site
        self._environment = environment
        self._worker = here(site.name, label)
        self._stop = threading.Event()
        self._within = 0.0
        self._supervisor: Supervisor | None = None
        self._began = self._asked = self._enlisted = 0.0
        self._left: dict[int, float] = {}
        self._aside: dict[int, tuple[float, str]] = {}
        self.quarantine = ""

    def drain(self, within: float) -> None:
        """Ask for a stop within so many seconds; asked again, with less time, it hurries."""
        self._within = within
        self._stop.set()
        if self._supervisor is not None:
            self._supervisor.drain(within)

    def work(self, *, until_idle: bool) -> None:
        """Work on one study after the other until `drain`; or until there is nothing to do for this device."""
        while not self._stop.is_set():
            study = None if self.quarantine else self._choose()
            if study is not None:
                self._attend(study)
                continue
            self._report_idle()
            if until_idle:
                break
            self._stop.wait(POLL)
        if not self._sign().message:  # one with a complaint stays to be seen
            self._dismiss()

    def _dismiss(self) -> None:
        try:
            self._store.dismiss(self._worker)
        except DatabaseAway as error:
            log.warning("%s", error)

    # Which study ------------------------------------------------------------

    def _choose(self) -> Study | None:
        try:
            waiting = [(study, running) for study, running in self._store.waiting() if self._may(study)]
        except DatabaseAway as error:
            log.warning("%s", error)
            return None
        return following(waiting, self._left)

    def _may(self, study: Study) -> bool:
        allowed = self._site.allow_code or not study.spec.model.is_code
        return allowed and time.monotonic() >= self._aside.get(study.id, (0.0, ""))[0]

    def _leaves(self, supervisor: Supervisor) -> bool:
        """Whether another study shall have this device, or none."""
        try:
            if supervisor.failed_in_a_row >= SUSPECT and self._store.succeeded_elsewhere(supervisor.study, self._worker.name):
                self._distrust(f"{SUSPECT} trials of {supervisor.study.name} in a row failed here, others succeeded")
                return True
            return self._others_first(supervisor)
        except DatabaseAway:
            return False  # the supervisor waits for it, or stops

    def _others_first(self, supervisor: Supervisor) -> bool:
        now = time.monotonic()
        if now - self._asked < LOOK:
            return False
        self._asked = now
        mine = supervisor.study
        others = [(study, running) for study, running in self._store.waiting() if study.id != mine.id and self._may(study)]
        share = self._store.counts(mine)[State.RUNNING]
        return gives_way((mine, share), supervisor.held, others, served=now - self._began)

    # Working on it ------------------------------------------------------------

    def _attend(self, study: Study) -> None:
        log.info("%s: works on %s", self._worker.name, study.name)
        supervisor = Supervisor(self._store, study, self._site.home, list(self._site.roots), self._environment)
        supervisor.worker, supervisor.leave = self._sign(), self._leaves
        supervisor.command, supervisor.stall = list(self._site.command), self._site.stall
        self._began = self._asked = time.monotonic()
        self._supervisor = supervisor
        if self._stop.is_set():  # it was asked for while there was no supervisor to ask
            supervisor.drain(self._within)
        try:
            supervisor.work(lambda: None)
        except (BadInput, ChildDied) as error:
            self._put_aside(study, str(error))
        except DatabaseLost:
            raise
        except Exception as error:
            log.exception("%s: %s", self._worker.name, study.name)
            self._put_aside(study, f"{type(error).__name__}: {error}")
        finally:
            self._supervisor = None
        self._left[study.id] = time.monotonic()

    def _put_aside(self, study: Study, reason: str) -> None:
        self._aside[study.id] = (time.monotonic() + ASIDE, f"{study.name} cannot be begun here: {reason}")
        self._say(self._aside[study.id][1])

    def _distrust(self, reason: str) -> None:
        self.quarantine = f"quarantined: {reason}"
        self._say(self.quarantine)

    def _say(self, complaint: str) -> None:
        log.error("%s: %s", self._worker.name, complaint)
        self._enlisted = 0.0  # the next sign of life carries it

    def _sign(self) -> Worker:
        """This device as others shall see it, with what is wrong at present."""
        aside = "; ".join(reason for until, reason in self._aside.values() if time.monotonic() < until)
        self._worker = replace(self._worker, message=self.quarantine or aside)
        return self._worker

    def _report_idle(self) -> None:
        if time.monotonic() - self._enlisted < LOOK:
            return
        try:
            self._store.enlist(self._sign())
        except DatabaseAway as error:
            log.warning("%s", error)
        self._enlisted = time.monotonic()


class Crew:
    """All devices of a worker, and the disk that they share."""

    def __init__(self, store: Store, site: Site, devices: Sequence[Device]) -> None:
        self._store = store
        self._site = site
        self._devices = devices
        self._swept = -math.inf
        self._errors: list[Exception] = []

    @property
    def quarantined(self) -> list[str]:
        """What the devices say that are not trusted any more."""
        return [device.quarantine for device in self._devices if device.quarantine]

    def drain(self, within: float) -> None:
        """Ask every device for a stop within so many seconds."""
        for device in self._devices:
            device.drain(within)

    def work(self, *, until_idle: bool) -> None:
        """Run every device until it stops. Raises what a device raised, after the others have stopped."""
        self._store.strike_off()
        threads = [threading.Thread(target=self._run, args=(device, until_idle)) for device in self._devices]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                self._sweep()
                thread.join(POLL)
        if self._errors:
            raise self._errors[0]

    def _sweep(self) -> None:
        if time.monotonic() - self._swept < SWEEP:
            return
        self._swept = time.monotonic()
        try:
            sweep(self._store, self._site.home, self._site.disk)
        except (DatabaseLost, OSError) as error:  # on a shared home files may belong to other users
            log.warning("the disk is swept another time: %s", error)

    def _run(self, device: Device, until_idle: bool) -> None:  # noqa: FBT001 — a thread's argument
        try:
            device.work(until_idle=until_idle)
        except Exception as error:  # noqa: BLE001 — raised again in the main thread
            self._errors.append(error)
            self.drain(0.0)
