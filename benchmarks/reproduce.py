"""Do trials that were trained in lanes learn the same again, alone, in another process?

The study of the digits is run with a small budget, in lanes; ten of its trials are drawn at random, and `tuner reproduce` trains
each again.

Command: python -m benchmarks.reproduce
Needs: 2 CPU cores, 3 GiB, three minutes.
"""

import os
import random
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.environment import describe
from tuner.store import Row, Store
from tuner.trial import State

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "studies" / "digits.toml"
BUDGET, LANES, DRAWN, SEED = 64, 16, 10, 7
HEAD = f"{'trial':>5}  {'optimizer':<9}  {'outcome':<8}  {'epochs':>6}  {'first loss':>10}  {'val_accuracy':>12}  matches"
APART = re.compile(r"first loss: (\S+) apart, .*: (\S+) apart")


def tuner(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a folder, with this repository's code."""
    environment = {**{n: v for n, v in os.environ.items() if not n.startswith("TUNER")}, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tuner.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def study() -> str:
    """The file with a smaller budget, so many lanes, whose trials are not pruned early, and no race."""
    instead = f'budget = {BUDGET}\npruner = {{name = "asha", from_epoch = 10}}\nfinal = 0'
    text = re.sub(r"^budget = .*$", instead, STUDY.read_text(), flags=re.MULTILINE)
    return text.replace("[train]", f"[train]\nlanes = {LANES}")


def measure(folder: Path) -> list[str]:
    """A line for each trial that was drawn, with the relative differences from its record; and how many match."""
    (folder / "lanes.toml").write_text(study())
    tuner(folder, "run", "lanes.toml", "--no-mlflow").check_returncode()
    store = Store(f"sqlite:///{folder / '.tuner' / 'tuner.db'}")
    rows = store.trials(store.study("lanes"), states=[State.COMPLETE, State.PRUNED])
    store.close()
    drawn = sorted(random.Random(SEED).sample(rows, DRAWN), key=lambda row: row.number)
    again = {row.number: tuner(folder, "reproduce", "lanes", str(row.number)) for row in drawn}
    matching = sum(process.returncode == 0 for process in again.values())
    verdict = f"{matching} of {DRAWN} match alone   target {DRAWN}   {'pass' if matching == DRAWN else 'short'}"
    return [HEAD, *(_line(row, again[row.number]) for row in drawn), "", f"of {len(rows)} in packs of {LANES}: {verdict}"]


def _line(row: Row, again: subprocess.CompletedProcess[str]) -> str:
    apart = APART.search(again.stdout)
    assert apart is not None, again.stderr
    method, matches = (row.params or {})["optimizer"], "no" if again.returncode else "yes"
    return f"{row.number:>5}  {method:<9}  {row.state:<8}  {row.epoch:>6}  {apart[1]:>10}  {apart[2]:>12}  {matches}"


def main() -> None:
    """Print how far each trial is from its record, and how many match."""
    print(f"{describe()}\nload {os.getloadavg()[0]:.1f} before it began\n")
    with TemporaryDirectory() as folder:
        for line in measure(Path(folder)):
            print(line)


if __name__ == "__main__":
    main()
