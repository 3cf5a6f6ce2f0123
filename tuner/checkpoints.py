"""Checkpoints as files: safetensors with labels, put in their place so that no crash leaves half of one, and checked by hash."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.numpy
from numpy.typing import NDArray

from tuner.errors import BadCheckpoint
from tuner.failpoints import reach
from tuner.trial import Checkpoint, Value

FORMAT = "2"


def labels(number: int, epoch: int, signature: Sequence[tuple[str, Value]]) -> dict[str, str]:
    """What the checkpoint of a trial says of itself; `signature` says what graph its variables belong to."""
    return {"format": FORMAT, "trial": str(number), "epoch": str(epoch), "signature": json.dumps(signature)}


def write(folder: Path, labels: Mapping[str, str], state: Mapping[str, NDArray[Any]]) -> Checkpoint:
    """Write `<trial>-<epoch>.safetensors` durably, from every variable by its place."""
    content = safetensors.numpy.save(dict(state), dict(labels))
    path = folder / f"{labels['trial']}-{labels['epoch']}.safetensors"
    return put(path, int(labels["epoch"]), content)


def read(checkpoint: Checkpoint, labels: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """The variables in a checkpoint, after its hash and its labels were found right.

    Raises `BadCheckpoint`.
    """
    content = whole(checkpoint)
    try:
        state: dict[str, NDArray[Any]] = safetensors.numpy.load(content)
    except safetensors.SafetensorError as error:
        raise BadCheckpoint(f"{checkpoint.path} is not a checkpoint: {error}") from error
    its = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__")
    if its != labels:
        raise BadCheckpoint(f"{checkpoint.path} belongs to another trial, epoch or version: {its}")
    return state


def whole(checkpoint: Checkpoint) -> bytes:
    """The bytes of a file, after its hash was found right. Raises `BadCheckpoint`."""
    try:
        content = checkpoint.path.read_bytes()
    except OSError as error:
        raise BadCheckpoint(f"{checkpoint.path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != checkpoint.sha256:
        raise BadCheckpoint(f"{checkpoint.path} is damaged: its SHA-256 is not the one that was recorded")
    return content


def check(state: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `BadCheckpoint` unless a state has the variables of a graph, by their places."""
    if {place: values.shape for place, values in state.items()} != shapes:
        raise BadCheckpoint("the checkpoint holds other variables than the trial's network and optimizer")


def put(path: Path, epoch: int, content: bytes) -> Checkpoint:
    """Put a file in its place durably, so that no crash leaves half of it there."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        reach("checkpoint.partial")
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return Checkpoint(path, epoch, hashlib.sha256(content).hexdigest())
