"""How far each view has come."""

from collections.abc import Iterable

import sqlalchemy as sa

from tuner.store.database import Database
from tuner.store.tables import PARENT, Behind, Row, Study, decode_row, trial_table, view_table


class Views(Database):
    """The verbs of those that show the tables elsewhere."""

    def behind(self, view: str, study: Study, limit: int = 100) -> list[Behind]:
        """Trials, begun at least, of which a view has not shown the newest epoch, state or attempt, lowest number first.

        The cursor is kept per trial, not as one sequence over all: of two transactions the later number may commit first, and a
        cursor over a sequence would step over the other for ever.
        """
        t, v = trial_table.c, view_table.c
        same = sa.and_(v.view == view, v.study_id == t.study_id, v.number == t.number)
        news = sa.or_(v.view.is_(None), v.epoch < t.epoch, v.state != t.state, v.fence != t.fence)
        query = (
            sa.select(trial_table, v.reference, v.epoch.label("shown"))
            .select_from(trial_table.outerjoin(view_table, same))
            .where(t.study_id == study.id, t.params.is_not(None), t.attempts > 0, news)
            .order_by(t.number)
            .limit(limit)
        )
        with self._read() as connection:
            return [Behind(decode_row(row), row.reference, row.shown or 0) for row in connection.execute(query)]

    def shown(self, view: str, study: Study, rows: Iterable[tuple[Row, str]]) -> None:
        """Note that a view has shown these trials, as they are in `rows`, under these references."""
        values = [
            {"view": view, "study_id": study.id, "number": row.number, "reference": reference, "epoch": row.epoch,
             "state": row.state, "fence": row.fence}
            for row, reference in rows
        ]  # fmt: skip
        insert = self._upsert(view_table)
        update = {name: insert.excluded[name] for name in ("reference", "epoch", "state", "fence")}
        with self._write() as connection:
            connection.execute(insert.on_conflict_do_update(index_elements=["view", "study_id", "number"], set_=update), values)

    def reference(self, view: str, study: Study) -> str | None:
        """Under what the view keeps the study itself."""
        v = view_table.c
        query = sa.select(v.reference).where(v.view == view, v.study_id == study.id, v.number == PARENT)
        with self._read() as connection:
            return connection.scalar(query)

    def refer(self, view: str, study: Study, reference: str) -> None:
        """Note under what the view keeps the study itself."""
        insert = self._upsert(view_table).values(view=view, study_id=study.id, number=PARENT, reference=reference)
        key = ["view", "study_id", "number"]
        with self._write() as connection:
            connection.execute(insert.on_conflict_do_update(index_elements=key, set_={"reference": reference}))

    def standing(self, view: str, study: Study) -> tuple[int, str, int]:
        """Of how many ended trials the view has shown the progress, what its report is of, and to which second after the launch
        it has shown samples (`stand`); 0, "" and 0 before.
        """
        v = view_table.c
        query = sa.select(v.epoch, v.state, v.fence).where(v.view == view, v.study_id == study.id, v.number == PARENT)
        with self._read() as connection:
            row = connection.execute(query).first()
        return (row.epoch, row.state, row.fence) if row is not None else (0, "", 0)

    def stand(
        self, view: str, study: Study, *, ended: int | None = None, report: str | None = None, sampled: int | None = None
    ) -> None:
        """Note some of it, of a study under which the view keeps something (`refer`)."""
        v, values = view_table.c, {"epoch": ended, "state": report, "fence": sampled}
        mine = view_table.update().where(v.view == view, v.study_id == study.id, v.number == PARENT)
        with self._write() as connection:
            connection.execute(mine.values({name: value for name, value in values.items() if value is not None}))

    def forget(self, view: str, study: Study) -> None:
        """Let a view show the study anew from the start."""
        with self._write() as connection:
            connection.execute(view_table.delete().where(view_table.c.view == view, view_table.c.study_id == study.id))
