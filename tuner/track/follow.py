"""Forwarding until somebody says stop."""

import json
import logging
import math
import os
import select
import time

from tuner.errors import DatabaseLost, UnknownStudy
from tuner.track import Forwarder
from tuner.track.door import Unreachable

POLL = 5.0  # seconds between two passes, at least; a trial that is over by then costs MLflow one visit, not one an epoch
SHARE = 3.0  # times the length of a pass before the next one: at most a quarter of a core is taken from training
MAX_POLL = 15.0
MAX_DELAY = 60.0  # seconds between two tries while MLflow or the database is away
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


def follow(forwarder: Forwarder, name: str | None, lifeline: Lifeline, *, until_idle: bool = False) -> bool:
    """Forward until the lifeline is cut, and once more after that; or until nothing is new. Returns whether all was shown."""
    failures = 0
    while True:
        last, began = lifeline.cut(), time.monotonic()
        try:
            news = _pass(forwarder, name, lifeline)
        except (Unreachable, DatabaseLost) as error:
            failures += 1
            delay = min(2.0 ** (failures - 1), MAX_DELAY)
            logger.warning("%s; %s", error, "given up for now" if last else f"next try in {delay:g} s")
            if last:
                return False
        else:
            failures = 0
            delay = min(max(POLL, SHARE * (time.monotonic() - began)), MAX_POLL)
            if last or (until_idle and not news):
                return not lifeline.expired()
        lifeline.wait(delay)


def _pass(forwarder: Forwarder, name: str | None, lifeline: Lifeline) -> int:
    try:
        return forwarder.forward(name, stop=lifeline.expired)
    except UnknownStudy:
        return 0  # it was deleted; one of that name may come


def order(db: str, mlflow: str, study: str) -> bytes:
    """The first line to `python -m tuner.track`: addresses hold passwords, and everybody can read a command line."""
    return json.dumps({"db": db, "mlflow": mlflow, "study": study}).encode() + b"\n"
