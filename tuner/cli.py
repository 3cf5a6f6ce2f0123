"""The command line: argv → one call → text and an exit code. The only place that reads the environment.

Exit codes: 0 done; 1 the service cannot go on; 2 bad input, nothing was created; 130 interrupted, to be continued.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tuner.errors import BadInput, TunerError

if TYPE_CHECKING:
    from types import FrameType

    from tuner.data import Facts
    from tuner.spec import StudySpec
    from tuner.store import Row, Store, Study
    from tuner.worker import Supervisor

HOME = ".tuner"
LAST_PASS = 120  # seconds that MLflow may take to be brought up to date at the end
THREADS = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "1"}

app = typer.Typer(
    help="Tune Keras networks: a study file goes in, a reviewed winner comes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console(highlight=False)

File = Annotated[Path, typer.Argument(help="The study file (TOML).", metavar="FILE")]
Name = Annotated[str, typer.Argument(help="The study's name.", metavar="STUDY")]
Db = Annotated[
    str,
    typer.Option("--db", envvar="TUNER_DB", help="A folder for SQLite files, or postgresql://USER@HOST/NAME.", metavar="WHERE"),
]
DataPath = Annotated[str | None, typer.Option("--data", help="Take the rows from this path instead.", metavar="PATH")]
AllowCode = Annotated[bool, typer.Option("--allow-code", help="Let the study file name a Python function to run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def run(
    file: File,
    db: Db = HOME,
    data: DataPath = None,
    allow_code: AllowCode = False,
    mlflow: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Show the study in MLflow while it runs.")] = True,
) -> None:
    """Search a study to its end, or go on with it.

    Ctrl-C saves what runs and stops, a second one stops at once; the same command goes on.
    """
    spec, facts = _checked(file, data, allow_code=allow_code)
    from tuner import explain, worker
    from tuner.trial import State

    for caution in explain.cautions(spec):
        _complain(f"caution: {caution}")
    with _store(db, create=True) as tables:
        new = spec.name not in {study.name for study in tables.studies()}
        study = tables.launch(spec, _budget(spec), _facts(facts))
        supervisor = worker.Supervisor(tables, study, _home(db), _roots(data), _child_environment())
        try:
            interrupted = _work(supervisor, tables, study, db if mlflow else None)
        except BadInput as error:
            if new:
                tables.delete(study)
            raise BadInput(f"{file}: {error}") from None
        _summary(tables, study)
        if interrupted:
            counts = tables.counts(study)
            left = counts[State.QUEUED] + counts[State.RUNNING]
            out.print(Text(f"interrupted with {left} trials to go; go on with: {_command_line()}"), soft_wrap=True)
            raise typer.Exit(130)


@app.command()
def validate(file: File, data: DataPath = None, allow_code: AllowCode = False, as_json: AsJson = False) -> None:
    """Say what a study file means, or what is wrong.

    Nothing is created.
    """
    spec, facts = _checked(file, data, allow_code=allow_code)
    from tuner import explain

    meaning = explain.meaning(spec, facts, _budget(spec))
    if as_json:
        _print_json(meaning)
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for key, value in meaning.items():
        if key == "space":
            for line in explain.space_lines(spec):
                table.add_row("search", Text(line))
        else:
            table.add_row(key, Text(str(value)))
    out.print(table)


@app.command("list")
def list_studies(db: Db = HOME, as_json: AsJson = False) -> None:
    """Show all studies and their progress."""
    with _store(db) as tables:
        rows = [_progress(tables, study) for study in tables.studies()]
    if as_json:
        _print_json(rows)
        return
    if not rows:
        out.print("no studies yet; begin with: tuner run FILE")
        return
    table = Table(box=None, header_style="dim", padding=(0, 2))
    for column in ("study", "state", "ended", "complete", "pruned", "failed", "best"):
        table.add_column(column, no_wrap=column != "study", overflow="fold")
    for row in rows:
        ended = f"{row['ended']}/{row['trials']}"
        cells = [row["study"], row["state"], ended, row["complete"], row["pruned"], row["failed"], _number(row["best"])]
        table.add_row(*(Text(str(cell)) for cell in cells))
    out.print(table)


@app.command()
def status(name: Name, db: Db = HOME, as_json: AsJson = False) -> None:
    """Say where a study stands, and why trials failed."""
    from tuner import track
    from tuner.trial import State

    with _store(db) as tables:
        study = tables.study(name)
        failed = tables.trials(study, states=[State.FAILED])
        running = tables.trials(study, states=[State.RUNNING])
        progress: dict[str, Any] = {
            **_progress(tables, study),
            "stopped": study.stopped,
            "not_yet_in_mlflow": track.lag(tables, study, _mlflow_uri(db)),
            "running_trials": [{"trial": r.number, "epoch": r.epoch, "attempts": r.attempts, "owner": r.owner} for r in running],
            "failures": [{"trial": r.number, "kind": r.failure, "message": r.message} for r in failed],
        }
    if as_json:
        _print_json(progress)
        return
    for key, value in progress.items():
        lines = value if isinstance(value, list) else [value]
        for line in lines:
            plain = _number(line) if isinstance(line, float) else str(line)
            text = "  ".join(f"{k} {v}" for k, v in line.items() if v is not None) if isinstance(line, dict) else plain
            out.print(Text.assemble((f"{key:<18}", "bold"), text), soft_wrap=True)


@app.command()
def best(
    name: Name,
    db: Db = HOME,
    top: Annotated[int, typer.Option("--top", min=1, help="How many to show.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Show the best configurations so far."""
    with _store(db) as tables:
        study = tables.study(name)
        leaders = tables.leaders(study, top)
    if not leaders:
        raise BadInput(f"{name}: no trial has completed yet")
    if as_json:
        _print_json([_leader(row, study) for row in leaders])
        return
    for row in leaders:
        out.print(Text(f"trial {row.number}  {study.spec.objective.metric} {_number(row.value)}  ({row.parameters:,} weights)"))
        for key, value in (row.params or {}).items():
            out.print(Text(f"  {key} = {json.dumps(value)}"), soft_wrap=True)


@app.command()
def report(
    name: Name,
    db: Db = HOME,
    folder: Annotated[Path | None, typer.Option("--out", help="Where to write; default: NAME.report", metavar="FOLDER")] = None,
) -> None:
    """Write an HTML page with plots, and PNGs."""
    from tuner import review

    with _store(db) as tables:
        study = tables.study(name)
        target = folder or Path(f"{review.file_name(name)}.report")
        out.print(Text(str(review.report(tables, study, target))), soft_wrap=True)


@app.command()
def ui(
    db: Db = HOME,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="On which port of this machine.")] = 5000,
) -> None:
    """Serve MLflow; Ctrl-C ends it."""
    home = _home(db)
    if not (home / "mlflow.db").exists():
        raise BadInput(f"--db: there is no MLflow database in {home}; it is made by: tuner run FILE")
    out.print(f"MLflow: http://127.0.0.1:{port}", soft_wrap=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", _mlflow_uri(db), "--artifacts-destination", str((home / "mlartifacts").resolve())]
    server = subprocess.Popen(command, env={**os.environ, **_mlflow_environment()})
    try:
        raise typer.Exit(server.wait())
    except KeyboardInterrupt:
        server.wait()


@app.command()
def extend(name: Name, trials: Annotated[int, typer.Option("--trials", min=1, help="How many more.")], db: Db = HOME) -> None:
    """Give a study more trials.

    `tuner run` with its file then goes on.
    """
    with _store(db) as tables:
        study = tables.extend(tables.study(name), trials)
    out.print(Text(f"{name}: {study.trials} trials in all; go on with: tuner run FILE"), soft_wrap=True)


@app.command()
def delete(name: Name, db: Db = HOME, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Forget a study, in MLflow too."""
    import shutil

    from tuner import track

    with _store(db) as tables:
        study = tables.study(name)
        if not yes:
            typer.confirm(f"Delete {name} with {study.trials} trials?", abort=True)
        tables.delete(study)  # first, so that a tracker that is at work does not show it again
        if os.environ.get("TUNER_MLFLOW") or (_home(db) / "mlflow.db").exists():
            os.environ.update(_mlflow_environment())
            track.remove(tables, study, _mlflow_uri(db))
        shutil.rmtree(_home(db) / "checkpoints" / str(study.id), ignore_errors=True)
    out.print(Text(f"{name}: deleted"))


@app.command()
def optimizers(as_json: AsJson = False) -> None:
    """Show the optimizers, their ranges and sources."""
    from tuner import explain

    known = explain.optimizers()
    if as_json:
        _print_json(known)
        return
    out.print(explain.listing(known))


@app.command()
def doctor(db: Db = HOME, as_json: AsJson = False) -> None:
    """Check what this machine has and lacks."""
    from tuner import doctor as checks

    findings = checks.examine(_url(db), _home(db), _roots(None), _child_environment())
    if as_json:
        _print_json([finding.__dict__ for finding in findings])
    else:
        for finding in findings:
            mark = ("ok  ", "green") if finding.good else ("BAD ", "bold red")
            out.print(Text.assemble(mark, f"{finding.what}: {finding.found}"), soft_wrap=True)
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


# Working on a study ------------------------------------------------------------


def _work(supervisor: "Supervisor", tables: "Store", study: "Study", db: str | None) -> bool:
    """Train until the study has ended; whether it was interrupted. A first Ctrl-C drains, a second ends at once."""
    from tuner.screen import Screen

    interrupts = 0

    with _tracking(study, db), Screen(tables, study, out) as screen:

        def interrupt(_number: int, _frame: "FrameType | None") -> None:
            nonlocal interrupts
            interrupts += 1
            if interrupts > 1:
                raise KeyboardInterrupt
            supervisor.drain()
            screen.drain()

        before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            supervisor.work(screen.tick)
        except KeyboardInterrupt:
            interrupts += 1
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return interrupts > 0


@contextmanager
def _tracking(study: "Study", db: str | None) -> Iterator[None]:
    """MLflow follows the study in a process of its own; at the end it is given time to catch up."""
    if db is None:
        yield
        return
    log = _home(db) / "logs" / "track.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tuner.track", "--db", _url(db), "--mlflow", _mlflow_uri(db), "--study", study.name]
    with log.open("ab") as output:
        tracker = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output,
            env={**os.environ, **_mlflow_environment()}, start_new_session=True,
        )  # fmt: skip
    try:
        yield
    finally:
        assert tracker.stdin is not None
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
        _complain(f"MLflow is not up to date (see {log}); nothing is lost: the next run brings it up to date")


def _summary(tables: "Store", study: "Study") -> None:
    """What came out, and where to look."""
    study = tables.study(study.name)
    counts = tables.counts(study)
    parts = [f"{count} {state}" for state, count in counts.items() if count]
    out.print(Text(f"{study.name}: {', '.join(parts)}{'; stopped by ' + study.stopped if study.stopped else ''}"), soft_wrap=True)
    leaders = tables.leaders(study, 5)
    if not leaders:
        out.print(Text(f"no trial completed; see: tuner status {_quoted(study.name)}"), soft_wrap=True)
        return
    out.print(_leaderboard(study, leaders))
    out.print(
        Text(f"look further: tuner report {_quoted(study.name)}, tuner ui, tuner best {_quoted(study.name)}"), soft_wrap=True
    )


def _leaderboard(study: "Study", leaders: "list[Row]") -> Table:
    from tuner.screen import parameters

    table = Table(box=None, header_style="dim", padding=(0, 1), expand=True)
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column(study.spec.objective.metric, justify="right", no_wrap=True)
    table.add_column("weights", justify="right", no_wrap=True)
    table.add_column("parameters", ratio=1, overflow="fold")
    for row in leaders:
        table.add_row(str(row.number), _number(row.value), f"{row.parameters:,}", Text(parameters(row.params)))
    return table


# Reading what was given ------------------------------------------------------------


def _checked(file: Path, data: str | None, *, allow_code: bool) -> "tuple[StudySpec, Facts]":
    """The study and what is known of its data, or `BadInput` with file and key."""
    from tuner import data as sources
    from tuner import family, space
    from tuner import spec as specs

    spec = specs.load(file, data=data)
    try:
        if spec.model.is_code and not allow_code:
            raise BadInput(f"model.name: {spec.model.name} is code; allow it to run with --allow-code")
        facts = sources.facts(spec.data, _roots(data))
        specs.check_task(spec, facts.task)
        rows = sources.training_rows(facts.rows, spec.data)
        family.check(family.Family(space.Space(spec), facts.input_shape, facts.outputs, rows))
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None
    return spec, facts


def _budget(spec: "StudySpec") -> int:
    """How many trials there will be: a grid ends when it is searched."""
    from tuner.space import Space

    return int(min(spec.budget.trials, Space(spec).size)) if spec.sampler.name == "grid" else spec.budget.trials


def _facts(facts: "Facts") -> dict[str, Any]:
    return {"rows": facts.rows, "input_shape": list(facts.input_shape), "classes": facts.classes}


# Where things are ------------------------------------------------------------


def _home(db: str) -> Path:
    """The folder for checkpoints, logs and SQLite files."""
    return Path(HOME) if "://" in db else Path(db)


def _url(db: str) -> str:
    return db if "://" in db else f"sqlite:///{(Path(db) / 'tuner.db').resolve()}"


def _mlflow_uri(db: str) -> str:
    return os.environ.get("TUNER_MLFLOW") or f"sqlite:///{(_home(db) / 'mlflow.db').resolve()}"


def _roots(data: str | None) -> list[Path]:
    """The folders that data may lie in: here, what `TUNER_DATA` lists, and what `--data` names."""
    listed = [Path(part) for part in os.environ.get("TUNER_DATA", "").split(os.pathsep) if part]
    return [Path.cwd(), *listed, *([Path(data)] if data and ("/" in data or Path(data).exists()) else [])]


def _child_environment() -> dict[str, str]:
    """What the training child inherits: everything but where the database is."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("TUNER_DB", "PG"))}
    return {**THREADS, **mine}


def _mlflow_environment() -> Mapping[str, str]:
    from tuner import track

    return track.ENVIRONMENT


@contextmanager
def _store(db: str, *, create: bool = False) -> "Iterator[Store]":
    """The tables, at the version that this code needs; a SQLite file is made by `run` only."""
    from tuner.store import Store

    if not create and "://" not in db and not (Path(db) / "tuner.db").exists():
        raise BadInput(f"--db: there are no studies in {db}; begin with: tuner run FILE")
    store = Store(_url(db))
    try:
        store.migrate()
        yield store
    finally:
        store.close()


# Saying it ------------------------------------------------------------


def _progress(tables: "Store", study: "Study") -> dict[str, Any]:
    from tuner.trial import State, ended

    counts = tables.counts(study)
    done = ended(counts)
    leaders = tables.leaders(study, 1)
    running = counts[State.RUNNING] > 0
    return {
        "study": study.name,
        "state": "ended" if done == study.trials else "running" if running else "waiting",
        "trials": study.trials,
        "ended": done,
        **{str(state): count for state, count in counts.items()},
        "objective": study.spec.objective.metric,
        "best": leaders[0].value if leaders else None,
        "best_trial": leaders[0].number if leaders else None,
    }


def _leader(row: "Row", study: "Study") -> dict[str, Any]:
    return {"trial": row.number, study.spec.objective.metric: row.value, "weights": row.parameters, "params": row.params}


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _quoted(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").replace(".", "").isalnum() else f"'{name}'"


def _command_line() -> str:
    return " ".join(["tuner", *(_quoted(part) if "/" not in part else part for part in sys.argv[1:])])


def _complain(message: str) -> None:
    Console(stderr=True, highlight=False).print(Text(f"tuner: {message}"), soft_wrap=True)


def main() -> None:
    """Run a command; an error of ours is one line, never a traceback."""
    try:
        app()
    except TunerError as error:
        _complain(str(error))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
