"""What the processes of `tests.faults.life` do; imported once, before any of them is born."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg  # noqa: F401 — what a store on PostgreSQL imports
import sklearn.datasets  # noqa: F401 — what a launch imports
from alembic import command  # noqa: F401 — the same

from tests.conftest import study_spec
from tests.faults.history import Witness
from tuner import checkpoints, cli, devices, failpoints, family, space  # noqa: F401 — the same
from tuner.cli import given  # noqa: F401 — the same
from tuner.store import Progress, Study
from tuner.trial import Epoch, Outcome, State
from tuner.worker import TTL, Supervisor

SPEC: dict[str, Any] = {
    "budget": 6,
    "final": {"finalists": 2, "seeds": 3},
    "sampler": "tpe",
    "pruner": "asha",
    "train": {"epochs": 9, "checkpoint_seconds": 0.0},
}


def main(argv: list[str]) -> int:
    """Be what the first word says; the exit code."""
    if argv[0] in OCCUPATIONS:
        failpoints.arm(os.environ["TUNER_FAILPOINT"])
        OCCUPATIONS[argv[0]](*argv[1:])
        return 0
    sys.argv = ["tuner", *argv]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def work(ttl: str = str(TTL)) -> None:
    """Supervisors on the study of this folder and on what follows it, from its launch to the end of all."""
    tables = Witness(f"sqlite:///{Path('tuner.db').resolve()}", Path("history"))
    tables.migrate()
    spec = study_spec(**SPEC)
    stage: Study | None = tables.launch(spec, spec.budget.trials, {})
    while stage is not None:
        supervisor = Supervisor(tables, stage, Path.cwd(), [], dict(os.environ))
        supervisor.command = [sys.executable, "-m", "tests.paper"]
        supervisor.ttl = float(ttl)
        supervisor.work(lambda: None)
        stage = tables.next(stage)


def serve(url: str, pace: str) -> None:
    """A supervisor on a study that is launched, with epochs that take so many seconds."""
    tables = Witness(url, Path("history"))
    supervisor = Supervisor(tables, tables.study("small"), Path.cwd(), [], dict(os.environ))
    supervisor.command = [sys.executable, "-m", "tests.paced", pace]
    supervisor.work(lambda: None)


def feed(url: str, group: str, share: str) -> None:
    """A supervisor in a control group, on a study that is launched, whose trials use so many bytes each."""
    (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
    tables = Witness(url, Path("history"))
    supervisor = Supervisor(tables, tables.study("small"), Path.cwd(), [], dict(os.environ))
    supervisor.command = [sys.executable, "-m", "tests.hungry", share]
    supervisor.work(lambda: None)


def save(number: str) -> None:
    """Write checkpoints of a trial, one an epoch."""
    for epoch in range(1, 4):
        labels = checkpoints.labels(int(number), epoch, [])
        checkpoints.write(Path.cwd(), labels, {"weights": np.full((8, 8), epoch, np.float32)})


def write(name: str) -> None:
    """Claim trials of the study of this folder and end them until there is none."""
    tables = Witness(f"sqlite:///{Path('tuner.db').resolve()}", Path("history"))
    study = tables.study("small")
    while (taken := tables.claim(study, name, TTL)) is not None:
        claim, row = taken
        if row.params is None:
            tables.propose(claim, {"width": claim.number}, {})
        epoch = Epoch(claim.number, 1, {"loss": 1.0 / (1 + claim.number)}, 0.1)
        tables.record([Progress(claim, [epoch], outcome=Outcome(State.COMPLETE, value=0.5))], TTL)


OCCUPATIONS: dict[str, Callable[..., None]] = {"work": work, "serve": serve, "feed": feed, "save": save, "write": write}
