"""The only door to MLflow: it forwards what the store has committed, in a process of its own. Training never calls it.

MLflow is a view: it can be late, be away, be deleted, and is brought up to date by showing the store's rows again. Each study is
an experiment with one parent run, and each trial that has parameters is one run below it, whoever trained it and however often.
The tag `tuner.study` says of which launch of a study an experiment or a run is; the name alone does not.

::

    trial                MLflow     end
    queued, running      RUNNING    -          again after an interruption; the tag `attempts` counts
    complete, pruned     FINISHED   stored     the tags `state` and `pruned_at` tell them apart
    failed               FAILED     stored     the tags `failure` and `message` say why
    cancelled            KILLED     stored     a trial that never had parameters has no run
    all of a study       FINISHED   the last   the parent run; RUNNING before, and again after `tuner extend`
    all of a race        FINISHED   the last   the run `final race` below the parent run; below that one for each finalist on each
                                               seed, and one for the winner's score on the test split

The run of a study carries its file, where it was launched (the tags `version.…`, `commit`, `machine`, `data.sha256`), what its
trials have come to as curves (`counters`), and once its search, and then its race, has ended the report with its plots (`files`).
The experiment has a view of the trials, with table and charts, in the menu of its page (`prepared`). How busy its workers were is
in runs of their own (`workers`).

Metrics carry the time and the epoch under which they were committed, so that what is sent twice is there once. An infinite metric
is sent as NaN with the tag `infinite`, because MLflow would read it back as 1.8e308. Longer texts than MLflow takes are cut.

When a study with several objectives is over, the runs on its Pareto front have the tag `pareto`, and its parent run lists
them as a table.

The winner that was scored is logged to the run of its race and registered under the study's name, with the alias `champion`
(`champion`, where the workers' home can be read). A version with the SHA-256 of its file is there once.

How far a view has come is noted in the store after MLflow has answered. A run that was made and not noted, because of a crash
between the two, is found again by its tags. A run or experiment that somebody deleted in MLflow comes back when there is news.
"""

import hashlib
import json
import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

from tuner import pareto, race
from tuner.errors import BadInput
from tuner.failpoints import reach
from tuner.race import Result
from tuner.spec import MAX_TRIALS
from tuner.store import PARENT, Alone, Behind, Row, Stage, Store, Study, mlflow_address
from tuner.toml import study_file
from tuner.track import account, counters, prepared, told
from tuner.track.door import IDENTITY, TAG_LENGTH, Beside, Door, Found, Point, Refused, Unreachable, sqlite_file
from tuner.track.files import Drawn, Files
from tuner.track.told import cut, ms
from tuner.track.workers import Workers
from tuner.trial import State

ENVIRONMENT: Mapping[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_TRUNCATE_LONG_VALUES": "false",  # we cut them, and show that we did
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # a repeated `create run` would make two; we wait and look first
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a server of ours runs no jobs, and ends in a second, not in two minutes
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
}
"""What the environment of a process that uses MLflow must hold: one that calls this module, and an MLflow server."""

LEADERBOARD, FRONT = "leaderboard.json", "pareto_front.json"
NOTE_EVERY = 50  # trials after which progress is noted: what a crash may send twice

STATUS: Mapping[State, str] = {
    State.QUEUED: "RUNNING",
    State.RUNNING: "RUNNING",
    State.COMPLETE: "FINISHED",
    State.PRUNED: "FINISHED",
    State.FAILED: "FAILED",
    State.CANCELLED: "KILLED",
}

logger = logging.getLogger(__name__)


@dataclass
class Place:
    """Where a study stands in MLflow under its identity, and what this process knows of it.

    `runs` are those that MLflow has, by trial number (None: not looked up), `carried` is the status and the tags of runs that go
    on, `summary` and `status` are what the parent run shows, `front` are the trials whose runs are marked (None: not known).
    """

    identity: str
    experiment: str
    parent: str
    runs: dict[int, Found] | None = None
    carried: dict[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)
    summary: tuple[object, ...] | None = None
    status: str = ""
    front: Sequence[int] | None = None


# What is shown ------------------------------------------------------------


def view(store: Store, uri: str) -> str:
    """The name of a view in the store: one for each MLflow, so that another one is shown everything from the start."""
    parts = urlsplit(uri)
    where = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
    if (file := sqlite_file(uri)) is not None:
        folder = Path(store.url.database or "").parent
        where = os.path.relpath(file, folder) if store.sqlite else f"{socket.gethostname()} {file}"
    elif not store.sqlite and uri == mlflow_address(store.url):
        where = "beside"  # whatever this host calls the database's host
    return f"mlflow-{hashlib.sha256(where.encode()).hexdigest()[:12]}"


# Forwarding ------------------------------------------------------------


def _never() -> bool:
    return False


class Forwarder:
    """Brings one MLflow up to date with one store; with the `home` of workers it shows files too: reports, models of winners."""

    def __init__(self, store: Store, uri: str, home: Path | None = None) -> None:
        self._store = store
        self._view = view(store, uri)
        self._door = Door(uri)
        self._files = Files(store, self._door, uri, self._view, home) if home is not None else None
        self._workers = Workers(store, self._door, self._view)
        self._places: dict[int, Place] = {}
        self._before: dict[int, Study] = {}  # the study or stage that a stage follows, by the id of the stage
        self._aside: set[tuple[int, int]] = set()
        self._alone = Alone(store, self._view)
        self._reached = True  # whether MLflow answered the last time

    def close(self) -> None:
        """Let other processes forward."""
        self._alone.close()

    def forward(self, name: str | None = None, *, stop: Callable[[], bool] = _never) -> int:
        """Show what is new in one study, or in all; returns how many trials had news. `stop` is asked before each trial
        and each worker.

        What another process forwards at this time is left to it. Raises `Unreachable`; the next call goes on from there.
        """
        studies = self._store.studies() if name is None else [self._store.study(name)]
        try:
            shown = sum(self._follow_all(study, stop) for study in studies if self._mine(study))
            self._reached = True
            return shown
        except Unreachable:
            self._reached = False
            self._places.clear()  # what was asked for last may have happened or not
            raise

    def rebuild(self, study: Study) -> int:
        """Show a study anew from the start; what MLflow has already stays as it is, what is missing or was deleted comes back."""
        stages = [study, *self._store.stages(study)]
        if self._files is not None:
            self._files.forget(stages)
        self._workers.forget()
        for stage in stages:
            self._store.forget(self._view, stage)
            self._places.pop(stage.id, None)
            self._aside = {(where, number) for where, number in self._aside if where != stage.id}
        return self.forward(study.name)

    def _mine(self, study: Study) -> bool:
        """Whether this process is the only one that forwards the study; it stays so until the process ends."""
        return (study.id, PARENT) not in self._aside and self._alone.has(study.id)

    def _follow_all(self, study: Study, stop: Callable[[], bool]) -> int:
        """A study and its stages, each of which stands in MLflow below the one that it follows."""
        stages = self._store.stages(study)
        line = {stage.id: stage for stage in (study, *stages)}
        self._before |= {stage.id: line[stage.origin] for stage in stages if stage.origin is not None}
        with ExitStack() as stack:
            # Drawn while the last trials are shown; not for an MLflow that was away, which would have it drawn at every try.
            drawn = stack.enter_context(self._drawn(study)) if self._reached else None
            shown = sum(self._follow(stage, stop) for stage in line.values())
            if (study.id, PARENT) not in self._aside:
                place = self._place(study)
                beside = Beside(place.experiment, place.parent)
                self._workers.show(study, line.values(), beside, stop)
                drawn = drawn or stack.enter_context(self._drawn(study))
                if drawn is not None and self._files is not None and not stop():
                    self._files.report(drawn, beside, stop)
        return shown

    def _drawn(self, study: Study) -> AbstractContextManager[Drawn | None]:
        """The report of a study that has ended, being drawn."""
        return nullcontext() if self._files is None else self._files.drawn(study, race.result(self._store, study))

    def _follow(self, study: Study, stop: Callable[[], bool]) -> int:
        behind = self._store.behind(self._view, study, MAX_TRIALS)
        news = [item for item in behind if (study.id, item.row.number) not in self._aside]
        shown = 0
        try:
            self._summarise(study)
            for start in range(0, len(news), NOTE_EVERY):
                shown += self._show_some(study, news[start : start + NOTE_EVERY], stop)
                self._summarise(study)
            if study.spec.objective.further:
                self._mark_front(study, self._place(study), news=shown > 0)
            if self._files is not None and study.stage is Stage.TEST and not stop():
                self._crown(self._files, study, stop)
        except Refused as error:
            self._aside.add((study.id, PARENT))
            logger.error("study %s is left alone until the next start: %s", study.name, error)
        return shown

    def _show_some(self, study: Study, news: Iterable[Behind], stop: Callable[[], bool]) -> int:
        done: list[tuple[Row, str]] = []
        try:
            for item in news:
                if stop():
                    break
                if (run := self._show(study, item)) is not None:
                    done.append((item.row, run))
        finally:
            if done:
                reach("forward.answered")
                self._store.shown(self._view, study, done)
        return len(done)

    def _show(self, study: Study, item: Behind) -> str | None:
        """The run that shows the trial; None when MLflow does not take it even anew."""
        try:
            return self._write(study, self._place(study), item)
        except Refused as error:
            logger.warning("study %s, trial %d is shown anew: %s", study.name, item.row.number, error)
        place = self._reopen(study)
        try:
            return self._write(study, place, replace(item, reference=None, shown=0))
        except Refused as error:
            self._aside.add((study.id, item.row.number))
            logger.error("study %s, trial %d is left out until the next start: %s", study.name, item.row.number, error)
            return None

    def _write(self, study: Study, place: Place, item: Behind) -> str:
        row, tags, status = item.row, told.trial_tags(study, place.identity, place.parent, item.row), STATUS[item.row.state]
        points, infinite = self._news(study, item)
        if infinite:
            tags["infinite"] = infinite
        run = item.reference or self._known(place, row.number)
        if run is None:
            run = self._door.create(place.experiment, told.run_name(study, row), ms(row.started or study.created), tags)
            self._runs(place)[row.number] = Found(run, deleted=False)
            place.carried[run] = ("RUNNING", tags)
        had_status, had_tags = place.carried.get(run, ("", {}))
        params = {} if item.reference else told.trial_params(row)
        self._door.log(run, points, params, dict(tags.items() - had_tags.items()))
        if had_status != status:
            self._door.update(run, status, ms(row.ended) if row.ended is not None else None)
        if row.state.ended:
            place.carried.pop(run, None)
        else:
            place.carried[run] = (status, tags)
        return run

    def _news(self, study: Study, item: Behind) -> tuple[list[Point], str]:
        """The points that the view does not show yet, and which of them were infinite."""
        row = item.row
        if row.epoch <= item.shown:
            return told.end_points(study, row), ""
        points, infinite = told.curves(self._store.epoch_times(study, row.number, after=item.shown))
        return points + told.end_points(study, row), infinite

    def _runs(self, place: Place) -> dict[int, Found]:
        if place.runs is None:
            place.runs = self._door.runs(place.experiment, place.identity)
        return place.runs

    def _known(self, place: Place, number: int) -> str | None:
        """The run of a trial (or the parent run) that MLflow has although it was not noted."""
        found = self._runs(place).get(number)
        if found is None:
            return None
        if found.deleted:
            self._door.restore(found.run)
        return found.run

    # The study itself ------------------------------------------------------------

    def _place(self, study: Study) -> Place:
        if study.id not in self._places:
            reference = self._store.reference(self._view, study)
            experiment, _, parent = (reference or "").partition(" ")
            self._places[study.id] = Place(study.identity, experiment, parent) if reference else self._open(study)
        return self._places[study.id]

    def _open(self, study: Study) -> Place:
        """Find the study's experiment and its parent run, or make them; a race has its run below that of its study."""
        own, tags = study.identity, {IDENTITY: study.identity, "study": study.name}
        before = self._place(self._before[study.id]) if study.id in self._before else None
        if before is None:
            experiment, made = self._door.experiment(study.name, own)
            self._door.mark(experiment, prepared.view(study.spec, ms(study.created)))
            place = Place(own, experiment, "", runs={} if made else None)
        else:
            place = Place(own, before.experiment, before.parent)
            tags |= {"mlflow.parentRunId": before.parent, "stage": study.stage.value}
        if study.stage is Stage.TEST:
            self._store.refer(self._view, study, f"{place.experiment} {place.parent}")
            return place
        name = study.name if before is None else "final race"
        tags |= told.launch_tags(study)
        place.parent = self._known(place, PARENT) or self._door.create(place.experiment, name, ms(study.created), tags)
        self._door.log(place.parent, [], told.study_params(study), {})
        self._door.attach(place.parent, "study.toml", study_file(study.spec))
        self._store.refer(self._view, study, f"{place.experiment} {place.parent}")
        return place

    def _reopen(self, study: Study) -> Place:
        """Look again where the study stands, after something was refused that had been there."""
        self._store.study(study.name)  # one that was deleted here shall not come back there
        if study.id in self._before:
            self._reopen(self._before[study.id])
        before = self._places.pop(study.id)
        place = self._open(study)
        if (place.experiment, place.parent) != (before.experiment, before.parent):
            self._store.forget(self._view, study)
            self._store.refer(self._view, study, f"{place.experiment} {place.parent}")
        self._places[study.id] = place
        return place

    def _summarise(self, study: Study) -> None:
        """Let the parent run say how far the study is; that of a race speaks for the winner's score too."""
        if study.stage is Stage.TEST:
            study = self._before[study.id]
        place, counts = self._place(study), self._store.counts(study)
        found = race.result(self._store, self._before.get(study.id, study))
        if study.stage is Stage.RACE and found is not None and found.stage != study.id:
            found = None  # this race is one of before the study was extended
        summary = (counts, study.trials, study.stopped, found)
        if place.summary == summary:
            return
        try:
            self._write_summary(study, place, counts, found)
        except Refused as error:
            logger.warning("study %s is shown anew: %s", study.name, error)
            place = self._reopen(study)
            self._write_summary(study, place, counts, found)
        place.summary = summary

    def _crown(self, files: Files, study: Study, stop: Callable[[], bool]) -> None:
        """Register the winner that was scored in this stage."""
        first, place = study, self._place(study)
        while first.id in self._before:
            first = self._before[first.id]
        trial = self._before[study.id].facts["finalists"][study.facts["finalist"]]
        files.crown(study, first, trial, Beside(place.experiment, place.parent), stop)

    def _write_summary(self, study: Study, place: Place, counts: Mapping[State, int], found: Result | None) -> None:
        lifetimes, ended = self._store.lifetimes(study), sum(count for state, count in counts.items() if state.ended)
        at = ms(max((one.ended for one in lifetimes if one.ended is not None), default=study.created))
        tags = {state.value: str(count) for state, count in counts.items()}
        tags |= {"trials": str(study.trials), "stopped": cut(study.stopped, TAG_LENGTH)}
        for best in self._store.leaders(study, 1):
            tags["best_trial"] = str(best.number)
        raced, winner = told.winner(study, found, at)
        shown, _, _ = self._store.standing(self._view, study)
        points = counters.points(lifetimes, study.trials, shown, maximise=study.spec.objective.maximise)
        self._door.log(place.parent, points + winner, {}, tags | raced)
        self._store.stand(self._view, study, ended=ended)
        over = ended == sum(counts.values()) and (study.followed if found is None else found.over)
        status = "FINISHED" if over else "RUNNING"
        if place.status != status:
            if over and study.stage is Stage.SEARCH:
                self._write_account(study, place, counts, found)
            self._door.update(place.parent, status, at if status == "FINISHED" else None)
            place.status = status

    def _write_account(self, study: Study, place: Place, counts: Mapping[State, int], found: Result | None) -> None:
        leaders = self._store.leaders(study, account.BEST)
        description = account.description(study, counts, leaders, found)
        tables = {LEADERBOARD: account.leaderboard(study, leaders)}
        if study.spec.objective.further:
            front = pareto.front(study.spec, self._store.trials(study, states=[State.COMPLETE]))
            description += account.of_front(study, front)
            tables[FRONT] = account.leaderboard(study, front)
        for name, content in tables.items():
            self._door.attach(place.parent, name, content)
        listed = {"mlflow.loggedArtifacts": json.dumps([{"path": name, "type": "table"} for name in tables])}
        self._door.log(place.parent, [], {}, {"mlflow.note.content": cut(description, TAG_LENGTH), **listed})

    def _mark_front(self, study: Study, place: Place, *, news: bool) -> None:
        """Tag the runs on the front of a study that is over, and those that were on it before it was extended as left behind."""
        if place.status != "FINISHED" or (place.front is not None and not news):
            return
        place.front = [row.number for row in pareto.front(study.spec, self._store.trials(study, states=[State.COMPLETE]))]
        marked = self._door.tags(place.parent).get("pareto_front", "")
        before = {int(number) for number in marked.split(", ") if number.isdigit()}
        for number in sorted(before | set(place.front)):
            if (run := self._known(place, number)) is not None:
                self._door.log(run, [], {}, {"pareto": str(number in place.front).lower()})
        self._door.log(place.parent, [], {}, {"pareto_front": cut(", ".join(map(str, place.front)), TAG_LENGTH)})


def prepare(uri: str) -> None:
    """Make or renew MLflow's own tables, where there is a database and not a server."""
    if not uri.startswith("http"):
        Door(uri)


def ask(address: str) -> None:
    """Put a query to an MLflow server that its database must answer: it calls itself healthy without one.

    Raises `Unreachable`, `BadInput`.
    """
    if urlsplit(address).scheme not in ("http", "https"):
        raise BadInput(f"{address}: not an address of MLflow; write http://HOST:PORT")
    try:
        with urlopen(f"{address.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1", timeout=10) as answer:
            json.load(answer)
    except (OSError, ValueError) as error:
        raise Unreachable(f"MLflow at {address} does not answer: {error}") from None


def lag(store: Store, study: Study, uri: str) -> int:
    """How many trials this MLflow does not show as they are."""
    return sum(len(store.behind(view(store, uri), stage, MAX_TRIALS)) for stage in (study, *store.stages(study)))


def delete(store: Store, study: Study, uri: str) -> None:
    """Forget a study here and in MLflow, where its name is free again.

    Raises `Unreachable`, before anything is deleted when MLflow does not answer from the start.
    """
    door = Door(uri)
    door.find(study.identity)
    store.delete(study)  # first, so that a tracker that is at work does not show it again
    experiment = door.find(study.identity)
    if experiment is not None:
        door.trash(experiment, f"{study.name} (deleted {study.identity})")
    store.forget(view(store, uri), study)
