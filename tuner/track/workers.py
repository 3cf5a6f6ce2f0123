"""How busy the workers of a study were, as MLflow's system metrics: for each a run `worker NAME` below the run of the study.

Not in an experiment of their own: a worker's name is that of one process, and whether its GPU was idle is asked of a study, next
to its trials. The work on the stages of a study is in the same run. It is FINISHED as of its last sample: of none can be told
whether it is the last.

A sample keeps its time, and its step is the second after the launch, so one that is sent twice is there once. Up to which second
all have been shown is noted in the store; what may have been committed late is asked for again.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence

from tuner.store import PARENT, Sample, Store, Study
from tuner.track.door import IDENTITY, Beside, Door, Point, Refused

LATE = 60.0  # seconds; a statement is given up earlier
AT_ONCE = 10_000  # samples: those of a hundred workers in half an hour

logger = logging.getLogger(__name__)


class Workers:
    """The workers in one view."""

    def __init__(self, store: Store, door: Door, view: str) -> None:
        self._store, self._door, self._view = store, door, view
        self.forget()

    def forget(self) -> None:
        """Look again for what MLflow has."""
        self._runs: dict[tuple[str, str], str] = {}  # by the study's run and the worker
        self._shown: dict[tuple[str, str], float] = {}  # the time of the last sample, by the same
        self._aside: set[tuple[str, str]] = set()

    def show(self, study: Study, stages: Iterable[Study], beside: Beside, stop: Callable[[], bool]) -> None:
        """Show what is new in the stages of a study, itself among them."""
        for stage in stages:
            _, _, second = self._store.standing(self._view, stage)
            samples = self._store.samples(stage, after=stage.created + second - LATE, limit=AT_ONCE)
            news: dict[str, list[Sample]] = {}
            for sample in samples:
                if sample.at > self._shown.get((beside.run, sample.worker), 0.0):
                    news.setdefault(sample.worker, []).append(sample)
            for worker, some in news.items():
                if stop():
                    return
                self._write(study, beside, worker, some)
            if news:
                self._store.stand(self._view, stage, sampled=int(samples[-1].at - stage.created))

    def _write(self, study: Study, beside: Beside, worker: str, samples: Sequence[Sample]) -> None:
        key = beside.run, worker
        if key in self._aside:
            return
        points = [
            Point(f"system/{name}", value, round(sample.at * 1000), int(sample.at - study.created))
            for sample in samples
            for name, value in sample.usage.items()
        ]
        try:
            self._send(self._runs.get(key) or self._open(study, beside, worker, points[0].at), points)
        except Refused:  # somebody deleted the run
            try:
                self._send(self._open(study, beside, worker, points[0].at), points)
            except Refused as error:
                self._aside.add(key)
                logger.error("study %s, worker %s is left out until the next start: %s", study.name, worker, error)
        self._shown[key] = samples[-1].at

    def _send(self, run: str, points: Sequence[Point]) -> None:
        self._door.log(run, points, {}, {})
        self._door.update(run, "FINISHED", points[-1].at)

    def _open(self, study: Study, beside: Beside, worker: str, at: int) -> str:
        """The run of a worker, made or brought back where it has to be."""
        identity = f"{study.identity} {hashlib.sha256(worker.encode()).hexdigest()[:16]}"
        found = self._door.runs(beside.experiment, identity).get(PARENT)
        if found is None:
            tags = {IDENTITY: identity, "study": study.name, "worker": worker, "mlflow.parentRunId": beside.run}
            run = self._door.create(beside.experiment, f"worker {worker}", at, tags)
        else:
            run = found.run
            if found.deleted:
                self._door.restore(run)
        self._runs[beside.run, worker] = run
        return run
