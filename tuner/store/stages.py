"""Stages: what follows a study once it has ended, and what follows that.

A stage is a row of `study` with trials of its own, whose parameters are known from its beginning, so that it has everything that
a study has: an exact budget, leases, checkpoints, views. None of the questions about the study counts its stages in.
"""

import json
from collections.abc import Iterable

import sqlalchemy as sa

from tuner.failpoints import reach
from tuner.store.database import Database
from tuner.store.studies import after, numbered
from tuner.store.tables import Plan, Stage, Study, decode_study, study_table, trial_table
from tuner.trial import State


class Stages(Database):
    """The verbs on stages."""

    def again(self, study: Study) -> Study | None:
        """A study or stage as it is now; None when it is gone."""
        with self._read() as connection:
            row = connection.execute(sa.select(study_table).where(study_table.c.id == study.id)).first()
        return None if row is None else decode_study(row)

    def follow(self, study: Study, plan: Plan | None, *, now: float | None = None) -> None:
        """Let the next stage begin, or say that none is to come: once, and only while the study is as it was and has ended."""
        s, t = study_table.c, trial_table.c
        open_ = sa.exists().where(t.study_id == study.id, t.state.in_([State.QUEUED, State.RUNNING]))
        ended = study_table.update().where(s.id == study.id, s.trials == study.trials, ~s.followed, ~open_)
        with self._write() as connection:
            found = connection.execute(ended.values(followed=True).returning(s.priority, s.paused)).first()
            if found is None or plan is None:
                return
            stage = study_table.insert().values(
                **numbered(connection),
                name=_unlike_any(connection, study), identity=plan.spec.identity, spec=plan.spec.model_dump_json(),
                trials=len(plan.params), created=self._at(now), facts=json.dumps(plan.facts), priority=found.priority,
                paused=found.paused, origin=study.id, stage=plan.stage, followed=plan.stage is Stage.TEST,
            )  # fmt: skip
            stage_id = connection.scalar(stage.returning(s.id))
            rows = [
                {"study_id": stage_id, "number": number, "state": State.QUEUED, "params": json.dumps(dict(params))}
                for number, params in enumerate(plan.params)
            ]
            connection.execute(trial_table.insert(), rows)
            reach("stage.written")

    def next(self, study: Study) -> Study | None:
        """The stage that follows; None as long as there is none, or the study was extended after it."""
        s = study_table.c
        query = sa.select(study_table).where(s.origin == study.id).order_by(s.id.desc()).limit(1)
        now = self.again(study)
        with self._read() as connection:
            row = connection.execute(query).first()
        return decode_study(row) if row is not None and now is not None and now.followed else None

    def stages(self, study: Study) -> list[Study]:
        """All stages that ever followed a study, oldest first."""
        with self._read() as connection:
            rows = connection.execute(sa.select(study_table).where(after(study)).order_by(study_table.c.id))
            return [decode_study(row) for row in rows]

    def drop(self, study: Study, numbers: Iterable[int], reason: str, *, now: float | None = None) -> None:
        """Prune those of the trials that have not ended; whoever holds one has lost its lease."""
        c = trial_table.c
        with self._write() as connection:
            connection.execute(
                trial_table.update()
                .where(c.study_id == study.id, c.number.in_(list(numbers)), c.state.in_([State.QUEUED, State.RUNNING]))
                .values(state=State.PRUNED, message=reason, ended=self._at(now), fence=c.fence + 1, lease_until=None)
            )


def _unlike_any(connection: sa.Connection, study: Study) -> str:
    """The name in the row of a stage: one that no study file can have."""
    before = connection.scalar(sa.select(sa.func.count()).where(study_table.c.origin == study.id))
    return f"\x1f{study.id}.{before}"
