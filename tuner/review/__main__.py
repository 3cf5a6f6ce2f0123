"""A study's report, written in a process of its own for one that must not wait: `python -m tuner.review` reads a line of JSON."""

import json
import os
import sys
from contextlib import closing
from pathlib import Path

from tuner.errors import TunerError
from tuner.review import report
from tuner.store import Store


def main() -> int:
    """Write what the order says; exit code 1 with a line that says why it could not be done."""
    os.nice(10)
    order = json.loads(sys.stdin.readline())
    try:
        with closing(Store(order["db"])) as store:
            report(store, store.study(order["study"]), Path(order["folder"]))
    except TunerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
