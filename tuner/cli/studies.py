"""Studies: run, launched, steered, forgotten."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tuner.cli import given, leaders, places
from tuner.cli.shell import HOME, AllowCode, DataPath, Db, File, Home, Name, app, command_line, complain, out, quoted, say
from tuner.errors import BadInput
from tuner.failpoints import reach

if TYPE_CHECKING:
    from types import FrameType

    from tuner.store import Store, Study
    from tuner.worker import Supervisor

SHOWN = 5  # trials at the end of a run
HIGHEST = 2**31 - 1  # priority that a database holds
LAST_PASS = 120  # seconds that MLflow may take to be brought up to date at the end


@app.command()
def run(
    file: File,
    db: Db = HOME,
    data: DataPath = None,
    allow_code: AllowCode = False,
    home: Home = None,
    mlflow: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Show the study in MLflow while it runs.")] = True,
) -> None:
    """Search a study to its end and race the best, or go on with it.

    Ctrl-C saves what runs and stops, a second one stops at once; the same command goes on.
    """
    spec, facts = given.checked(file, data, allow_code=allow_code)
    given.caution(spec)
    from tuner import worker
    from tuner.trial import State

    with places.store(db, create=True) as tables:
        new = spec.name not in {study.name for study in tables.studies()}
        study = tables.launch(spec, given.budget(spec), given.facts(spec, facts, data))
        if study.paused:
            raise BadInput(f"{study.name} is paused; let it go on with: tuner resume {quoted(study.name)}")
        site = places.home(db, home), places.roots(data), places.child_environment()
        try:
            with _tracking(study, db if mlflow else None, site[0]):
                interrupted = _work(tables, study, lambda stage: worker.Supervisor(tables, stage, *site))
        except BadInput as error:
            if new and not any(row.attempts for row in tables.trials(study)):  # nothing has been found that could be lost
                tables.delete(study)
            raise BadInput(f"{file}: {error}") from None
        _summary(tables, study)
        if interrupted:
            counts = [tables.counts(stage) for stage in (study, *tables.stages(study))]
            left = sum(its[State.QUEUED] + its[State.RUNNING] for its in counts)
            out.print(Text(f"interrupted with {left} trials to go; go on with: {command_line()}"), soft_wrap=True)
            raise typer.Exit(130)


@app.command()
def launch(
    files: Annotated[list[Path], typer.Argument(help="Study files (TOML).", metavar="FILE...")],
    db: Db = HOME,
    data: DataPath = None,
    allow_code: AllowCode = False,
    priority: Annotated[
        int | None, typer.Option("--priority", min=-HIGHEST, max=HIGHEST, help="Work on it before studies of a lower one.")
    ] = None,
) -> None:
    """Put studies before the workers: all of these or, when one is wrong, none.

    What is there already stays as it is, so that it may be repeated.
    """
    checked = [given.checked(file, data, allow_code=allow_code) for file in files]
    for spec, _ in checked:
        given.caution(spec)
    reach("launch.checked")
    with places.store(db, create=True) as tables:
        studies = tables.launch_all([(spec, given.budget(spec), given.facts(spec, facts, data)) for spec, facts in checked])
        for study in studies:
            if priority is not None:
                tables.prioritise(study, priority)
            say(f"{study.name}: {study.trials} trials; watch them with: tuner status {quoted(study.name)} --watch")


@app.command()
def pause(name: Name, db: Db = HOME) -> None:
    """Let no worker take trials of a study; those at work are saved and given back."""
    with places.store(db) as tables:
        tables.pause(tables.study(name), paused=True)
    say(f"{name}: paused; go on with: tuner resume {quoted(name)}")


@app.command()
def resume(name: Name, db: Db = HOME) -> None:
    """Let a paused study go on."""
    with places.store(db) as tables:
        tables.pause(tables.study(name), paused=False)
    say(f"{name}: goes on when a worker is free")


@app.command()
def cancel(name: Name, db: Db = HOME) -> None:
    """End a study now: what is queued or running is cancelled, what has ended stays."""
    from tuner.trial import State

    with places.store(db) as tables:
        study = tables.study(name)
        tables.cancel(study, "cancelled by a person")
        cancelled = sum(tables.counts(stage)[State.CANCELLED] for stage in (study, *tables.stages(study)))
    say(f"{name}: {cancelled} trials cancelled; `tuner extend` gives it new ones")


@app.command(context_settings={"ignore_unknown_options": True})  # -5 is a number
def priority(
    name: Name,
    number: Annotated[int, typer.Argument(min=-HIGHEST, max=HIGHEST, help="Higher goes first; 0 at the launch.", metavar="N")],
    db: Db = HOME,
) -> None:
    """Work on a study before those of a lower priority."""
    with places.store(db) as tables:
        tables.prioritise(tables.study(name), number)
    say(f"{name}: priority {number}")


@app.command()
def extend(name: Name, trials: Annotated[int, typer.Option("--trials", min=1, help="How many more.")], db: Db = HOME) -> None:
    """Give a study more trials; its race, if it has one, is run anew after them.

    A grid gets as many as it has points left, a study that has reached its target or is out of hours or patience none. Workers go
    on with it; without any, `tuner run` with its file does.
    """
    from tuner import search

    with places.store(db) as tables:
        study = search.extend(tables, tables.study(name), trials)
    say(f"{name}: {study.trials} trials in all")


@app.command()
def delete(
    name: Name,
    db: Db = HOME,
    home: Home = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Forget a study, in MLflow too."""
    import shutil

    from tuner import track

    with places.store(db) as tables:
        study = tables.study(name)
        if not yes:
            typer.confirm(f"Delete {name} with {study.trials} trials?", abort=True)
        folders = [places.home(db, home) / stage.folder for stage in (study, *tables.stages(study))]
        if places.has_mlflow(db):
            places.use_mlflow_here()
            track.delete(tables, study, places.mlflow_uri(db))
        else:
            tables.delete(study)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    say(f"{name}: deleted")
    if left := [str(folder) for folder in folders if folder.exists()]:
        complain(f"{', '.join(left)}: could not be removed")


def _work(tables: "Store", study: "Study", supervisor: "Callable[[Study], Supervisor]") -> bool:
    """Train until the study and its race have ended; whether it was interrupted. A first Ctrl-C drains, a second ends at once."""
    from tuner.screen import Screen

    interrupts = 0
    at_work: list[Supervisor | Screen] = []

    def interrupt(_number: int, _frame: "FrameType | None") -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts > 1:
            raise KeyboardInterrupt
        for one in at_work:
            one.drain()

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    stage: Study | None = study
    try:
        while stage is not None and not interrupts:
            working = supervisor(stage)
            with Screen(tables, stage, out) as screen:
                at_work[:] = working, screen
                if not interrupts:
                    working.work(screen.tick)
            tables.dismiss(working.worker)
            stage = tables.next(stage)
    except KeyboardInterrupt:
        interrupts += 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return interrupts > 0


@contextmanager
def _tracking(study: "Study", db: str | None, home: Path) -> Iterator[None]:
    """MLflow follows the study in a process of its own; at the end it is given time to catch up."""
    from tuner.track import follow

    if db is None:
        yield
        return
    log = places.home(db) / "logs" / "track.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        tracker = subprocess.Popen(
            [sys.executable, "-m", "tuner.track"], stdin=subprocess.PIPE, stdout=output, stderr=output,
            env=places.mlflow_environment(), start_new_session=True,
        )  # fmt: skip
    assert tracker.stdin is not None
    try:
        order = follow.order(places.url(db), places.mlflow_uri(db), study.name, str(home.resolve()))
        tracker.stdin.write(order)  # not in its command line
        tracker.stdin.flush()
        yield
    finally:
        tracker.stdin.close()
        _catch_up(tracker, log)


def _catch_up(tracker: "subprocess.Popen[bytes]", log: Path) -> None:
    try:
        with out.status("bringing MLflow up to date"):
            code = tracker.wait(LAST_PASS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        tracker.kill()
        code = tracker.wait()
    if code:
        complain(f"MLflow is not up to date (see {log}); nothing is lost: the next run brings it up to date")


def _summary(tables: "Store", study: "Study") -> None:
    """What came out, and where to look."""
    from tuner import race, verdict
    from tuner.trial import State

    study = tables.study(study.name)
    counts = tables.counts(study)
    parts = [f"{count} {state}" for state, count in counts.items() if count]
    out.print(Text(f"{study.name}: {', '.join(parts)}{'; stopped by ' + study.stopped if study.stopped else ''}"), soft_wrap=True)
    if study.paused:
        say(f"it was paused; let it go on with: tuner resume {quoted(study.name)}")
    best = leaders.leaders(tables, study, SHOWN)
    if not best:
        say(f"{leaders.none_yet(study, counts[State.COMPLETE])}; see: tuner status {quoted(study.name)}")
        return
    if study.spec.objective.further:
        say(f"the Pareto front from the best {study.spec.objective.metric} on; all of it: tuner best {quoted(study.name)}")
    out.print(leaders.table(study, best))
    for line in verdict.lines(race.result(tables, study)):
        say(line)
    out.print(Text(f"look further: tuner report {quoted(study.name)}, tuner ui, tuner best {quoted(study.name)}"), soft_wrap=True)
