"""The engine for several trials at a time, each in a graph and a thread of its own.

It is for networks whose lanes gain nothing, convolutions on a CPU: one of their steps keeps one processor busy, and a second one
helps it by a tenth to a half (LeNet in batches of 32 and of 128). Every trial is what it is alone, and all of them finish an
epoch before any begins the next, so that the same study makes the same proposals again on as many processors.
"""

import logging
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import tensorflow as tf

from tuner.data import Data
from tuner.objective import Objective
from tuner.solo import Solo
from tuner.spec import StudySpec
from tuner.trial import Checkpoint, Epoch, Failed, Trial

GRAPHS = 32  # that are kept, over all trials

log = logging.getLogger(__name__)


def on_a_gpu() -> bool:
    """Whether there is one, on which trials would take each other's place."""
    return bool(tf.config.list_physical_devices("GPU"))


def one_processor_each(trials: int) -> None:
    """Let an operation of TensorFlow be done by one thread; must be said before TensorFlow does anything."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(trials)


class Abreast:
    """A `tuner.trial.Run` with room for so many trials; for fewer, when memory does not suffice for as many."""

    def __init__(self, spec: StudySpec, data: Data, places: int) -> None:
        study = Objective(spec, data)
        self._solos = [Solo(spec, data, study=study, graphs=max(1, GRAPHS // places)) for _ in range(places)]
        self._threads = ThreadPoolExecutor(places, "trial")
        self._inside: dict[int, Solo] = {}
        self._trials: dict[int, Trial] = {}  # those inside and those put off, as they would begin again
        self._put_off: deque[int] = deque()

    def __str__(self) -> str:
        return f"{len(self._solos)} trials at a time, {self.traces} graphs"

    @property
    def room(self) -> int:
        """1 when there is a place, else 0: no trial must be like another one."""
        return int(len(self._trials) < len(self._solos))

    @property
    def like(self) -> None:
        """No trial trains in the graph of another."""

    @property
    def soon(self) -> int:
        """None is wanted before one of those inside has left."""
        return 0

    @property
    def traces(self) -> int:
        """How many functions were traced so far."""
        return sum(solo.traces for solo in self._solos)

    def add(self, trial: Trial) -> None:
        """Take a trial in, from its checkpoint when it has one; it begins later when there is no memory beside the others.

        Raises `BadCheckpoint`; the place stays free then.
        """
        solo = self._free()
        try:
            solo.add(trial)
        except MemoryError:
            if not self._inside:
                raise
            self._put_off.append(trial.number)
        else:
            self._inside[trial.number] = solo
        self._trials[trial.number] = trial

    def _free(self) -> Solo:
        return next(solo for solo in self._solos if solo not in self._inside.values())

    def advance(self) -> list[Epoch | Failed]:
        """Train all inside for an epoch. A trial for which the memory does not suffice even alone fails."""
        again = {}
        while self._put_off and len(self._inside) < len(self._solos):
            number = self._put_off.popleft()
            self._inside[number], again[number] = self._free(), self._trials[number]
        due = {number: self._threads.submit(_epoch, solo, again.get(number)) for number, solo in self._inside.items()}
        wait(due.values())
        return [result for number, epoch in due.items() for result in self._results(number, epoch, len(due))]

    def _results(self, number: int, due: Future[list[Epoch]], beside: int) -> list[Epoch | Failed]:
        if (error := due.exception()) is None:
            if self._inside[number].room:
                self._leave(number)
            return [replace(epoch, seconds=epoch.seconds / beside) for epoch in due.result()]
        solo = self._inside.pop(number)
        if isinstance(error, MemoryError) and beside > 1:  # a place less from now on; the trial goes on from where it was saved
            self._put_off.append(number)
            if len(self._solos) > 1:
                self._solos.remove(solo)
            return []
        self._leave(number)
        log.error("trial %d failed", number, exc_info=error)
        return [Failed.by(number, error)]

    def stop(self, number: int) -> None:
        """Let a trial go; one that has left already is no matter."""
        if number in self._put_off:
            self._put_off.remove(number)
        if number in self._inside:
            self._inside[number].stop(number)
        self._leave(number)

    def _leave(self, number: int) -> None:
        self._inside.pop(number, None)
        self._trials.pop(number, None)

    def save(self, number: int, folder: Path) -> Checkpoint | None:
        """Write `<number>-<epoch>.safetensors` durably; None for a trial that was put off."""
        if number in self._put_off:
            return None
        checkpoint = self._inside[number].save(number, folder)
        self._trials[number] = replace(self._trials[number], checkpoint=checkpoint)
        return checkpoint


def _epoch(solo: Solo, trial: Trial | None) -> list[Epoch]:
    """An epoch of the trial inside; of this one, which begins again, if it is given."""
    if trial is not None:
        solo.add(trial)
    return solo.advance()
