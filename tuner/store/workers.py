"""Workers: who is there, when it was last seen, what it holds, under what conditions it trained, and how busy it was."""

import json
from collections.abc import Mapping

import sqlalchemy as sa

from tuner.provenance import Conditions
from tuner.store.database import Database
from tuner.store.tables import (
    Row,
    Sample,
    Sighting,
    Stage,
    Study,
    Worker,
    conditions_table,
    sample_table,
    study_table,
    trial_table,
    worker_table,
)
from tuner.trial import State

FORGOTTEN = 86_400.0  # seconds after which a worker that is not seen any more is struck off, and samples go

_worker = [worker_table.c[name] for name in ("name", "host", "pid", "process_started", "device", "message", "engine")]


class Workers(Database):
    """The verbs on workers."""

    def enlist(self, worker: Worker, *, now: float | None = None) -> None:
        """Write a worker down, or that it was seen and what it says."""
        row = {column.name: getattr(worker, column.name) for column in _worker}
        insert = self._upsert(worker_table).values(**row, started=self._at(now), seen=self._at(now))
        update = {"seen": self._at(now), "message": worker.message, "engine": worker.engine}
        with self._write() as connection:
            connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=update))

    def note(self, study: Study, worker: Worker, conditions: Conditions) -> None:
        """Write down under what conditions a worker trains trials of a study; kept as long as the study."""
        s = study_table.c
        mine = sa.select(s.id, sa.literal(worker.name), sa.literal(json.dumps(dict(conditions))))
        mine = mine.where(s.id == study.id).with_for_update(read=True, key_share=True)  # one that is being deleted is gone
        insert = self._upsert(conditions_table).from_select(["study_id", "worker", "said"], mine)
        with self._write() as connection:
            connection.execute(insert.on_conflict_do_nothing())

    def conditions(self, study: Study, row: Row) -> Conditions | None:
        """Under what conditions a trial was trained last; None when nobody wrote it down."""
        c = conditions_table.c
        with self._read() as connection:
            said = connection.scalar(sa.select(c.said).where(c.study_id == study.id, c.worker == row.owner))
        return None if said is None else json.loads(said)

    def sample(self, study: Study, worker: str, usage: Mapping[str, float], *, now: float | None = None) -> None:
        """Write down how busy a worker on a study is, if that is still there; what anybody wrote more than a day ago goes."""
        s, at = study_table.c, self._at(now)
        mine = sa.select(s.id, at, sa.literal(worker), sa.literal(json.dumps(dict(usage))))
        mine = mine.where(s.id == study.id).with_for_update(read=True, key_share=True)  # as above
        insert = self._upsert(sample_table).from_select(["study_id", "at", "worker", "usage"], mine)
        with self._write() as connection:
            connection.execute(insert.on_conflict_do_nothing())
            connection.execute(sample_table.delete().where(sample_table.c.at < at - FORGOTTEN))

    def samples(self, study: Study, *, after: float, limit: int) -> list[Sample]:
        """How busy the workers on a study were, the oldest of what was written after a time first."""
        c = sample_table.c
        query = sa.select(c.worker, c.at, c.usage).where(c.study_id == study.id, c.at > after).order_by(c.at, c.worker)
        with self._read() as connection:
            return [Sample(row.worker, row.at, json.loads(row.usage)) for row in connection.execute(query.limit(limit))]

    def strike_off(self, *, now: float | None = None) -> None:
        """Forget the workers that have not been seen for a day and hold nothing."""
        c = worker_table.c
        with self._write() as connection:
            connection.execute(worker_table.delete().where(c.seen < self._at(now) - FORGOTTEN, c.name.not_in(_owning())))

    def dismiss(self, worker: Worker) -> None:
        """Forget a worker that has ended and holds nothing."""
        c = worker_table.c
        with self._write() as connection:
            connection.execute(worker_table.delete().where(c.name == worker.name, c.name.not_in(_owning())))

    def owners(self, host: str) -> list[Worker]:
        """The workers of a host that own running trials."""
        c = worker_table.c
        query = sa.select(*_worker).where(c.host == host, c.name.in_(_owning()))
        with self._read() as connection:
            return [Worker(*row) for row in connection.execute(query)]

    def workers(self, *, now: float | None = None) -> list[Sighting]:
        """All workers, the oldest first."""
        c, t = worker_table.c, trial_table.c
        query = sa.select(*_worker, (self._at(now) - c.seen).label("silence"), c.started).order_by(c.started, c.name)
        before, first = study_table.alias(), study_table.alias()
        s = study_table.c
        running = (
            sa.select(t.owner, sa.func.coalesce(first.c.name, before.c.name, s.name), s.stage, t.number)
            .join(study_table, s.id == t.study_id)
            .outerjoin(before, before.c.id == s.origin)
            .outerjoin(first, first.c.id == before.c.origin)
            .where(t.state == State.RUNNING)
            .order_by(t.study_id, t.number)
        )
        with self._read() as connection:
            held: dict[str, list[tuple[str, int]]] = {}
            for owner, study, stage, number in connection.execute(running):
                held.setdefault(owner, []).append((study if stage == Stage.SEARCH else f"{study} {stage}", number))
            rows = connection.execute(query).all()
        return [Sighting(Worker(*row[:-2]), row.silence, row.started, held.get(row.name, [])) for row in rows]


def _owning() -> sa.Select[tuple[str | None]]:
    """The names of those that own running trials."""
    return sa.select(trial_table.c.owner).where(trial_table.c.state == State.RUNNING, trial_table.c.owner.is_not(None))
