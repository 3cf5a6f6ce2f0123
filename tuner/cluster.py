"""Workers that a Ray cluster places and restarts: the only door to Ray.

One actor is one worker with one device. Ray decides on which host it stands, makes room for it where hosts come and go, and
starts it anew, there or elsewhere, when its process or its host is gone. Which trial it trains the database decides, as for any
worker (`tuner.worker`); an actor that is killed loses no more than the work since its last checkpoint. The actors end with the
process that placed them.

Ray shows the arguments and variables of an actor to everybody who may look at its dashboard: no password goes through here.
"""

import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tuner.devices import Crew
from tuner.errors import BadInput, DatabaseAway, TunerError

try:
    import ray
except ModuleNotFoundError:
    raise BadInput("--ray: Ray is not installed here; install it with: pip install 'keras-lanes-tuner[ray]'") from None

RETRY = 10.0  # seconds between two tries to begin while the database is away
TICK = 0.5  # seconds between two looks at what has ended and at the signals
FOLLOW = 5.0  # seconds between two questions where a worker stands
GRACE = 5.0  # seconds that a worker may take longer to stop than it was given
REACH = 10.0  # seconds that the cluster may take to answer at all
CALLS = 3  # that an actor answers at once: work, drain, where
WAITING = "waits for a place"

Open = Callable[[], AbstractContextManager[Crew]]
"""Makes a worker's crew on the host where it is called; a function of a module that every host has."""


@dataclass(frozen=True)
class Portion:
    """What of a host one worker gets, in processors and GPUs, and with which variables in its environment."""

    cpus: float
    gpus: float
    variables: Mapping[str, str]


def portion(devices: str, each: float, variables: Mapping[str, str]) -> Portion:
    """`each` processors, or `each` of a GPU and the processor that feeds it. Raises `BadInput`."""
    match devices:
        case "cpu":
            if each > 1 and each != int(each):
                raise BadInput(f"--each: {each:g} processors; Ray gives a whole number of them, or a part of one")
            threads = str(math.ceil(each))
            return Portion(each, 0, {**variables, "TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads})
        case "gpu":
            if each > 1:
                raise BadInput(f"--each: {each:g} GPUs; a worker of Ray trains on one GPU, or a part of one")
            return Portion(1, each, variables)
    raise BadInput(f"--devices: {devices!r}; Ray chooses the devices itself: write cpu or gpu")


class Post:
    """The actor: one worker, begun again while the database is away. Its calls come from threads of their own."""

    def __init__(self, open_crew: Open) -> None:
        self._open = open_crew
        self._crew: Crew | None = None
        self._stop = threading.Event()
        self._within = math.inf
        self._trouble = ""

    def work(self, *, until_idle: bool) -> list[str]:
        """Work until `drain`, or until there is nothing to do; returns what the devices say that are not trusted any more."""
        while not self._stop.is_set():
            try:
                return self._work(until_idle=until_idle)
            except DatabaseAway as error:
                self._trouble = f", and tries again: {error}"
                self._stop.wait(RETRY)
        return []

    def _work(self, *, until_idle: bool) -> list[str]:
        with self._open() as self._crew:
            self._trouble = ""
            if self._stop.is_set():  # it was asked for while there was no crew to ask
                self._crew.drain(self._within)
            self._crew.work(until_idle=until_idle)
            return self._crew.quarantined

    def drain(self, within: float) -> None:
        """Ask for a stop within so many seconds."""
        self._within = within
        self._stop.set()
        if self._crew is not None:
            self._crew.drain(within)

    def where(self) -> str:
        """Where it stands, and what keeps it from working."""
        gpus = "".join(f", GPU {number}" for number in ray.get_gpu_ids())
        return f"is on {socket.gethostname()}{gpus}, process {os.getpid()}{self._trouble}"


class Fleet:
    """`count` workers on the cluster at `address`, and where each of them is.

    `complaints` are what went wrong with workers that have ended. Raises `BadInput` when there is no such cluster.
    """

    def __init__(self, address: str, count: int, share: Portion, open_crew: Open) -> None:
        _join(address)
        actor = ray.remote(
            num_cpus=share.cpus, num_gpus=share.gpus, scheduling_strategy="SPREAD", max_concurrency=CALLS,
            max_restarts=-1, max_task_retries=-1, runtime_env={"env_vars": dict(share.variables)},
        )(Post)  # fmt: skip
        self._actors = {number: actor.remote(open_crew) for number in range(1, count + 1)}
        self._asked: dict[Any, int] = {}  # `where` without an answer yet
        self._said: dict[int, str] = {}
        self._looked = -math.inf
        self._within: float | None = None  # what was asked for and not passed on yet
        self._until = math.inf
        self.complaints: list[str] = []

    def drain(self, within: float) -> None:
        """Ask every worker for a stop within so many seconds; one that takes `GRACE` longer is ended. For signal handlers."""
        self._within = within

    def work(self, say: Callable[[str], None], *, until_idle: bool) -> None:
        """Follow the workers until all have ended, and `say` where each is whenever that changes."""
        working = {actor.work.remote(until_idle=until_idle): number for number, actor in self._actors.items()}
        while working and not self._is_over(working.values()):
            ended, _ = ray.wait(list(working), timeout=TICK)
            for reference in ended:
                self._part(working.pop(reference), reference, say)
            self._pass_on()
            self._look(say)
        ray.shutdown()

    def _is_over(self, numbers: Iterable[int]) -> bool:
        """Whether a stop was asked for, and the time for it has passed or no worker is anywhere."""
        waiting = all(self._said.get(number) == WAITING for number in numbers)
        return self._until < math.inf and (waiting or time.monotonic() > self._until)

    def _part(self, number: int, reference: Any, say: Callable[[str], None]) -> None:
        """Note how a worker's work ended, and give its place back to the cluster."""
        try:
            complaints = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, TunerError):
                raise
            complaints = [str(error.cause)]
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            complaints = [f"it cannot begin on its host; is the same version of tuner installed there? {reason}"]
        self.complaints += [f"worker {number}: {complaint}" for complaint in complaints]
        ray.kill(self._actors.pop(number))
        self._asked = {asked: other for asked, other in self._asked.items() if other != number}
        say(f"worker {number} has ended")

    def _pass_on(self) -> None:
        if self._within is None:
            return
        within, self._within = self._within, None
        self._until = time.monotonic() + within + GRACE
        for actor in self._actors.values():
            actor.drain.remote(within)

    def _look(self, say: Callable[[str], None]) -> None:
        self._listen(say)
        if time.monotonic() - self._looked < FOLLOW:
            return
        self._looked = time.monotonic()
        for number in self._asked.values():
            self._tell(number, WAITING, say)
        silent = set(self._asked.values())
        self._asked |= {actor.where.remote(): n for n, actor in self._actors.items() if n not in silent}

    def _listen(self, say: Callable[[str], None]) -> None:
        answered, _ = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0) if self._asked else ([], [])
        for reference in answered:
            number = self._asked.pop(reference)
            try:
                self._tell(number, ray.get(reference), say)
            except ray.exceptions.RayError:
                continue  # the end of its work says why

    def _tell(self, number: int, words: str, say: Callable[[str], None]) -> None:
        if self._said.get(number) != words:
            self._said[number] = words
            say(f"worker {number} {words}")


def _join(address: str) -> None:
    try:
        _reach(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise BadInput(f"--ray: no cluster can be joined at {address}: {reason}") from None


def _reach(address: str) -> None:
    """Raises `OSError` when nobody listens there; Ray would try for minutes."""
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), timeout=REACH).close()
