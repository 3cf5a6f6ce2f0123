"""A study's report, written in a process of its own for one that must not wait: `python -m tuner.review` reads a line of JSON."""

import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

from tuner.errors import TunerError
from tuner.process import processors
from tuner.review import KINDS, report
from tuner.store import Store


def _pool() -> ProcessPoolExecutor:
    """Nothing else runs in this process, so it may fork; to load Matplotlib, Plotly and Optuna anew takes as long as drawing."""
    context = get_context("fork" if sys.platform == "linux" else None)
    return ProcessPoolExecutor(min(len(KINDS), processors({})), mp_context=context)


def main() -> int:
    """Write what the order says; exit code 1 with a line that says why it could not be done."""
    os.nice(10)
    order = json.loads(sys.stdin.readline())
    try:
        with closing(Store(order["db"])) as store, _pool() as pool:
            report(store, store.study(order["study"]), Path(order["folder"]), each=pool.map)
    except TunerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
