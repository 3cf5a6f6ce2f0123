"""The training child: it runs an engine, and a user's code if there is any, and talks to its supervisor only.

`python -m tuner.child FD` is started by `tuner.worker` with one end of a socket. The child dies with its supervisor: a thread
waits for the end of the line, also while TensorFlow computes.
"""

import faulthandler
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuner import failpoints, packing, spec
from tuner.channel import Channel, Report, Start, Verdict
from tuner.errors import BadCheckpoint, BadInput, Unwritable
from tuner.packing import Packing
from tuner.space import Space
from tuner.spec import StudySpec, TrainSpec
from tuner.trial import Epoch, Failed, Run, Trial

log = logging.getLogger(__name__)


class Inbox:
    """The line to the supervisor, read by a thread that ends the process when the supervisor is gone."""

    def __init__(self, end: socket.socket) -> None:
        self._channel = Channel(end)
        self._messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.waited = 0.0  # seconds
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                message = self._channel.receive()
                assert message is not None  # there is no time-out
                self._messages.put(message)
        except EOFError:
            os._exit(1)  # whatever the main thread does: nobody would hear of it

    def start(self) -> Start:
        """The first message."""
        return Start(**self._messages.get())

    def exchange(self, report: Report) -> Verdict:
        """Report, and wait for the verdict."""
        self._channel.send(report)
        failpoints.reach("child.reported")
        begin = time.monotonic()
        message = self._messages.get()
        self.waited += time.monotonic() - begin
        return Verdict.decode(message)


class Session:
    """An engine under a supervisor's orders; what the winner is saved as after its last epoch is its model."""

    def __init__(self, run: Run, inbox: Inbox, folder: Path, train: TrainSpec, *, winner: bool) -> None:
        self._run = run
        self._inbox = inbox
        self._folder = folder
        self._train = train
        self._winner = winner
        self._saved: dict[int, float] = {}

    def work(self) -> None:
        """Until the verdict is to quit."""
        failed: list[Failed] = []
        begin = time.monotonic()
        while not (verdict := self._inbox.exchange(self._asking(failed))).quit:
            failed = [failure for trial in verdict.add if (failure := self._add(trial)) is not None]
            if not failed and not (verdict.add and self._run.room):  # the first of a pack says what the others must be like
                for number in self._inbox.exchange(self._advance()).stop:
                    self._forget(number)
        log.info("%s", self._run)
        log.info("%.1f %% of the time went by in waiting for verdicts", 100 * self._inbox.waited / (time.monotonic() - begin))
        self._inbox.exchange(self._save(list(self._saved)))

    def _asking(self, failed: list[Failed]) -> Report:
        return Report(failed=failed, room=self._run.room, like=self._run.like, soon=self._run.soon, engine=str(self._run))

    def _add(self, trial: Trial) -> Failed | None:
        try:
            self._begin(trial)
        except Exception as error:  # noqa: BLE001 — a user's code may raise anything; the trial fails, the study goes on
            return _failure(trial.number, error)
        failpoints.reach("trial.added")
        self._saved[trial.number] = time.monotonic()
        return None

    def _begin(self, trial: Trial) -> None:
        """From the newest checkpoint that is whole, else from the start."""
        for checkpoint in (trial.checkpoint, trial.previous):
            if checkpoint is not None:
                try:
                    self._run.add(replace(trial, checkpoint=checkpoint))
                except BadCheckpoint as error:
                    log.warning("trial %d goes on from an older state: %s", trial.number, error)
                else:
                    return
        self._run.add(replace(trial, checkpoint=None))

    def _advance(self) -> Report:
        """Train until the next epoch is over."""
        try:
            results = self._run.advance()
        except Exception as error:  # noqa: BLE001 — the same
            failed = [_failure(number, error) for number in self._saved]
            for number in list(self._saved):
                self._forget(number)
            return Report(failed=failed)
        failpoints.reach("epoch.trained")
        epochs = [result for result in results if isinstance(result, Epoch)]
        failed = [result for result in results if isinstance(result, Failed)]
        last = [e.number for e in epochs if e.epoch == self._train.epochs]
        for number in [f.number for f in failed] + last:
            del self._saved[number]
        now = time.monotonic()
        inside = [e.number for e in epochs if e.number in self._saved]
        due = [number for number in inside if now - self._saved[number] >= self._train.checkpoint_seconds]
        return replace(self._save([*due, *(last if self._winner else [])]), epochs=epochs, failed=failed)

    def _save(self, numbers: list[int]) -> Report:
        """Save trials; one that cannot be saved, because the disk is full, goes on and is saved the next time.

        A winner whose model cannot be written has its score nevertheless.
        """
        checkpoints, unsaved = {}, ""
        for number in numbers:
            if number in self._saved:
                self._saved[number] = time.monotonic()
            try:
                checkpoints[number] = self._run.save(number, self._folder)
                failpoints.reach("checkpoint.written")
            except (OSError, Unwritable) as error:
                unsaved = f"trial {number} is not saved: {error}"
                log.error(unsaved)
        return Report(checkpoints={n: c for n, c in checkpoints.items() if c is not None}, unsaved=unsaved)

    def _forget(self, number: int) -> None:
        del self._saved[number]
        self._run.stop(number)


def _failure(number: int, error: Exception) -> Failed:
    log.error("trial %d failed", number, exc_info=error)
    return Failed.by(number, error)


Engine = Callable[[StudySpec, list[Path], Start], Run]
"""From a study, the folders of its data, and what else the supervisor says."""


def serve(descriptor: int, engine: Engine) -> None:
    """Train what the supervisor behind a file descriptor sends."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    faulthandler.register(signal.SIGUSR1)  # the supervisor asks where it hangs before it kills it
    inbox = Inbox(socket.socket(fileno=descriptor))
    start = inbox.start()
    failpoints.arm(start.failpoint)
    study = spec.restore(start.spec)
    try:
        run = engine(study, [Path(root) for root in start.roots], start)
    except BadInput as error:
        inbox.exchange(Report(unusable=str(error)))
        return
    failpoints.reach("child.begun")
    Session(run, inbox, Path(start.checkpoints), study.train, winner=start.full is not None).work()


def engine(study: StudySpec, roots: list[Path], start: Start) -> Run:
    """The engine for a study: lanes where its trials can have them and it does not say otherwise, else each in its own graph."""
    if start.full is not None:
        return _final(study, roots, start.full, start.facts)
    from tuner import data  # noqa: PLC0415 — TensorFlow loads here, in the process that needs it
    from tuner.abreast import Abreast, on_a_gpu, one_processor_each  # noqa: PLC0415 — the same
    from tuner.lanes import Lanes  # noqa: PLC0415 — the same
    from tuner.solo import Solo  # noqa: PLC0415 — the same

    space = Packing(Space(study))
    lanes, places = packing.planned(space), min(packing.abreast(space), start.processors)
    if lanes is None and places > 1 and not on_a_gpu():
        one_processor_each(places)
        return Abreast(study, data.load(study.data, study.seed, roots, start.facts), places)
    read = data.load(study.data, study.seed, roots, start.facts)
    return Solo(study, read) if lanes is None else Lanes(study, read, lanes)


def _final(study: StudySpec, roots: list[Path], full: int, facts: Mapping[str, Any]) -> Run:
    """The engine for the winner: no other process is given the rows of the test split."""
    from tuner import data  # noqa: PLC0415 — the same
    from tuner.final import Final  # noqa: PLC0415 — the same

    return Final(study, data.load_tested(study.data, study.seed, roots, facts, refit=study.final.refit), full)


if __name__ == "__main__":
    serve(int(sys.argv[1]), engine)
