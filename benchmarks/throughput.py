"""Claims: trials an hour, ours over the peer's, on two cores, and over our own engine for one trial at a time.

Both sides are processes that are counted from start to exit: imports, compiling, asking, storing and tracking. Both read one
study file: the same space, data, splits, epochs and kind of sampler; what the peer is, and what it leaves out, stands in
`benchmarks.peers`. Ours is `tuner run` into an empty folder, with MLflow; a peer begins trials for 90 seconds.

Command: python -m benchmarks.throughput [--mnist FOLDER] [CASE ...]     FOLDER has the IDX files of MNIST's 10,000 test images
Needs: 2 CPU cores that nobody else uses, 8 GiB, `pip install -e .[bench]`, 25 minutes for all cases.
"""

import argparse
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.environment import describe
from benchmarks.searches import ASHA, CONVNET, DIGITS, LENET, MNIST, Searched, ours, peer, study

BUSY = 85.0  # percent of the lanes
WAITING = 5.0  # percent of the time that the training process waits, asking and storing included


@dataclass(frozen=True)
class Case:
    """A search on both sides; `against` is a module of `benchmarks.peers`, or "solo" for our own engine of that name."""

    question: Mapping[str, Any]
    against: str
    target: float
    trials: int
    their_trials: int = 10_000
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def on_mnist(self) -> bool:
        """Whether it needs the images."""
        return self.question["data"] != "digits"


CASES = {
    "digits, Optuna TPE": Case(DIGITS, "optuna_tpe", 25, 512),
    "digits, KerasTuner random": Case(DIGITS, "kerastuner_random", 25, 512, changes={"sampler": "random"}),
    "digits ASHA, Ray Tune": Case(DIGITS, "ray_asha", 8, 512, 256, {"sampler": "random", "pruner": ASHA}),
    "MNIST-10k MLP, Optuna TPE": Case(MNIST, "optuna_tpe", 6, 128),
    "MNIST-10k LeNet, Optuna TPE": Case(LENET, "optuna_tpe", 2, 64),
    "digits, our solo": Case(DIGITS, "solo", 6, 512, 96, {"sampler": "random"}),
    "2 convolutions, our solo": Case(CONVNET, "solo", 1.2, 64, 64, {"sampler": "random"}),
}
"""Against our solo stands what is chosen for the study: lanes, or graphs side by side."""


@dataclass(frozen=True)
class Options:
    """From the command line."""

    cases: list[str]
    mnist: Path | None
    trials: int | None
    seconds: float


def options() -> Options:
    """Read the command line."""
    words = {name.lower().replace(",", "").replace(" ", "-"): name for name in CASES}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", allow_abbrev=False)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"all unless named: {', '.join(words)}")
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="the IDX files; without them their cases are left out")
    parser.add_argument("--trials", type=int, help="instead of the case's own numbers, to try whether all works")
    parser.add_argument("--seconds", type=float, default=90.0, help="for how long a peer begins trials")
    given = parser.parse_args()
    if unknown := [case for case in given.cases if case not in words]:
        parser.error(f"no case {unknown[0]!r}; allowed: {', '.join(words)}")
    return Options([words[case] for case in given.cases or words], given.mnist, given.trials, given.seconds)


def searched(name: str, case: Case, given: Options, folder: Path) -> tuple[Searched, Searched]:
    """Ours and theirs."""
    data = given.mnist if case.on_mnist else None
    train = case.question["train"]
    mine = study({**case.question, **case.changes}, given.trials or case.trials, train={**train, "lanes": "auto"})
    its = study({**case.question, **case.changes}, given.trials or case.their_trials, train={**train, "lanes": "off"})
    first = ours(mine, folder / "ours", data)
    show(name, "ours", first)
    if case.against == "solo":
        second = ours(its, folder / "theirs", data)
    else:
        second = peer(case.against, its, folder / "theirs", data, given.seconds)
    show("", case.against, second)
    return first, second


def show(name: str, side: str, search: Searched) -> None:
    """A row of the table."""
    loading, each = search.begun - search.started, search.seconds / len(search.trials)
    cells = f"{len(search.trials):>7}{search.seconds:>9.1f}{loading:>9.1f}{each:>9.3f}{search.per_hour:>9.0f}"
    print(f"{name:<36}{side:<20}{cells}", flush=True)


def said(folder: Path, words: str) -> Iterator[float]:
    """The percents before these words in the log of our training process."""
    for log in (folder / "ours" / "logs").glob("*.log"):
        yield from (float(share) for share in re.findall(rf"([\d.]+) % of {words}", log.read_text()))


def claim(name: str, ratio: float, target: float) -> str:
    """One line."""
    return f"{name:<56}{ratio:>8.2f}   target {target:<6g}{'pass' if ratio >= target else 'SHORT'}"


def main() -> None:
    """Measure, and print one table and one line per claim."""
    given, claims = options(), []
    print(f"{describe()}\nload {os.getloadavg()[0]:.1f} before it began\n")
    print(f"{'case':<36}{'side':<20}{'trials':>7}{'seconds':>9}{'loading':>9}{'s/trial':>9}{'per hour':>9}")
    for name in given.cases:
        case = CASES[name]
        if case.on_mnist and given.mnist is None:
            print(f"{name:<36}left out: it needs --mnist FOLDER")
            continue
        with tempfile.TemporaryDirectory() as folder:
            first, second = searched(name, case, given, Path(folder))
            claims.append(claim(name, first.per_hour / second.per_hour, case.target))
            if case.changes.get("pruner") is ASHA:
                claims += [claim(f"{name}: percent of lanes busy", share, BUSY) for share in said(Path(folder), "them busy")]
            waited = said(Path(folder), "the time went by in waiting")
            claims += [claim(f"{name}: percent of the time not waiting", 100 - share, 100 - WAITING) for share in waited]
    print("", *claims, sep="\n")


if __name__ == "__main__":
    main()
