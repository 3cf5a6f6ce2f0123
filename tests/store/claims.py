"""Claims, epochs and ends of trials in a few words."""

import threading
from collections.abc import Callable

from tuner.store import Claim, Progress, Row, Store, Study
from tuner.trial import Epoch, Outcome, State

TTL = 30.0


def claim(store: Store, study: Study, owner: str = "a", now: float = 1000.0) -> tuple[Claim, Row]:
    taken = store.claim(study, owner, TTL, now=now)
    assert taken is not None
    return taken


def epoch(number: int, index: int, value: float = 0.5) -> Epoch:
    return Epoch(number, index, {"loss": 1.0, "val_accuracy": value}, 0.1, parameters=99)


def finish(store: Store, taken: Claim, value: float = 0.5, now: float = 1001.0) -> None:
    store.propose(taken, {"width": 4}, {})
    outcome = Outcome(State.COMPLETE, value=value)
    store.record([Progress(taken, [epoch(taken.number, 1, value)], outcome=outcome)], TTL, now=now)


def at_once(count: int, act: Callable[[int], object]) -> None:
    """Do something in many threads."""
    threads = [threading.Thread(target=act, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
