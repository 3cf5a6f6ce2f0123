"""What lies in files: a study's report and its winner's model. Each is made by a process of its own and stored beside a run."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

from tuner import race, verdict
from tuner.race import Result
from tuner.store import Store, Study
from tuner.track.door import IDENTITY, Beside, Door, model_name, one_line
from tuner.trial import Checkpoint, State

LOOK = 1.0  # seconds between two looks whether to give up

logger = logging.getLogger(__name__)


class Files:
    """The files of the studies in one view; what fails is left until the next start. `home` is where workers keep models."""

    def __init__(self, store: Store, door: Door, uri: str, view: str, home: Path) -> None:
        self._store, self._door, self._uri, self._view, self._home = store, door, uri, view, home
        self._tried: set[tuple[int, str]] = set()

    def forget(self, stages: Sequence[Study]) -> None:
        """Try again what is missing of these."""
        ids = {stage.id for stage in stages}
        self._tried = {(where, what) for where, what in self._tried if where not in ids}

    @contextmanager
    def drawn(self, study: Study, found: Result | None) -> Iterator["Drawn | None"]:
        """The report of a search that has ended, and once more when its race is over, being drawn; None when that is done."""
        counts = self._store.counts(study)
        told = f"{study.trials}/{found.stage}" if found is not None and found.over else f"{study.trials}"
        if counts[State.QUEUED] + counts[State.RUNNING] or (study.id, told) in self._tried:
            yield None
        elif self._store.standing(self._view, study)[1] == told:
            self._tried.add((study.id, told))
            yield None
        else:
            with TemporaryDirectory() as folder:
                db = self._store.url.render_as_string(hide_password=False)
                order = {"db": db, "study": study.name, "folder": folder}
                with self._making("tuner.review", order) as making:
                    yield Drawn(study, told, Path(folder), making)

    def report(self, drawn: "Drawn", beside: Beside, stop: Callable[[], bool]) -> None:
        """Store a report beside a run once it is drawn."""
        made = self._made(drawn.making, drawn.study, "its report is not stored", stop)
        if made and self._door.upload(beside.run, drawn.folder):
            self._store.stand(self._view, drawn.study, report=drawn.told)
        self._tried.add((drawn.study.id, drawn.told))

    def crown(self, study: Study, first: Study, trial: int, beside: Beside, stop: Callable[[], bool]) -> None:
        """Log and register the winner `trial` of the study `first`, which was scored in the stage `study`."""
        if (study.id, "model") in self._tried:
            return
        (row,) = self._store.trials(study)
        if row.state is not State.COMPLETE:
            return
        kept = row.checkpoint and replace(row.checkpoint, path=self._home / row.checkpoint.path)
        if kept and not kept.path.exists():
            logger.warning("study %s: its winner is not registered: there is no %s here", study.name, kept.path)
        elif kept:
            name = model_name(study.name)
            if not self._door.registered(name, "sha256", kept.sha256):
                with self._making("tuner.track.champion", self._order(first, trial, kept, name, beside)) as making:
                    self._made(making, study, "its winner is not registered", stop)
        self._tried.add((study.id, "model"))

    def _order(self, first: Study, trial: int, kept: Checkpoint, name: str, beside: Beside) -> dict[str, Any]:
        tags = {IDENTITY: first.identity, "study": first.name, "sha256": kept.sha256, "trial": str(trial)}
        told = "\n\n".join(verdict.lines(race.result(self._store, first)))
        order = {"file": str(kept.path), "epoch": kept.epoch, "sha256": kept.sha256, "mlflow": self._uri, "name": name}
        return order | {"experiment": beside.experiment, "run": beside.run, "tags": tags, "told": told}

    @contextmanager
    def _making(self, module: str, order: Mapping[str, Any]) -> Iterator["Making"]:
        """Let a module carry out an order, which may hold passwords; what it has not done in the end it does not do."""
        with TemporaryFile("w+") as said:
            command = [sys.executable, "-m", module]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=said, stderr=said, text=True, start_new_session=True
            )
            try:
                assert process.stdin is not None
                with process.stdin:
                    process.stdin.write(json.dumps(order) + "\n")
                yield Making(process, said)
            finally:
                _end(process)

    def _made(self, making: "Making", study: Study, failing: str, stop: Callable[[], bool]) -> bool:
        """Whether an order was carried out, once it is known; `failing` is what is told if not."""
        _wait(making.process, stop)
        if making.process.returncode:
            making.said.seek(0)
            words = (making.said.read().strip().splitlines() or ["it ended without a word"])[-1]
            logger.warning("study %s: %s: %s", study.name, failing, one_line(words, self._uri))
        return making.process.returncode == 0


@dataclass(frozen=True)
class Making:
    """A module at work, and the file of what it says."""

    process: "subprocess.Popen[str]"
    said: IO[str]


@dataclass(frozen=True)
class Drawn:
    """A report on its way into a folder, and what `Store.stand` notes once it is stored."""

    study: Study
    told: str
    folder: Path
    making: Making


def _wait(process: "subprocess.Popen[str]", stop: Callable[[], bool]) -> None:
    """Until a process has ended; it is killed when it is time to stop."""
    while process.poll() is None:
        try:
            process.wait(LOOK)
        except subprocess.TimeoutExpired:
            if stop():
                _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    """Kill a process, if it still runs, with those that it began."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
