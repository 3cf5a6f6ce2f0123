"""What lies in files: a study's report and its winner's model. Each is made by a process of its own and stored beside a run."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tuner import race, verdict
from tuner.race import Result
from tuner.store import Store, Study
from tuner.track.door import IDENTITY, Beside, Door, one_line
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

    def report(self, study: Study, found: Result | None, beside: Beside, stop: Callable[[], bool]) -> None:
        """Store the report of a search that has ended, and once more when its race is over."""
        counts = self._store.counts(study)
        told = f"{study.trials}/{found.stage}" if found is not None and found.over else f"{study.trials}"
        if counts[State.QUEUED] + counts[State.RUNNING] or (study.id, told) in self._tried:
            return
        if self._store.standing(self._view, study)[1] != told and self._draw(study, beside, stop):
            self._store.stand(self._view, study, report=told)
        self._tried.add((study.id, told))

    def _draw(self, study: Study, beside: Beside, stop: Callable[[], bool]) -> bool:
        with TemporaryDirectory() as folder:
            db = self._store.url.render_as_string(hide_password=False)
            order = {"db": db, "study": study.name, "folder": folder}
            made = self._made(study, "its report is not stored", "tuner.review", order, stop)
            return made and self._door.upload(beside.run, Path(folder))

    def crown(self, study: Study, first: Study, trial: int, beside: Beside, stop: Callable[[], bool]) -> None:
        """Log and register the winner `trial` of the study `first`, which was scored in the stage `study`."""
        if (study.id, "model") in self._tried:
            return
        (row,) = self._store.trials(study)
        if row.state is not State.COMPLETE:
            return
        kept = row.checkpoint and replace(row.checkpoint, path=self._home / row.checkpoint.path)
        if kept and kept.path.exists():
            name = "".join("_" if character in "/:" else character for character in study.name)
            if not self._door.registered(name, "sha256", kept.sha256):
                order = self._order(first, trial, kept, name, beside)
                self._made(study, "its winner is not registered", "tuner.track.champion", order, stop)
        self._tried.add((study.id, "model"))

    def _order(self, first: Study, trial: int, kept: Checkpoint, name: str, beside: Beside) -> dict[str, Any]:
        tags = {IDENTITY: first.identity, "study": first.name, "sha256": kept.sha256, "trial": str(trial)}
        told = "\n\n".join(verdict.lines(race.result(self._store, first)))
        order = {"file": str(kept.path), "epoch": kept.epoch, "sha256": kept.sha256, "mlflow": self._uri, "name": name}
        return order | {"experiment": beside.experiment, "run": beside.run, "tags": tags, "told": told}

    def _made(self, study: Study, failing: str, module: str, order: Mapping[str, Any], stop: Callable[[], bool]) -> bool:
        """Let a module carry out an order, which may hold passwords; whether it did, `failing` is what is told if not."""
        with TemporaryDirectory() as folder, (Path(folder) / "said").open("w+") as said:
            command = [sys.executable, "-m", module]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said, text=True)
            assert process.stdin is not None
            with process.stdin:
                process.stdin.write(json.dumps(order) + "\n")
            _wait(process, stop)
            said.seek(0)
            words = (said.read().strip().splitlines() or ["it ended without a word"])[-1]
        if process.returncode:
            logger.warning("study %s: %s: %s", study.name, failing, one_line(words, self._uri))
        return process.returncode == 0


def _wait(process: "subprocess.Popen[str]", stop: Callable[[], bool]) -> None:
    """Until a process has ended; it is killed when it is time to stop."""
    while process.poll() is None:
        try:
            process.wait(LOOK)
        except subprocess.TimeoutExpired:
            if stop():
                process.kill()
