"""Studies: launched whole or not at all, steered, forgotten."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from tuner.errors import BadInput, StudyChanged, UnknownStudy
from tuner.failpoints import reach
from tuner.space import Space
from tuner.spec import MAX_TRIALS, StudySpec
from tuner.store.database import Database
from tuner.store.tables import Study, decode_study, study_table, trial_table
from tuner.trial import State

ANEW = "write another `name` in the file to begin a new study"


class Studies(Database):
    """The verbs of people."""

    def launch(self, spec: StudySpec, trials: int, facts: Mapping[str, Any], *, now: float | None = None) -> Study:
        """Create the study and the rows of its budget, all or nothing; the study itself when it is there already.

        Raises `StudyChanged` when a study of that name asks another question.
        """
        return self.launch_all([(spec, trials, facts)], now=now)[0]

    def launch_all(
        self, launches: Iterable[tuple[StudySpec, int, Mapping[str, Any]]], *, now: float | None = None
    ) -> list[Study]:
        """Create several studies, each with its trials and facts, as `launch` does: all of them or none."""
        with self._write() as connection:
            studies = [self._launch(connection, *launch, now) for launch in launches]
        reach("launch.committed")
        return studies

    def _launch(
        self, connection: sa.Connection, spec: StudySpec, trials: int, facts: Mapping[str, Any], now: float | None
    ) -> Study:
        insert = self._upsert(study_table).values(
            **numbered(connection), name=spec.name, identity=spec.identity, spec=spec.model_dump_json(), trials=trials,
            created=self._at(now), facts=json.dumps(facts), followed=not spec.final.finalists,
        )  # fmt: skip
        study_id = connection.scalar(insert.on_conflict_do_nothing().returning(study_table.c.id))
        if study_id is not None:
            reach("launch.study")
            _add_rows(connection, study_id, range(trials))
            reach("launch.rows")
        study = decode_study(connection.execute(sa.select(study_table).where(study_table.c.name == spec.name)).one())
        if study.spec.identity != spec.identity:
            raise StudyChanged(_what_changed(study.spec, spec))
        return study

    def study(self, name: str) -> Study:
        """Raises `UnknownStudy`, naming those there are."""
        with self._read() as connection:
            row = connection.execute(_searches().where(study_table.c.name == name)).first()
        if row is None:
            names = ", ".join(study.name for study in self.studies()) or "none"
            raise UnknownStudy(f"there is no study {name!r}; there are: {names}")
        return decode_study(row)

    def studies(self) -> list[Study]:
        """All studies, oldest first."""
        with self._read() as connection:
            return [decode_study(row) for row in connection.execute(_searches().order_by(study_table.c.id))]

    def delete(self, study: Study) -> None:
        """Forget a study with its stages, trials, epochs and the views' records."""
        with self._steering(study) as connection:
            if self.sqlite:
                connection.exec_driver_sql(f"PRAGMA user_version = {_highest(connection)}")
            connection.execute(study_table.delete().where(_all(study)))

    def extend(self, study: Study, trials: int) -> Study:
        """Add rows to the budget; a study that had stopped goes on, and a race that follows it begins anew after that.

        A grid gets as many as it has points left. Raises `BadInput` when there are none, or too many trials.
        """
        points = Space(study.spec).most_trials
        trials, most = int(min(trials, points - study.trials)), int(min(points, MAX_TRIALS))
        if trials < 1:
            raise BadInput(f"--trials: all {most} configurations of the grid have a trial; {ANEW}")
        too_many = BadInput(f"--trials: {study.trials} + {trials} is more than {most}")
        if trials > most:  # perhaps more than a database can count
            raise too_many
        wanted = bool(study.spec.final.finalists)
        with self._write() as connection:
            bigger = (
                study_table.update()
                .where(study_table.c.id == study.id, study_table.c.trials + trials <= most)
                .values(trials=study_table.c.trials + trials, stopped="", followed=not wanted)
                .returning(study_table.c.trials)
            )
            total = connection.scalar(bigger)
            if total is None:
                raise too_many
            _add_rows(connection, study.id, range(total - trials, total))
            connection.execute(study_table.update().where(after(study)).values(followed=True))
            self._end_trials(connection, after(study), "the study was extended", (State.QUEUED, State.RUNNING))
        return self.study(study.name)

    def pause(self, study: Study, *, paused: bool) -> None:
        """Let no trial of the study be claimed, or let them be claimed again."""
        with self._steering(study) as connection:
            connection.execute(study_table.update().where(_all(study)).values(paused=paused))

    def prioritise(self, study: Study, priority: int) -> None:
        """Put the study before those of a lower priority."""
        with self._steering(study) as connection:
            connection.execute(study_table.update().where(_all(study)).values(priority=priority))

    def cancel(self, study: Study, reason: str, *, now: float | None = None) -> None:
        """End the study now: what is queued or runs is cancelled, whoever holds it has lost its lease, and no race follows."""
        with self._steering(study) as connection:
            ended = {"stopped": reason, "paused": False, "followed": True}
            connection.execute(study_table.update().where(_all(study)).values(ended))
            self._end_trials(connection, _all(study), reason, (State.QUEUED, State.RUNNING), now)

    def stop(self, study: Study, reason: str, *, now: float | None = None) -> None:
        """End the study early: what is still queued is cancelled, what runs may finish."""
        with self._write() as connection:
            mine = study_table.c.id == study.id
            connection.execute(study_table.update().where(mine).values(stopped=reason))
            self._end_trials(connection, mine, reason, (State.QUEUED,), now)

    @contextmanager
    def _steering(self, study: Study) -> Iterator[sa.Connection]:
        """A transaction on a study and its stages: it waits for one that is being written, and no other one is meanwhile."""
        with self._write() as connection:
            connection.execute(sa.select(study_table.c.id).where(_all(study)).order_by(study_table.c.id).with_for_update())
            yield connection

    def _end_trials(
        self, connection: sa.Connection, studies: sa.ColumnElement[bool], reason: str, states: Iterable[State],
        now: float | None = None,
    ) -> None:  # fmt: skip
        c = trial_table.c
        connection.execute(
            trial_table.update()
            .where(c.study_id.in_(sa.select(study_table.c.id).where(studies)), c.state.in_(list(states)))
            .values(state=State.CANCELLED, message=reason, ended=self._at(now), fence=c.fence + 1, lease_until=None)
        )

    def waiting(self, *, now: float | None = None) -> list[tuple[Study, int]]:
        """The studies and stages with a trial to claim, and how many of their trials are at work; in the order of their launch.

        One that has ended and is to be followed is among them: who works on it finds that out.
        """
        s, t = study_table.c, trial_table.c
        here, at = t.study_id == s.id, self._at(now)
        queued = sa.exists().where(here, t.state == State.QUEUED)
        lapsed = sa.exists().where(here, t.state == State.RUNNING, t.lease_until < at)
        running = sa.select(sa.func.count()).where(here, t.state == State.RUNNING, t.lease_until >= at).scalar_subquery()
        due = sa.and_(~s.followed, ~sa.exists().where(here, t.state.in_([State.QUEUED, State.RUNNING])))
        query = sa.select(study_table, running.label("running")).where(~s.paused, sa.or_(queued, lapsed, due)).order_by(s.id)
        with self._read() as connection:
            return [(decode_study(row), int(row.running)) for row in connection.execute(query)]


def _searches() -> sa.Select[Any]:
    return sa.select(study_table).where(study_table.c.origin.is_(None))


def after(study: Study) -> sa.ColumnElement[bool]:
    """The stages that follow a study."""
    s, before = study_table.c, study_table.alias()
    races = sa.select(before.c.id).where(before.c.origin == study.id)
    return sa.or_(s.origin == study.id, s.origin.in_(races))


def _all(study: Study) -> sa.ColumnElement[bool]:
    """A study with the stages that follow it."""
    return sa.or_(study_table.c.id == study.id, after(study))


def numbered(connection: sa.Connection) -> Mapping[str, int]:
    """The number of a new study or stage where the database would choose that of a deleted one, which workers may still be on."""
    return {"id": _highest(connection) + 1} if connection.dialect.name == "sqlite" else {}


def _highest(connection: sa.Connection) -> int:
    """The highest number that a study or stage has had in a SQLite file, whose `user_version` holds that of the deleted ones."""
    deleted = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    return max(int(deleted), connection.scalar(sa.select(sa.func.max(study_table.c.id))) or 0)


def _add_rows(connection: sa.Connection, study_id: int, numbers: Iterable[int]) -> None:
    rows = [{"study_id": study_id, "number": number, "state": State.QUEUED} for number in numbers]
    connection.execute(trial_table.insert(), rows)


def _what_changed(old: StudySpec, new: StudySpec) -> str:
    """One line: which entries differ, and what to do."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    entries = [
        f"{table}.{key}" if key else table
        for table in {**before, **after}
        if before.get(table) != after.get(table)
        for key in (sorted({*before[table], *after[table]}) if isinstance(after.get(table), dict) else [""])
        if not key or before[table].get(key) != after[table].get(key)
    ]
    return (
        f"the study {old.name!r} exists and differs in {', '.join(entries)}; {ANEW}, "
        "`tuner extend` to give this one more trials, or `tuner delete` to forget it"
    )
