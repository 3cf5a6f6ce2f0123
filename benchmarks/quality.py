"""Claims: on the MNIST-10k space of networks, against Optuna's TPE with `fit`,

    (a) in equal wall-clock (60 seconds from the start of the process) our best configuration is better on the test split, in the
        mean of 5 seeds
    (b) after equal trials (128) it is not worse by more than a standard error: asking for many trials at once costs no quality

and on digits (c) the last accuracies of one configuration over 30 seeds in lanes come from the same distribution as those of 30
other seeds alone (two-sample Kolmogorov-Smirnov test).

Seed, split (8,000 / 1,000 / 1,000 rows), space and epochs are the same on both sides; nobody prunes. A winner is the trial with
the best validation accuracy of any epoch; with equal time, of those that had ended then. Both winners are scored in one way that
knows nothing of who found them: the configuration is trained three times anew by our engine for one trial, and the test accuracy
is that of the epoch that is best on the validation split.

Command: python -m benchmarks.quality --mnist FOLDER [time | trials | lanes ...]     FOLDER has the IDX files of 10,000 images
Needs: 2 CPU cores that nobody else uses, 8 GiB, `pip install -e .[bench]`; 15 minutes for (a), 80 for (b), one for (c).
"""

import argparse
import math
import os
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scipy.stats import ks_2samp

from benchmarks.environment import describe
from benchmarks.searches import DIGITS, MNIST, Searched, ours, peer, study
from tuner import data as sources
from tuner.data import Tested
from tuner.lanes import Lanes
from tuner.solo import Solo
from tuner.spec import StudySpec
from tuner.trial import Params, Run, Trial

PEER = "optuna_tpe"
MANY = 2_000  # trials that nobody ends in the time
RETRAINED = (1_001, 1_002, 1_003)
LEVEL = 0.05
KNOWN: Params = {"depth": 2, "width": 64, "activation": "relu", "batch_size": 64, "optimizer": "adam", "learning_rate": 0.003}


@dataclass(frozen=True)
class Options:
    """From the command line."""

    parts: list[str]
    mnist: Path | None
    seeds: int
    seconds: float
    trials: int


def options() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", allow_abbrev=False)
    parser.add_argument("parts", nargs="*", metavar="PART", help="time, trials, lanes; all unless named")
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="the IDX files")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the equal time")
    parser.add_argument("--trials", type=int, default=128, help="of the equal trials")
    given = parser.parse_args()
    known = ["time", "trials", "lanes"]
    if unknown := [part for part in given.parts if part not in known]:
        parser.error(f"no part {unknown[0]!r}; allowed: {', '.join(known)}")
    if given.mnist is None and given.parts != ["lanes"]:
        parser.error("--mnist: the folder with the IDX files is needed")
    return Options(given.parts or known, given.mnist, given.seeds, given.seconds, given.trials)


def curves(engine: Run, trials: Sequence[Trial], metric: str) -> dict[int, list[float]]:
    """Trial → its metric after every epoch."""
    found: dict[int, list[float]] = {trial.number: [] for trial in trials}
    waiting = list(trials)
    while True:
        for trial in waiting[: engine.room]:
            engine.add(trial)
            waiting.remove(trial)
        epochs = engine.advance()
        if not epochs and not waiting:
            return found
        for epoch in epochs:
            found[epoch.number].append(epoch.metrics[metric])


def scored(spec: StudySpec, data: Tested, params: Params) -> float:
    """The mean test accuracy of a configuration that is trained anew."""
    trials = [Trial(number, params, seed) for number, seed in enumerate(RETRAINED)]
    metric = spec.objective.metric
    validation = curves(Solo(spec, data), trials, metric)
    test = curves(Solo(spec, replace(data, validation=data.test)), trials, metric)  # the same weights, seen from the other split
    return statistics.mean(test[n][max(range(len(its)), key=its.__getitem__)] for n, its in validation.items())


def side(name: str, search: Searched, until: float | None, spec: StudySpec, data: Tested) -> float:
    """Show a search; the test accuracy of its winner."""
    best = search.best(until)
    test = scored(spec, data, best.params)
    trials = sum(until is None or trial.at <= until for trial in search.trials)
    print(f"{spec.seed:>4}  {name:<12}{trials:>7}{search.seconds:>9.0f}{best.value:>14.4f}{test:>10.4f}", flush=True)
    return test


def compared(given: Options, trials: int, seconds: float | None) -> list[float]:
    """For every seed, by how much our winner is better on the test split."""
    assert given.mnist is not None
    print(f"\n{'seed':>4}  {'side':<12}{'trials':>7}{'seconds':>9}{'validation':>14}{'test':>10}")
    differences = []
    for seed in range(given.seeds):
        spec = study(MNIST, trials, seed=seed, data={**MNIST["data"], "source": str(given.mnist)})
        data = sources.load_tested(spec.data, seed, [given.mnist])
        with tempfile.TemporaryDirectory() as name:
            mine = ours(spec, Path(name) / "ours", given.mnist, seconds)
            its = peer(PEER, spec, Path(name) / "theirs", given.mnist, math.inf if seconds is None else seconds)
        until = (mine.started + seconds, its.started + seconds) if seconds else (None, None)
        differences.append(side("ours", mine, until[0], spec, data) - side(PEER, its, until[1], spec, data))
    return differences


def deviation(differences: Sequence[float]) -> float:
    """The standard error of their mean."""
    return statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0


def equal_time(given: Options) -> str:
    """Claim (a)."""
    mean = statistics.mean(differences := compared(given, MANY, given.seconds))
    verdict = "pass" if mean > 0 else "SHORT"
    return f"(a) {given.seconds:g} s: test accuracy {mean:+.4f} ± {deviation(differences):.4f}   target above 0   {verdict}"


def equal_trials(given: Options) -> str:
    """Claim (b)."""
    mean = statistics.mean(differences := compared(given, given.trials, None))
    target = -deviation(differences)
    verdict = "pass" if mean >= target else "SHORT"
    return f"(b) {given.trials} trials: test accuracy {mean:+.4f}   target {target:.4f} or more   {verdict}"


def as_alone() -> str:
    """Claim (c)."""
    spec = study(DIGITS, 60, train={"epochs": 20, "lanes": 30})
    data, metric = sources.load(spec.data, spec.seed, []), spec.objective.metric
    trials = [Trial(number, KNOWN, number) for number in range(60)]
    packed = [its[-1] for its in curves(Lanes(spec, data, 30), trials[:30], metric).values()]
    alone = [its[-1] for its in curves(Solo(spec, data), trials[30:], metric).values()]
    p = ks_2samp(packed, alone).pvalue
    means = f"{statistics.mean(packed):.4f} in lanes, {statistics.mean(alone):.4f} alone"
    return f"(c) 30 seeds: {means}, p = {p:.2f}   target {LEVEL} or more   {'pass' if p >= LEVEL else 'SHORT'}"


def main() -> None:
    """Measure, and print the tables and one line per claim."""
    given = options()
    print(f"{describe()}\nload {os.getloadavg()[0]:.1f} before it began")
    parts = {"time": lambda: equal_time(given), "trials": lambda: equal_trials(given), "lanes": as_alone}
    claims = [parts[part]() for part in given.parts]
    print("", *claims, sep="\n")


if __name__ == "__main__":
    main()
