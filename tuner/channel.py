"""What a supervisor and its training child say to each other: one JSON line each way, in strict alternation.

    child       Report   what happened since the last verdict, and how much room there is
    supervisor  Verdict  which trials to stop, which to take in, or to save everything and quit

The child begins. It holds no database address, so that a user's code, which runs in it, has none.
"""

import json
import selectors
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from tuner.trial import Checkpoint, Epoch, Failed, Failure, Trial


@dataclass(frozen=True)
class Start:
    """The first line to a child: the study as JSON, where data may lie, where checkpoints go, and what `failpoints` arms.

    It has so many `processors`. With `full` it shall train and score the winner, with schedules that are laid out for so many
    epochs. `facts` is what is kept with the study since its launch.
    """

    spec: str
    roots: list[str]
    checkpoints: str
    failpoint: str
    processors: int
    full: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What happened in the engine since the last verdict.

    With a `room` the child asks for so many trials, which should be able to train beside the trial `like` if there is one, and
    for some more `soon`; with None it only wants to know which of its trials to stop. `engine` says how it trains, `unsaved` why
    a checkpoint could not be written, `unusable` why there can be no engine at all.
    """

    epochs: list[Epoch] = field(default_factory=list)
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    failed: list[Failed] = field(default_factory=list)
    room: int | None = None
    like: int | None = None
    soon: int = 0
    engine: str = ""
    unsaved: str = ""
    unusable: str = ""

    @classmethod
    def decode(cls, raw: Mapping[str, Any]) -> Self:
        """The report behind a line."""
        return cls(
            epochs=[Epoch(**epoch) for epoch in raw["epochs"]],
            checkpoints={int(number): _checkpoint(c) for number, c in raw["checkpoints"].items()},
            failed=[Failed(f["number"], Failure(f["kind"]), f["message"]) for f in raw["failed"]],
            room=raw["room"],
            like=raw["like"],
            soon=raw["soon"],
            engine=raw["engine"],
            unsaved=raw["unsaved"],
            unusable=raw["unusable"],
        )


@dataclass(frozen=True)
class Verdict:
    """What the engine shall do next; with `quit`, save every trial, report once more and end."""

    stop: list[int] = field(default_factory=list)
    add: list[Trial] = field(default_factory=list)
    quit: bool = False

    @classmethod
    def decode(cls, raw: Mapping[str, Any]) -> Self:
        """The verdict behind a line."""
        return cls(stop=raw["stop"], add=[_trial(t) for t in raw["add"]], quit=raw["quit"])


def _trial(raw: Mapping[str, Any]) -> Trial:
    return Trial(**{**raw, **{key: raw[key] and _checkpoint(raw[key]) for key in ("checkpoint", "previous")}})


def _checkpoint(raw: Mapping[str, Any]) -> Checkpoint:
    return Checkpoint(Path(raw["path"]), raw["epoch"], raw["sha256"])


class Channel:
    """One end of the line. `receive` gives None at a time-out and raises `EOFError` when the other end is gone."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._buffer = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(end, selectors.EVENT_READ)

    def send(self, message: Start | Report | Verdict) -> None:
        """Raises `EOFError` when nobody is there to read."""
        try:
            self._socket.sendall(json.dumps(asdict(message), default=str).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            raise EOFError from None

    def receive(self, timeout: float | None = None) -> dict[str, Any] | None:
        """The next line, decoded; `timeout` in seconds."""
        while b"\n" not in self._buffer:
            if not self._selector.select(timeout):
                return None
            try:
                received = self._socket.recv(1 << 16)
            except ConnectionResetError:
                received = b""
            if not received:
                raise EOFError
            self._buffer += received
        line, self._buffer = self._buffer.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        """Hang up."""
        self._selector.close()
        self._socket.close()
