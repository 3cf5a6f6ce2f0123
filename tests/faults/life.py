"""Lives of real processes that may end by SIGKILL: one process loads the code once and gives birth to all others.

`python -m tests.faults.life` reads orders, one JSON line each, and answers each with a line::

    {"begin": ARGV, "environment": {...}, "folder": F, "log": L}    →  the number of a new process
    {"wait": PID, "stopped": BOOL}                                  →  how it ended; or, with `stopped`, that it was stopped

ARGV is a command of `tuner` or one of `tests.faults.working`.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

REPOSITORY = Path(__file__).parents[2]


class Cradle:
    """Where processes come from."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.faults.life"]
        self._mother = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)

    def begin(self, folder: Path, *argv: str, failpoint: str = "") -> "Life":
        """A new process in a folder, armed with fail-points."""
        log = folder / f"life-{len(list(folder.glob('life-*.log')))}.log"
        environment = {"TUNER_FAILPOINT": failpoint, "PYTHONPATH": str(REPOSITORY)}
        order = {"begin": argv, "environment": environment, "folder": str(folder), "log": str(log)}
        return Life(self, self.ask(order), log)

    def ask(self, order: dict[str, Any]) -> int:
        """The answer to an order."""
        assert self._mother.stdin is not None
        assert self._mother.stdout is not None
        self._mother.stdin.write(json.dumps(order) + "\n")
        self._mother.stdin.flush()
        return int(self._mother.stdout.readline())

    def close(self) -> None:
        """No more of them; those that live are killed."""
        self._mother.communicate("")


@dataclass(frozen=True)
class Life:
    """A process and what it says."""

    cradle: Cradle
    pid: int
    log: Path

    def wait(self) -> int:
        """The exit code, or the negative number of the signal that ended it."""
        return os.waitstatus_to_exitcode(self.cradle.ask({"wait": self.pid, "stopped": False}))

    def wait_until_stopped(self) -> None:
        """Until it has stopped itself."""
        status = self.cradle.ask({"wait": self.pid, "stopped": True})
        assert os.WIFSTOPPED(status), self.said

    @property
    def said(self) -> str:
        """What it wrote on both streams."""
        return self.log.read_text()


def _serve(orders: IO[str]) -> None:
    from tests.faults import working

    alive = set()
    for line in orders:
        order = json.loads(line)
        if "wait" in order:
            _, answer = os.waitpid(order["wait"], os.WUNTRACED if order["stopped"] else 0)
            if not os.WIFSTOPPED(answer):
                alive.discard(order["wait"])
        elif (answer := os.fork()) == 0:
            _live(working.main, order)
        else:
            alive.add(answer)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
    for number in alive:
        os.kill(number, signal.SIGKILL)


def _live(main: Callable[[list[str]], int], order: dict[str, Any]) -> None:
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, target in enumerate((null, log, log)):
        os.dup2(target, number)
    os.chdir(order["folder"])
    os.environ.update(order["environment"])
    code = 1
    try:
        code = main(order["begin"])
    except Exception:  # noqa: BLE001 — what would otherwise go on in the mother is the end of this process
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve(sys.stdin)
