"""The process that `tuner run` starts: its order is the first line of its standard input, and it forwards until that is cut."""

import json
import logging
import os
import sys
from contextlib import closing
from pathlib import Path

from tuner.errors import TunerError
from tuner.store import Store
from tuner.track import Forwarder
from tuner.track.follow import Lifeline, follow


def main() -> int:
    """Follow a study; exit code 1 says that MLflow does not show everything yet, which the next start mends."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    os.nice(10)  # training comes first
    line = sys.stdin.fileno()
    order = json.loads(_first_line(line))
    try:
        with closing(Store(order["db"])) as store, closing(Forwarder(store, order["mlflow"], Path(order["home"]))) as forwarder:
            return int(not follow(forwarder, order["study"], Lifeline(line)))
    except TunerError as error:
        logging.error("%s", error)
        return error.exit_code


def _first_line(number: int) -> bytes:
    """Read byte by byte, so that nothing behind it is kept in a buffer where the lifeline would miss it."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(number, 1)):
        line += byte
    return line


if __name__ == "__main__":
    sys.exit(main())
