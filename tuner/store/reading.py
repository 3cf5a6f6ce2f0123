"""What the tables say of trials and epochs."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import sqlalchemy as sa

from tuner.store.database import Database
from tuner.store.tables import Lifetime, Row, Study, decode_metrics, decode_row, epoch_table, trial_table
from tuner.trial import Epoch, State


class Reading(Database):
    """Questions that change nothing."""

    def trials(self, study: Study, *, first: int = 0, states: Iterable[State] = State, limit: int | None = None) -> list[Row]:
        """The trials of a study from number `first` on, in order."""
        c = trial_table.c
        query = sa.select(trial_table).where(c.study_id == study.id, c.number >= first, c.state.in_(list(states)))
        with self._read() as connection:
            return [decode_row(row) for row in connection.execute(query.order_by(c.number).limit(limit))]

    def checkpoints(self) -> list[tuple[State, Path, Path | None]]:
        """The newest checkpoint, and the one before, of every trial of every study that has one, with its state; models too."""
        c = trial_table.c
        query = sa.select(c.state, c.checkpoint, c.previous).where(c.checkpoint.is_not(None))
        with self._read() as connection:
            return [(State(s), Path(newest), Path(old) if old else None) for s, newest, old in connection.execute(query)]

    def leaders(self, study: Study, limit: int) -> list[Row]:
        """The complete trials with the best values, best first; those alone that keep to the study's constraints.

        Of equal ones those that cost less in the further objectives come first, then the lower number.
        """
        c = trial_table.c
        order = c.value.desc() if study.spec.objective.maximise else c.value.asc()
        kept = (c.costs[constraint.cost].as_float() <= constraint.most for constraint in study.spec.constraints)
        query = (
            sa.select(trial_table)
            .where(c.study_id == study.id, c.state == State.COMPLETE, *kept)
            .order_by(order, *(c.costs[name].as_float() for name in study.spec.objective.further), c.number)
        )
        with self._read() as connection:
            return [decode_row(row) for row in connection.execute(query.limit(limit))]

    def recent(self, study: Study, since: float, limit: int) -> list[Row]:
        """The trials that ended after a time, the latest ones, in the order of their end."""
        c = trial_table.c
        query = sa.select(trial_table).where(c.study_id == study.id, c.ended > since)
        with self._read() as connection:
            found = [decode_row(row) for row in connection.execute(query.order_by(c.ended.desc()).limit(limit))]
        return found[::-1]

    def lifetimes(self, study: Study) -> list[Lifetime]:
        """The trials that were begun or have ended, in the order of their numbers."""
        c = trial_table.c
        query = sa.select(c.number, c.state, c.value, c.started, c.ended).where(
            c.study_id == study.id, sa.or_(c.started.is_not(None), c.ended.is_not(None))
        )
        with self._read() as connection:
            found = connection.execute(query.order_by(c.number))
            return [Lifetime(number, State(state), value, started, ended) for number, state, value, started, ended in found]

    def ended_since(self, study: Study, seconds: float) -> int:
        """How many trials ended within the last so many seconds."""
        c = trial_table.c
        query = sa.select(sa.func.count()).where(c.study_id == study.id, c.ended > self._now - seconds)
        with self._read() as connection:
            return int(connection.scalar(query) or 0)

    def counts(self, study: Study) -> dict[State, int]:
        """How many trials are in each state."""
        c = trial_table.c
        query = sa.select(c.state, sa.func.count()).where(c.study_id == study.id).group_by(c.state)
        with self._read() as connection:
            found = {State(state): int(count) for state, count in connection.execute(query)}
        return {state: found.get(state, 0) for state in State}

    def succeeded_elsewhere(self, study: Study, worker: str) -> bool:
        """Whether a trial has ended without failure that another worker trained, at the end at least."""
        c, ends = trial_table.c, (State.COMPLETE, State.PRUNED)
        theirs = sa.exists().where(c.study_id == study.id, c.state.in_(ends), c.epoch > 0, c.owner != worker)
        with self._read() as connection:
            return bool(connection.scalar(sa.select(theirs)))

    def epochs(self, study: Study, numbers: Sequence[int] | None = None, *, after: int = 0) -> dict[int, list[Epoch]]:
        """The epochs of some trials (all by default) behind epoch `after`, by trial number."""
        c = epoch_table.c
        query = sa.select(epoch_table).where(c.study_id == study.id, c.epoch > after)
        if numbers is not None:
            query = query.where(c.number.in_(numbers))
        found: dict[int, list[Epoch]] = {}
        with self._read() as connection:
            for row in connection.execute(query.order_by(c.number, c.epoch)):
                found.setdefault(row.number, []).append(Epoch(row.number, row.epoch, decode_metrics(row.metrics), row.seconds))
        return found

    def epoch_times(self, study: Study, number: int, *, after: int = 0) -> list[tuple[Epoch, float]]:
        """The epochs of one trial behind epoch `after`, each with the time at which it was committed."""
        c = epoch_table.c
        query = sa.select(epoch_table).where(c.study_id == study.id, c.number == number, c.epoch > after).order_by(c.epoch)
        with self._read() as connection:
            return [(Epoch(number, r.epoch, decode_metrics(r.metrics), r.seconds), r.at) for r in connection.execute(query)]
