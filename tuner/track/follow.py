"""Forwarding until somebody says stop."""

import json
import logging
import math
import os
import select
import time
from collections.abc import Callable
from dataclasses import replace

from tuner.errors import DatabaseLost, UnknownStudy
from tuner.store import Store, Worker
from tuner.track import Forwarder
from tuner.track.door import Unreachable

POLL = 5.0  # seconds between two passes, at least; a trial that is over by then costs MLflow one visit, not one an epoch
SHARE = 3.0  # times the length of a pass before the next one: at most a quarter of a core is taken from training
MAX_POLL = 15.0
MAX_DELAY = 30.0  # seconds between two tries while MLflow or the database is away
SIGN = 10.0  # seconds between two signs of life
GRACE = 100.0  # seconds for the last pass

logger = logging.getLogger(__name__)


class Lifeline:
    """A pipe whose other end is held open by somebody else: when it is cut, `grace` seconds are left.

    Without a file number it is never cut.
    """

    def __init__(self, number: int | None, grace: float = GRACE) -> None:
        self._number = number
        self._grace = grace
        self._deadline = math.inf

    def cut(self) -> bool:
        """Whether nobody holds the other end any more."""
        if self._number is not None and self._deadline == math.inf:
            readable, _, _ = select.select([self._number], [], [], 0)
            if readable and not os.read(self._number, 4096):
                self._deadline = time.monotonic() + self._grace
        return self._deadline < math.inf

    def expired(self) -> bool:
        """Whether the time after the cut is over."""
        return self.cut() and time.monotonic() > self._deadline

    def wait(self, seconds: float) -> None:
        """Wait, but not longer than until it is cut."""
        if self._number is None:
            time.sleep(seconds)
        else:
            select.select([self._number], [], [], seconds)


class Presence:
    """A tracker among the workers: that it lives, and what keeps it from forwarding."""

    def __init__(self, store: Store, tracker: Worker) -> None:
        self._store = store
        self._tracker = tracker
        self._signed = -math.inf

    def sign(self, trouble: str) -> None:
        """Tell that it lives, now and then, and when the trouble changes. Raises `DatabaseLost`."""
        if trouble == self._tracker.message and time.monotonic() - self._signed < SIGN:
            return
        self._tracker = replace(self._tracker, message=trouble)
        self._store.enlist(self._tracker)
        self._signed = time.monotonic()

    def end(self) -> None:
        """Be forgotten."""
        self._store.dismiss(self._tracker)


def _unseen(_trouble: str) -> None:
    """Of a tracker that belongs to a run."""


def follow(
    forwarder: Forwarder,
    name: str | None,
    lifeline: Lifeline,
    *,
    until_idle: bool = False,
    present: Callable[[str], None] = _unseen,
) -> bool:
    """Forward until the lifeline is cut, and once more after that; or until nothing is new. Returns whether all was shown.

    `present` is called between any two trials, with what went wrong last if nothing has gone well since.
    """
    failures, trouble = 0, ""

    def stop() -> bool:
        present(trouble)
        return lifeline.expired()

    while True:
        last, began = lifeline.cut(), time.monotonic()
        try:
            present(trouble)
            news = _pass(forwarder, name, stop)
        except (Unreachable, DatabaseLost) as error:
            failures += 1
            trouble = str(error)
            delay = min(2.0 ** (failures - 1), MAX_DELAY)
            logger.warning("%s; %s", error, "given up for now" if last else f"next try in {delay:g} s")
            if last:
                return False
        else:
            failures, trouble = 0, ""
            delay = min(max(POLL, SHARE * (time.monotonic() - began)), MAX_POLL)
            if last or (until_idle and not news):
                return not lifeline.expired()
        lifeline.wait(delay)


def _pass(forwarder: Forwarder, name: str | None, stop: Callable[[], bool]) -> int:
    try:
        return forwarder.forward(name, stop=stop)
    except UnknownStudy:
        return 0  # it was deleted; one of that name may come


def order(db: str, mlflow: str, study: str, home: str) -> bytes:
    """The first line to `python -m tuner.track`: addresses hold passwords, and everybody can read a command line."""
    return json.dumps({"db": db, "mlflow": mlflow, "study": study, "home": home}).encode() + b"\n"
