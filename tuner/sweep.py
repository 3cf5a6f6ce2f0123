"""Files that nobody needs, removed: the leftovers of processes that were killed, what exceeds the disk's share, and old logs.

What a trial needs goes last: first files that no row points at, then second checkpoints, then those of trials that wait, which
begin anew for that. A running trial keeps its newest one. Folders of studies that are not in this database are left alone.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tuner.store import Store
from tuner.trial import State

FRESH = 3_600.0  # seconds for which a file that no row points at may be one that is about to be recorded
LOGS = 30 * 86_400.0  # seconds after its last line for which a log is kept


@dataclass(frozen=True)
class _File:
    path: Path
    size: int
    changed: float


def sweep(store: Store, home: Path, disk: int, *, now: float | None = None) -> None:
    """Remove leftovers below `home`, and then as much as brings the checkpoints down to `disk` bytes, the oldest first.

    Several workers may do so at once on a shared home.
    """
    clock = time.time() if now is None else now
    studies = [stage for study in store.studies() for stage in (study, *store.stages(study))]
    files = [file for study in studies for file in _files((home / study.folder).glob("*/*"))]
    newest, spare = _needed(store, home)
    needed = newest.keys() | spare
    left = [file for file in files if file.path in needed or clock - file.changed < FRESH]
    for file in files:
        if file not in left:
            file.path.unlink(missing_ok=True)
    for log in _files((home / "logs").glob("*.log")):
        if clock - log.changed > LOGS:
            log.path.unlink(missing_ok=True)
    excess = sum(file.size for file in left) - disk
    second = [file for file in left if file.path in spare]
    waiting = [file for file in left if newest.get(file.path) is State.QUEUED]
    for file in [*_oldest_first(second), *_oldest_first(waiting)]:
        if excess <= 0:
            return
        file.path.unlink(missing_ok=True)
        excess -= file.size


def _files(paths: Iterable[Path]) -> Iterator[_File]:
    for path in paths:
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # another worker was faster
        yield _File(path, status.st_size, status.st_mtime)


def _oldest_first(files: Iterable[_File]) -> list[_File]:
    return sorted(files, key=lambda file: file.changed)


def _needed(store: Store, home: Path) -> tuple[dict[Path, State], set[Path]]:
    """The newest checkpoints with the states of their trials, and the ones before them."""
    newest: dict[Path, State] = {}
    spare: set[Path] = set()
    for state, checkpoint, previous in store.checkpoints():
        newest[home / checkpoint] = state
        if previous is not None:
            spare.add(home / previous)
    return newest, spare
