"""Leases: claimed, renewed, written under and given back, each by one statement that is guarded by the fence."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningUpdate

from tuner.errors import LostLease
from tuner.failpoints import reach
from tuner.store.database import Database
from tuner.store.tables import Claim, Progress, Row, Study, decode_row, epoch_table, study_table, trial_table
from tuner.trial import Epoch, Params, State

Change = tuple[Claim, Mapping[str, Any]]
"""A claim, and what it changes in the row of its trial, as `_news` has it."""


class Leases(Database):
    """The verbs of workers on trials."""

    def __init__(self, url: str | sa.URL) -> None:
        super().__init__(url)
        self._statements: dict[tuple[tuple[str, ...], bool], sa.Update] = {}
        self._claims: dict[bool, ReturningUpdate[Any]] = {}

    def claim(self, study: Study, owner: str, ttl: float, *, now: float | None = None) -> tuple[Claim, Row] | None:
        """Take the next trial: one interrupted before, else the lowest number. None when nothing is free, or the study is paused.

        A row whose lease ran out counts as crashed once more. One whose owner asks stays with it under the fence that it has: it
        may be at work on it still.
        """
        bound = {"of_study": study.id, "new_owner": owner, "new_ttl": ttl, "now": now}
        with self._write() as connection:
            row = connection.execute(self._claim_statement(timed=now is not None), bound).first()
            reach("claim.written")
        reach("claim.committed")
        return (Claim(study.id, row.number, row.fence), decode_row(row)) if row is not None else None

    def disown(self, owner: str, held: Iterable[Claim]) -> None:
        """Give back the trials that an owner has without knowing it: of a claim whose answer was lost."""
        c = trial_table.c
        mine = sa.select(c.study_id, c.number, c.fence).where(c.state == State.RUNNING, c.owner == owner)
        known = set(held)
        with self._read() as connection:
            strays = [claim for row in connection.execute(mine) if (claim := Claim(*row)) not in known]
        for claim in strays:
            with suppress(LostLease):  # its lease ran out, and another worker has it
                self.release(claim)

    def propose(self, claim: Claim, params: Params, attrs: Mapping[str, Any]) -> None:
        """Write the parameters of a claimed trial, once and for all. Raises `LostLease`."""
        with self._write() as connection:
            self._guarded(connection, [(claim, {"params": json.dumps(dict(params)), "attrs": json.dumps(attrs)})])
        reach("proposal.committed")

    def renew(self, claims: Iterable[Claim], ttl: float, *, now: float | None = None) -> list[Claim]:
        """Prolong the leases; returns the claims that are lost."""
        with self._write() as connection:
            return [claim for claim, _ in self._refused(connection, [(claim, {"ttl": ttl}) for claim in claims], now)]

    def record(self, progress: Iterable[Progress], ttl: float, *, now: float | None = None) -> None:
        """Write what happened to some trials since the last time, in one transaction, and prolong their leases.

        An epoch that is there already stays as it is, and an end that this claim has written already is right: who lost the
        answer may ask again. Raises `LostLease`; then nothing was written.
        """
        told = list(progress)
        changes = [(item.claim, _news(item, ttl)) for item in told]
        rows = [_epoch_values(item.claim, epoch) for item in told for epoch in item.epochs]
        what = "end" if any(item.outcome is not None for item in told) else "epoch"
        with self._write() as connection:
            for names in dict.fromkeys(tuple(news) for _, news in changes):
                self._guarded(connection, [change for change in changes if tuple(change[1]) == names], now)
            if rows:
                connection.execute(self._upsert(epoch_table).values(at=self._at(now)).on_conflict_do_nothing(), rows)
            reach(f"{what}.written")
        reach(f"{what}.committed")

    def release(self, claim: Claim, *, crashed: int = 0) -> None:
        """Give a trial back unfinished, to be claimed again at once; `crashed` so many times more. Raises `LostLease`."""
        with self._write() as connection:
            self._guarded(connection, [(claim, {"state": State.QUEUED, "owner": None, "ttl": None, "crashed": crashed})])
            reach("release.written")
        reach("release.committed")

    def expire(self, owners: Iterable[str], *, now: float | None = None) -> None:
        """End the leases of workers that are known to be dead, so that their trials can be claimed now."""
        with self._write() as connection:
            connection.execute(
                trial_table.update()
                .where(trial_table.c.state == State.RUNNING, trial_table.c.owner.in_(list(owners)))
                .values(lease_until=self._at(now) - 1.0)
            )

    def _guarded(self, connection: sa.Connection, changes: Sequence[Change], now: float | None = None) -> None:
        for claim, news in self._refused(connection, changes, now):
            if not _is_done(connection, claim, news):
                raise LostLease(f"trial {claim.number}: another worker holds it, or it was cancelled")

    def _refused(self, connection: sa.Connection, changes: Sequence[Change], now: float | None = None) -> list[Change]:
        """Change the rows of claims, each in the same columns; those whose claim does not hold any more.

        All at once, and one by one again when some are refused: a change that is made twice is made once.
        """
        if not changes or self._update(connection, changes, now) == len(changes):
            return []
        return [change for change in changes if not self._update(connection, [change], now)]

    def _update(self, connection: sa.Connection, changes: Sequence[Change], now: float | None) -> int:
        """How many rows were changed."""
        statement = self._guarded_statement(tuple(changes[0][1]), timed=now is not None)
        bound = [
            {f"new_{name}": value for name, value in news.items()}
            | {"of_study": claim.study_id, "of_number": claim.number, "of_fence": claim.fence, "now": now}
            for claim, news in changes
        ]
        return connection.execute(statement, bound).rowcount

    def _guarded_statement(self, names: tuple[str, ...], *, timed: bool) -> sa.Update:
        """The update of these values behind the fence; built once, as building takes longer than running it."""
        if (names, timed) not in self._statements:
            c = trial_table.c
            clock = self._clock(timed=timed)
            values = {column: value for name in names for column, value in _assignments(name, clock).items()}
            mine = [c.study_id == sa.bindparam("of_study"), c.number == sa.bindparam("of_number")]
            mine += [c.fence == sa.bindparam("of_fence"), c.state == State.RUNNING]
            self._statements[names, timed] = trial_table.update().where(*mine).values(values)
        return self._statements[names, timed]

    def _claim_statement(self, *, timed: bool) -> ReturningUpdate[Any]:
        """Built once, as building takes longer than running it; each of its three searches is one step in `trial_by_state`."""
        if timed not in self._claims:
            c, clock = trial_table.c, self._clock(timed=timed)
            here = c.study_id == sa.bindparam("of_study")
            lapsed = sa.and_(c.state == State.RUNNING, c.lease_until < clock, c.owner != sa.bindparam("new_owner"))
            searches = (
                sa.and_(c.state == State.QUEUED, c.attempts > 0),
                lapsed,
                sa.and_(c.state == State.QUEUED, c.attempts == 0),
            )
            chosen = sa.func.coalesce(*(_first(sa.and_(here, search)) for search in searches))
            open_ = sa.exists().where(study_table.c.id == sa.bindparam("of_study"), ~study_table.c.paused)
            self._claims[timed] = (
                trial_table.update()
                .where(here, c.number == chosen, sa.or_(c.state == State.QUEUED, lapsed), open_)
                .values(
                    state=State.RUNNING, owner=sa.bindparam("new_owner"), fence=c.fence + 1, attempts=c.attempts + 1,
                    lease_until=clock + sa.bindparam("new_ttl", type_=sa.Float),
                    crashes=c.crashes + sa.case((c.state == State.RUNNING, 1), else_=0),
                    started=sa.func.coalesce(c.started, clock),
                )
                .returning(trial_table)
            )  # fmt: skip
        return self._claims[timed]

    def _clock(self, *, timed: bool) -> sa.ColumnElement[float]:
        return sa.bindparam("now", type_=sa.Float) if timed else self._now


def _first(condition: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    """The lowest number of a free trial that nobody else is about to take."""
    c = trial_table.c
    return sa.select(c.number).where(condition).order_by(c.number).limit(1).with_for_update(skip_locked=True).scalar_subquery()


def _is_done(connection: sa.Connection, claim: Claim, news: Mapping[str, Any]) -> bool:
    """Whether the claim has brought the trial to this state already."""
    c = trial_table.c
    mine = (c.study_id == claim.study_id, c.number == claim.number, c.fence == claim.fence)
    return "state" in news and connection.scalar(sa.select(c.state).where(*mine)) == news["state"]


def _news(item: Progress, ttl: float) -> dict[str, Any]:
    """What a worker's progress changes in the row of its trial."""
    values: dict[str, Any] = {"ttl": ttl}
    if item.epochs:
        values |= {"epoch": item.epochs[-1].epoch, "parameters": item.epochs[-1].parameters}
    if item.attrs is not None:
        values["attrs"] = json.dumps(item.attrs)
    if (saved := item.checkpoint) is not None:
        values |= {"kept": str(saved.path), "checkpoint": str(saved.path), "crashes": 0}
        values |= {"checkpoint_epoch": saved.epoch, "checkpoint_sha256": saved.sha256}
    if (end := item.outcome) is not None:
        values |= {"state": end.state, "value": end.value, "failure": end.failure, "message": end.message, "log": end.log}
        values |= {"ended": None, "ttl": None, "checkpoint": None, "checkpoint_sha256": None}
        if end.costs:
            values["costs"] = dict(end.costs)
        if (model := end.model) is not None:
            values |= {"checkpoint": str(model.path), "checkpoint_epoch": model.epoch, "checkpoint_sha256": model.sha256}
        values |= {"previous": None, "previous_sha256": None}
        values.pop("kept", None)
    return values


def _assignments(name: str, clock: sa.ColumnElement[float]) -> dict[str, sa.ColumnElement[Any]]:
    """Columns and what they become, from one entry of `_news`."""
    c = trial_table.c
    match name:
        case "ttl":
            return {"lease_until": clock + sa.bindparam("new_ttl", type_=sa.Float)}
        case "ended":
            return {"ended": clock}
        case "crashed":
            return {"crashes": c.crashes + sa.bindparam("new_crashed", type_=sa.Integer)}
        case "epoch":  # a resumed trial repeats epochs that are recorded already
            new = sa.bindparam("new_epoch", type_=sa.Integer)
            return {"epoch": sa.case((c.epoch < new, new), else_=c.epoch)}
        case "kept":  # the newest checkpoint becomes the previous one, unless this was written before
            again = c.checkpoint == sa.bindparam("new_kept", type_=sa.Text)
            pairs = {f"previous{end}": f"checkpoint{end}" for end in ("", "_epoch", "_sha256")}
            return {old: sa.case((again, c[old]), else_=c[newest]) for old, newest in pairs.items()}
    return {name: sa.bindparam(f"new_{name}", type_=c[name].type)}


def _epoch_values(claim: Claim, epoch: Epoch) -> dict[str, Any]:
    where = {"study_id": claim.study_id, "number": claim.number, "epoch": epoch.epoch}
    return {**where, "metrics": json.dumps(dict(epoch.metrics)), "seconds": epoch.seconds}
