"""The tables, and the values that their rows become."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from tuner.spec import StudySpec, restore
from tuner.trial import Checkpoint, Epoch, Failure, Outcome, Params, State

HEAD = "0007"
VERSION_TABLE = "tuner_alembic_version"
PARENT = -1  # the number under which a view keeps its own record of a study
SILENT = 45.0  # seconds after which a worker that was not seen has lost its leases

metadata = sa.MetaData()

study_table = sa.Table(
    "study",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(200), nullable=False, unique=True),
    sa.Column("identity", sa.String(64), nullable=False),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("trials", sa.Integer, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("facts", sa.Text, nullable=False, server_default="{}"),
    sa.Column("stopped", sa.Text, nullable=False, server_default=""),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("origin", sa.Integer),
    sa.Column("stage", sa.String(8), nullable=False, server_default="search"),
    sa.Column("followed", sa.Boolean, nullable=False, server_default=sa.true()),
)

trial_table = sa.Table(
    "trial",
    metadata,
    sa.Column("study_id", sa.Integer, sa.ForeignKey("study.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("fence", sa.Integer, nullable=False, server_default="0"),
    sa.Column("owner", sa.String(64)),
    sa.Column("lease_until", sa.Float),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("crashes", sa.Integer, nullable=False, server_default="0"),
    sa.Column("params", sa.Text),
    sa.Column("attrs", sa.Text, nullable=False, server_default="{}"),
    sa.Column("epoch", sa.Integer, nullable=False, server_default="0"),
    sa.Column("parameters", sa.Integer, nullable=False, server_default="0"),
    sa.Column("value", sa.Float),
    sa.Column("failure", sa.String(32)),
    sa.Column("message", sa.Text, nullable=False, server_default=""),
    sa.Column("checkpoint", sa.Text),
    sa.Column("checkpoint_epoch", sa.Integer, nullable=False, server_default="0"),
    sa.Column("checkpoint_sha256", sa.String(64)),
    sa.Column("started", sa.Float),
    sa.Column("ended", sa.Float),
    sa.Column("previous", sa.Text),
    sa.Column("previous_epoch", sa.Integer, nullable=False, server_default="0"),
    sa.Column("previous_sha256", sa.String(64)),
    sa.Column("log", sa.Text, nullable=False, server_default=""),
    sa.Column("costs", sa.JSON, nullable=False, server_default="{}"),
    sa.Index("trial_by_state", "state", "study_id", "attempts", "number"),  # what a claim looks for is one step in it
)

epoch_table = sa.Table(
    "epoch",
    metadata,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("metrics", sa.Text, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.ForeignKeyConstraint(["study_id", "number"], ["trial.study_id", "trial.number"], ondelete="CASCADE"),
)

worker_table = sa.Table(
    "worker",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("process_started", sa.Float, nullable=False),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("seen", sa.Float, nullable=False),
    sa.Column("device", sa.String(64), nullable=False, server_default=""),
    sa.Column("message", sa.Text, nullable=False, server_default=""),
    sa.Column("engine", sa.Text, nullable=False, server_default=""),
)

conditions_table = sa.Table(
    "conditions",
    metadata,
    sa.Column("study_id", sa.Integer, sa.ForeignKey("study.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("worker", sa.String(64), primary_key=True),
    sa.Column("said", sa.Text, nullable=False),
)

sample_table = sa.Table(
    "sample",
    metadata,
    sa.Column("study_id", sa.Integer, sa.ForeignKey("study.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("at", sa.Float, primary_key=True),
    sa.Column("worker", sa.String(64), primary_key=True),
    sa.Column("usage", sa.Text, nullable=False),
    sa.Index("sample_by_time", "at"),
)

view_table = sa.Table(
    "view",
    metadata,
    sa.Column("view", sa.String(32), primary_key=True),
    sa.Column("study_id", sa.Integer, sa.ForeignKey("study.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("reference", sa.String(128), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False, server_default="0"),
    sa.Column("state", sa.String(16), nullable=False, server_default=""),
    sa.Column("fence", sa.Integer, nullable=False, server_default="0"),
)


class Stage(StrEnum):
    """What the trials of a row of `study` are for: the search, the race of its finalists, the score of the winner."""

    SEARCH = "search"
    RACE = "race"
    TEST = "test"


@dataclass(frozen=True)
class Study:
    """A row of `study`; `trials` is the budget with its extensions, `stopped` why it ended early.

    Studies of a higher `priority` are worked on first; a paused one is not worked on. `origin` is the row whose `stage` came
    before this one, `followed` whether the next one has begun, or none is to come.
    """

    id: int
    name: str
    spec: StudySpec
    trials: int
    created: float
    facts: Mapping[str, Any]
    stopped: str
    priority: int
    paused: bool
    origin: int | None = None
    stage: Stage = Stage.SEARCH
    followed: bool = True

    @property
    def identity(self) -> str:
        """Which launch of which study; another of the same name, or one launched anew after a deletion, has another."""
        return hashlib.sha256(f"{self.spec.identity} {self.created!r}".encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        """Where its checkpoints are, below a worker's home; two databases may share a home."""
        return Path("checkpoints") / self.identity


@dataclass(frozen=True)
class Plan:
    """A stage that is to follow another one, with the parameters of its trials."""

    stage: Stage
    spec: StudySpec
    facts: Mapping[str, Any]
    params: Sequence[Params]


@dataclass(frozen=True)
class Row:
    """A row of `trial`, decoded; `previous` is the checkpoint before the newest one, `log` the end of a failed trial's log.

    Of a trial that has ended the checkpoint is its model, if it was kept, and `costs` are those that its study asks for.
    """

    number: int
    state: State
    fence: int
    owner: str | None
    attempts: int
    crashes: int
    params: Params | None
    attrs: Mapping[str, Any]
    epoch: int
    parameters: int
    value: float | None
    failure: Failure | None
    message: str
    checkpoint: Checkpoint | None
    started: float | None
    ended: float | None
    previous: Checkpoint | None = None
    log: str = ""
    costs: Mapping[str, float] = field(default_factory=dict)


class Lifetime(NamedTuple):
    """When a trial began and ended, and how: what of a row says how far a study was at any time."""

    number: int
    state: State
    value: float | None
    started: float | None
    ended: float | None


@dataclass(frozen=True)
class Claim:
    """A worker's right to a trial: good while the row still carries this fence."""

    study_id: int
    number: int
    fence: int


@dataclass(frozen=True)
class Progress:
    """What a worker has to say of one trial: new epochs, the sampler's notes, a checkpoint, the end."""

    claim: Claim
    epochs: Sequence[Epoch] = ()
    attrs: Mapping[str, Any] | None = None
    checkpoint: Checkpoint | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Worker:
    """A row of `worker`: one device of a supervisor process.

    `process_started`, in seconds after the boot, tells the process from a later one of the same number; `message` is for people:
    what it is doing, what is wrong; `engine` says how its training process trains: one trial at a time, or in how many lanes, and
    how many are busy.
    """

    name: str
    host: str
    pid: int
    process_started: float
    device: str = ""
    message: str = ""
    engine: str = ""


@dataclass(frozen=True)
class Sighting:
    """A worker as others see it: `silence` seconds since it was last seen, and the trials that it holds, as (study, number)."""

    worker: Worker
    silence: float
    started: float
    trials: Sequence[tuple[str, int]]

    @property
    def silent(self) -> bool:
        """Whether it has been unseen for so long that it has lost its leases."""
        return self.silence > SILENT


class Sample(NamedTuple):
    """How busy a worker was at a time (seconds since 1970), by what is used (`tuner.gauge`)."""

    worker: str
    at: float
    usage: Mapping[str, float]


@dataclass(frozen=True)
class Behind:
    """A trial of which a view has not shown everything yet: `shown` epochs of `row.epoch`, under `reference` once it has one."""

    row: Row
    reference: str | None
    shown: int


def decode_metrics(text: str) -> dict[str, float]:
    """The metrics of an epoch."""
    metrics: dict[str, float] = json.loads(text)
    return metrics


def decode_study(row: Any) -> Study:
    """A row of `study`."""
    facts = json.loads(row.facts)
    spec, stage = restore(row.spec), Stage(row.stage)
    return Study(
        row.id, spec.name, spec, row.trials, row.created, facts, row.stopped, row.priority, row.paused, row.origin, stage,
        row.followed,
    )  # fmt: skip


def decode_row(row: Any) -> Row:
    """A row of `trial`."""
    saved = Checkpoint(Path(row.checkpoint), row.checkpoint_epoch, row.checkpoint_sha256) if row.checkpoint else None
    before = Checkpoint(Path(row.previous), row.previous_epoch, row.previous_sha256) if row.previous else None
    return Row(
        number=row.number, state=State(row.state), fence=row.fence, owner=row.owner, attempts=row.attempts,
        crashes=row.crashes, params=json.loads(row.params) if row.params else None, attrs=json.loads(row.attrs),
        epoch=row.epoch, parameters=row.parameters, value=row.value,
        failure=Failure(row.failure) if row.failure else None, message=row.message, checkpoint=saved,
        started=row.started, ended=row.ended, previous=before, log=row.log, costs=row.costs,
    )  # fmt: skip
