"""What MLflow costs: 3,000 trials of 20 epochs are shown in an MLflow on SQLite, and its server is asked for the runs table.

Command: python -m benchmarks.track [TRIALS]
Needs: 2 CPU cores, 4 GiB, four minutes.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.request import Request, urlopen

from benchmarks.environment import describe
from tuner import spec, track
from tuner.store import Progress, Store, Study
from tuner.trial import Epoch, Outcome, State

TRIALS, EPOCHS = 3_000, 20
PORT = 5_071
SHOW, OPEN = 180.0, 3.0  # seconds
LEASE = 3_600.0
PAGE = 100  # runs that the page asks for at first


def trained(store: Store, trials: int) -> Study:
    """A study in which so many trials have ended."""
    search = {"width": {"int": [4, 64]}, "learning_rate": {"float": [1e-4, 1e-1], "log": True}, "optimizer": ["sgd", "adam"]}
    asked = {
        "name": "many",
        "objective": "val_accuracy",
        "budget": trials,
        "final": 0,
        "train": {"epochs": EPOCHS},
        "search": search,
    }
    study = store.launch(spec.parse(asked), trials, {})
    for number in range(trials):
        taken = store.claim(study, "benchmark", LEASE)
        assert taken is not None
        store.propose(taken[0], {"width": 4 + number % 61, "learning_rate": 0.01, "optimizer": "adam"}, {})
        values = (1 - (0.5 + number % 7 / 100) ** epoch for epoch in range(1, EPOCHS + 1))
        epochs = [
            Epoch(number, epoch, {"loss": 1 - value, "accuracy": value, "val_loss": 1 - value, "val_accuracy": value}, 0.1, 99)
            for epoch, value in enumerate(values, 1)
        ]
        end = Outcome(State.COMPLETE, value=epochs[-1].metrics["val_accuracy"])
        store.record([Progress(taken[0], epochs, outcome=end)], LEASE)
    return study


@contextmanager
def served(uri: str) -> Iterator[str]:
    """The address of an MLflow server on a database."""
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": uri}
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(PORT), "--workers", "1"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{PORT}"
    try:
        while not _answers(f"{address}/health"):
            time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait()


def _answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=5):
            return True
    except (URLError, ConnectionError):
        return False


def opened(address: str, experiment: str) -> float:
    """Seconds in which the server answers what the page of an experiment asks for, the median of five."""
    asked = {"experiment_ids": [experiment], "max_results": PAGE, "order_by": ["attributes.start_time DESC"]}
    request = Request(f"{address}/api/2.0/mlflow/runs/search", json.dumps(asked).encode(), {"Content-Type": "application/json"})
    taken = []
    for _ in range(5):
        begin = time.perf_counter()
        with urlopen(request, timeout=60) as answer:
            assert len(json.load(answer)["runs"]) == PAGE
        taken.append(time.perf_counter() - begin)
    return sorted(taken)[2]


def main() -> None:
    """Print what it took, and whether it is little enough."""
    os.environ.update(track.ENVIRONMENT)
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS
    print(f"{describe()}\nload {os.getloadavg()[0]:.1f} before it began\n")
    with TemporaryDirectory() as folder:
        store, uri = Store(f"sqlite:///{folder}/tuner.db"), f"sqlite:///{Path(folder)}/mlflow.db"
        store.migrate()
        study = trained(store, trials)
        with closing(store), closing(track.Forwarder(store, uri)) as forwarder:
            begin, busy = time.perf_counter(), time.process_time()
            shown = forwarder.forward(study.name)
            seconds, cpu = time.perf_counter() - begin, time.process_time() - busy
        assert shown == trials
        with served(uri) as address:
            page = opened(address, "1")
    print(f"{trials:,} trials of {EPOCHS} epochs and 4 metrics: {cpu:.1f} s of CPU, {1000 * cpu / trials:.1f} ms a trial")
    for name, value, target in (("shown in MLflow, s", seconds, SHOW), ("the runs table opens, s", page, OPEN)):
        print(f"{name:<28}{value:>8.2f}   at most {target:g}   {'pass' if value <= target else 'short'}")


if __name__ == "__main__":
    main()
