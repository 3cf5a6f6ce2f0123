"""The values that travel through the service, and the protocol of the engines.

The states of a trial, and what moves it from one to the next (the letters return in `tuner.store` and `tuner.worker`)::

    queued ──A──▶ running ──B──▶ complete
      ▲              │ ────C───▶ pruned
      └──────E───────┤ ────D───▶ failed
                     └ ────F───▶ cancelled ◀──F── queued

    A  claimed by a worker: a new fence, a lease, one attempt more
    B  trained to its last epoch
    C  hopeless at a rung; impossible, or against a constraint, by the formula of its shapes
    D  non-finite, out of memory, an exception, a process that dies or is killed for want of memory again and again (`Failure`)
    E  released by a worker that stops, or claimed anew once its lease has run out
    F  the study was cancelled
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

_WHERE = ("Exception encountered when calling", "in user code:")  # how Keras and AutoGraph begin
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

Value = int | float | str | bool
Params = Mapping[str, Value]


class State(StrEnum):
    """Where a trial stands."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing can change any more."""
        return self not in (State.QUEUED, State.RUNNING)


class Failure(StrEnum):
    """The kind of a failed trial.

    `OUT_OF_MEMORY` is memory, of a GPU above all, that the engine was refused; with `HOST_OUT_OF_MEMORY` the kernel killed the
    process.
    """

    NON_FINITE = "non_finite"
    OUT_OF_MEMORY = "out_of_memory"
    HOST_OUT_OF_MEMORY = "host_out_of_memory"
    ERROR = "error"
    CRASHED = "crashed"


def ended(counts: Mapping[State, int]) -> int:
    """How many of the counted trials have ended."""
    return sum(count for state, count in counts.items() if state.ended)


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    `value` is the objective (complete and pruned trials), `failure` the kind of a failed one, `message` one line for a person,
    `log` the last lines that a failed trial's process wrote, `model` the file in which the winner is kept; `costs` are those that
    the study asks for (`tuner.spec.aims.COSTS`), as far as they are known.
    """

    state: State
    value: float | None = None
    failure: Failure | None = None
    message: str = ""
    log: str = ""
    model: "Checkpoint | None" = None
    costs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A file from which a trial goes on after `epoch`, or the trained winner; `sha256` is of its bytes."""

    path: Path
    epoch: int
    sha256: str


@dataclass(frozen=True)
class Trial:
    """One configuration of a study; `seed` decides its initial weights and dropout masks.

    `previous` is the checkpoint before the newest one, for the case that that is damaged.
    """

    number: int
    params: Params
    seed: int
    checkpoint: Checkpoint | None = None
    previous: Checkpoint | None = None


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of a trial's initial weights and masks: its own, and the same whoever trains it."""
    return (study_seed * 1_000_003 + number * 7_919 + 1) % 2**31


@dataclass(frozen=True)
class Epoch:
    """The record of one pass over the training data: `epoch` counts from 1, `seconds` is what it took.

    The last one of a trial carries the costs that its study asks for.
    """

    number: int
    epoch: int
    metrics: Mapping[str, float]
    seconds: float
    parameters: int = field(default=0)
    costs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """A trial that the engine gave up."""

    number: int
    kind: Failure
    message: str

    @classmethod
    def by(cls, number: int, error: BaseException) -> "Failed":
        """A trial that an exception ended."""
        kind = Failure.OUT_OF_MEMORY if isinstance(error, MemoryError) else Failure.ERROR
        return cls(number, kind, f"{type(error).__name__}: {_line(str(error).strip() or 'no message')}")


def _line(said: str) -> str:
    """An exception's message as a line of 500 characters at most: its first, unless this says only where and not what."""
    first = said.splitlines()[0]
    if not first.startswith(_WHERE):
        return first[:500]
    whole = " ".join(_COLOUR.sub("", said.partition("Arguments received by")[0]).split())
    return whole if len(whole) <= 500 else f"{whole[:200]} ... {whole[-295:]}"


class Run(Protocol):
    """An engine at work: what the worker knows of `solo`, `abreast` and `lanes`.

    A trial leaves by its last epoch or by `stop`.
    """

    @property
    def room(self) -> int:
        """How many trials may be added now."""
        ...

    @property
    def like(self) -> int | None:
        """The trial inside that those to be added should be able to train beside, if any."""
        ...

    @property
    def soon(self) -> int:
        """How many more of that kind there will be room for later."""
        ...

    def add(self, trial: Trial) -> None:
        """Take a trial in, from its checkpoint when it has one."""
        ...

    def advance(self) -> Sequence[Epoch | Failed]:
        """Train some of the trials inside for an epoch; empty when there is none.

        What it raises, `MemoryError` when there is none left, ends the trials inside.
        """
        ...

    def stop(self, number: int) -> None:
        """Let a trial go, if it is still here; its place is free at once."""
        ...

    def save(self, number: int, folder: Path) -> Checkpoint | None:
        """Write what the trial needs to go on, durably, and say where; None when it has not trained since it came."""
        ...
