"""What is there, and how it is."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from tuner.cli import given, leaders, places
from tuner.cli.shell import (
    HOME,
    AllowCode,
    AsJson,
    DataPath,
    Db,
    File,
    Home,
    Name,
    app,
    complain,
    number,
    out,
    print_json,
    say,
    writing,
)
from tuner.errors import BadInput
from tuner.trial import Trial, trial_seed

if TYPE_CHECKING:
    from tuner.provenance import Conditions
    from tuner.race import Finalist, Result, Score
    from tuner.store import Row, Store, Study

LINES = 100  # of a log that is shown


@app.command()
def validate(file: File, data: DataPath = None, allow_code: AllowCode = False, as_json: AsJson = False) -> None:
    """Say what a study file means, or what is wrong.

    Nothing is created.
    """
    spec, facts = given.checked(file, data, allow_code=allow_code)
    from tuner import explain

    meaning = explain.meaning(spec, facts, given.budget(spec))
    if as_json:
        print_json(meaning)
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
    with places.store(db) as tables:
        rows = [_progress(tables, study) for study in tables.studies()]
    if as_json:
        print_json(rows)
        return
    if not rows:
        out.print("no studies yet; begin with: tuner run FILE")
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("study", "state", "ended", "complete", "pruned", "failed", "best"):
        table.add_column(column, overflow="fold")
    for row in rows:
        ended = f"{row['ended']}/{row['trials']}"
        cells = [row["study"], row["state"], ended, row["complete"], row["pruned"], row["failed"], number(row["best"])]
        table.add_row(*(Text(str(cell)) for cell in cells))
    out.print(table)


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="One study; default: all.", metavar="STUDY")] = None,
    db: Db = HOME,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew every two seconds, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say where a study stands and why trials failed; or where all studies and workers stand."""
    from tuner import screen

    with places.store(db) as tables:
        if watch:
            studies = None if name is None else [tables.study(name)]
            screen.watch(lambda: screen.overview(tables, studies), out)
        elif name is not None:
            _say_study(tables, tables.study(name), db, as_json=as_json)
        elif as_json:
            print_json({"studies": [_progress(tables, study) for study in tables.studies()], "workers": _workers(tables)})
        else:
            out.print(screen.overview(tables, None))


def _say_study(tables: "Store", study: "Study", db: str, *, as_json: bool) -> None:
    from tuner import race, track, verdict
    from tuner.trial import State

    found = race.result(tables, study)
    failed = tables.trials(study, states=[State.FAILED])
    running = tables.trials(study, states=[State.RUNNING])
    owners = {row.owner for row in running}
    working = [seen.worker for seen in tables.workers() if seen.worker.name in owners]
    progress: dict[str, Any] = {
        **_progress(tables, study),
        **leaders.aims(tables, study),
        "priority": study.priority,
        "stopped": study.stopped,
        "not_yet_in_mlflow": track.lag(tables, study, places.mlflow_uri(db)),
        "running_trials": [{"trial": r.number, "epoch": r.epoch, "attempts": r.attempts, "owner": r.owner} for r in running],
        "engines": [{"worker": w.name, "engine": w.engine} for w in working if w.engine],
        "failures": [{"trial": r.number, "kind": r.failure, "message": r.message} for r in failed],
    }
    if as_json:
        print_json({**progress, **(_race(found) if found is not None else {})})
        return
    progress["race"] = verdict.lines(found)
    if "pareto_front" in progress:
        progress["pareto_front"] = ", ".join(map(str, progress["pareto_front"])) or "nobody yet"
    for key, value in progress.items():
        lines = value if isinstance(value, list) else [value]
        for line in lines:
            plain = number(line) if isinstance(line, float) else str(line)
            text = "  ".join(f"{k} {v}" for k, v in line.items() if v is not None) if isinstance(line, dict) else plain
            out.print(Text.assemble((f"{key:<18}", "bold"), text), soft_wrap=True)


@app.command()
def workers(db: Db = HOME, as_json: AsJson = False) -> None:
    """Show the workers, what they hold, and what is wrong with them."""
    from tuner import screen

    with places.store(db) as tables:
        if as_json:
            print_json(_workers(tables))
        else:
            out.print(screen.workers(tables.workers()) or "no workers yet; begin with: tuner worker")


@app.command()
def logs(
    name: Name,
    trial: Annotated[int, typer.Argument(help="The trial's number.", metavar="TRIAL")],
    db: Db = HOME,
    home: Home = None,
) -> None:
    """Show what the training process of a trial wrote last."""
    with places.store(db) as tables:
        study = tables.study(name)
        row = _row(tables, study, trial)
    say(f"trial {trial}: {row.state}, epoch {row.epoch}, attempt {row.attempts}{f', by {row.owner}' if row.owner else ''}")
    if row.message:
        say(f"{row.failure or ''} {row.message}".strip())
    file = places.home(db, home) / "logs" / f"{row.owner}.log"
    if row.log:
        say(row.log)
    elif file.exists():
        say(f"{file}, of all trials of that process:")
        say("\n".join(file.read_text(errors="replace").splitlines()[-LINES:]))
    elif row.owner:
        say(f"its log is {file.name} in the logs of the home of that worker")


@app.command()
def health(
    address: Annotated[
        str | None, typer.Argument(help="An MLflow to ask; default: the worker or tracker of this host.", metavar="HTTP")
    ] = None,
    db: Db = HOME,
) -> None:
    """Say by a query whether what runs on this host works: exit code 0 if so, 1 if not.

    For the health checks of containers: it loads neither TensorFlow nor MLflow.
    """
    if address is not None:
        from tuner.track import ask

        ask(address)
        say(f"MLflow at {address} answers")
        return
    from tuner.process import alive, here

    with places.store(db) as tables:
        host = here().host
        mine = [seen for seen in tables.workers() if seen.worker.host == host and alive(seen.worker)]
    for seen in mine:
        say(f"{seen.worker.name}: last seen {seen.silence:.0f} s ago {seen.worker.message}".rstrip())
    if not mine:
        complain("no worker and no tracker of this host gives signs of life")
    if not mine or any(seen.silent for seen in mine):
        raise typer.Exit(1)


def _workers(tables: "Store") -> list[dict[str, Any]]:
    return [
        {
            "worker": seen.worker.name,
            "host": seen.worker.host,
            "device": seen.worker.device,
            "seen_seconds_ago": round(seen.silence, 1),
            "trials": [{"study": study, "trial": trial} for study, trial in seen.trials],
            "engine": seen.worker.engine,
            "message": seen.worker.message,
        }
        for seen in tables.workers()
    ]


@app.command()
def reproduce(
    name: Name,
    trial: Annotated[int, typer.Argument(help="The trial's number.", metavar="TRIAL")],
    db: Db = HOME,
    data: DataPath = None,
    allow_code: AllowCode = False,
) -> None:
    """Train a trial again, alone, and say whether it learns as its record says; exit code 1 if not.

    Nothing is written. What differs from how it was trained, in versions, code or hardware, is said first.
    """
    from tuner import reproduce as repeating

    with places.store(db) as tables:
        study = tables.study(name)
        row = _row(tables, study, trial)
        recorded = tables.epochs(study, [trial]).get(trial, [])
        trained = tables.conditions(study, row)
    if row.params is None or not recorded:
        raise BadInput(f"{name}: trial {trial} has not trained; it is {row.state}")
    spec = given.moved(study.spec, data)
    if spec.model.is_code and not allow_code:
        raise BadInput(f"{name}: {spec.model.name} is code; allow it to run with --allow-code")
    _say_conditions(trained)
    places.load_tensorflow()
    out.print(f"{'epoch':>5}  {'recorded':>10}  {'again':>10}")
    repeated = []
    subject = Trial(trial, row.params, trial_seed(spec.seed, trial))
    again = repeating.again(spec, subject, len(recorded), places.roots(data), study.facts)
    for before, now in zip(recorded, again, strict=False):
        repeated.append(now)
        values = [number(epoch.metrics[spec.objective.metric]) for epoch in (before, now)]
        out.print(f"{now.epoch:>5}  {values[0]:>10}  {values[1]:>10}")
    found = repeating.Comparison(spec.objective.metric, recorded, repeated, spec.objective.maximise)
    say(
        f"first loss: {found.loss:.1e} apart, tolerated {repeating.LOSS:g}; "
        f"best {spec.objective.metric}: {found.objective:.1e} apart, tolerated {repeating.OBJECTIVE:g}"
    )
    say(f"trial {trial} {'matches its record' if found.matches else 'does not match its record'}")
    if not found.matches:
        raise typer.Exit(1)


def _say_conditions(trained: "Conditions | None") -> None:
    """How those that a trial was trained under differ from those here."""
    from tuner import provenance

    if trained is None:
        say("under what conditions it was trained is not recorded")
        return
    now = provenance.here(places.child_environment())
    apart = list(provenance.differences(trained, now))
    for line in apart:
        say(f"not as it was trained: {line}")
    if not apart:
        say(f"as it was trained: {', '.join(f'{name} {value}' for name, value in now.items())}")


def _row(tables: "Store", study: "Study", trial: int) -> "Row":
    if not 0 <= trial < study.trials:  # before the database is asked, for which a number may be too large
        raise BadInput(f"{study.name}: there is no trial {trial}; there are 0 to {study.trials - 1}")
    return tables.trials(study, first=trial, limit=1)[0]


@app.command()
def best(
    name: Name,
    db: Db = HOME,
    top: Annotated[int | None, typer.Option("--top", min=1, help="How many to show; default: 1, or the Pareto front.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the best configurations so far, those of the final race first; with several objectives the Pareto front."""
    from tuner import race, verdict
    from tuner.trial import State

    with places.store(db) as tables:
        study = tables.study(name)
        found = race.result(tables, study)
        finalists = {one.trial: one for one in found.finalists} if found is not None and found.winner else {}
        most = min(top or 1, study.trials)
        if study.spec.objective.further:
            shown = leaders.front(tables, study)[:top] if as_json else leaders.leaders(tables, study, top or study.trials)
        else:
            shown = [_row(tables, study, trial) for trial in finalists]
            shown += [row for row in tables.leaders(study, most + len(finalists)) if row.number not in finalists]
            shown = shown[:most]
        complete, aims = tables.counts(study)[State.COMPLETE], leaders.aims(tables, study)
    if not shown:
        raise BadInput(f"{name}: {leaders.none_yet(study, complete)}")
    if as_json:
        print_json([_leader(row, study, finalists.get(row.number), found) for row in shown])
        return
    for line in [*verdict.lines(found), *verdict.ranking(found), *leaders.lines(aims)]:
        say(line)
    if study.spec.objective.further:
        out.print(leaders.table(study, shown))
        return
    for row in shown:
        one = finalists.get(row.number)
        reached = f"{verdict.reached(one)}; {one.fate}" if one else number(row.value)
        size = ", ".join([f"{row.parameters:,} weights", *leaders.costs(study, row)])
        say(f"trial {row.number}  {study.spec.objective.metric} {reached}  ({size})")
        for key, value in (row.params or {}).items():
            out.print(Text(f"  {key} = {json.dumps(value)}"), soft_wrap=True)


@app.command()
def report(
    name: Name,
    db: Db = HOME,
    folder: Annotated[Path | None, typer.Option("--out", help="Where to write; default: NAME.report", metavar="FOLDER")] = None,
    tensorboard: Annotated[
        Path | None, typer.Option("--tensorboard", help="Write event files for TensorBoard there instead.", metavar="FOLDER")
    ] = None,
) -> None:
    """Write an HTML page with plots, and PNGs; or what TensorBoard reads."""
    from tuner import review

    with places.store(db) as tables:
        study = tables.study(name)
        if tensorboard is None:
            target = folder or Path(f"{review.file_name(name)}.report")
            with writing("--out", target):
                written = review.report(tables, study, target)
        else:
            try:
                from tuner.review import board
            except ModuleNotFoundError:
                raise BadInput("TensorBoard is not installed: pip install 'keras-lanes-tuner[tensorboard]'") from None
            with writing("--tensorboard", tensorboard):
                written = board.export(review.load(tables, study), tensorboard)
        out.print(Text(str(written)), soft_wrap=True)


@app.command()
def optimizers(as_json: AsJson = False) -> None:
    """Show the optimizers, their ranges and sources."""
    from tuner import explain

    known = explain.optimizers()
    if as_json:
        print_json(known)
        return
    out.print(explain.listing(known))


@app.command()
def doctor(db: Db = HOME, as_json: AsJson = False) -> None:
    """Check what this machine has and lacks."""
    from tuner import doctor as checks

    findings = checks.examine(places.url(db), places.home(db), places.roots(None), places.child_environment())
    if as_json:
        print_json([finding.__dict__ for finding in findings])
    else:
        for finding in findings:
            mark = ("ok  ", "green") if finding.good else ("BAD ", "bold red")
            out.print(Text.assemble(mark, f"{finding.what}: {finding.found}"), soft_wrap=True)
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


def _progress(tables: "Store", study: "Study") -> dict[str, Any]:
    from tuner import screen
    from tuner.trial import ended

    counts = tables.counts(study)
    done = ended(counts)
    leaders = tables.leaders(study, 1)
    return {
        "study": study.name,
        "state": screen.standing(tables, study, counts),
        "trials": study.trials,
        "ended": done,
        **{str(state): count for state, count in counts.items()},
        "objective": study.spec.objective.metric,
        "best": leaders[0].value if leaders else None,
        "best_trial": leaders[0].number if leaders else None,
    }


def _leader(row: "Row", study: "Study", one: "Finalist | None", found: "Result | None") -> dict[str, Any]:
    told = {"trial": row.number, study.spec.objective.metric: row.value, "weights": row.parameters, "params": row.params}
    told |= {"costs": dict(row.costs)} if study.spec.costs else {}
    raced = {"race": _finalist(one)} if one is not None else {}
    score = found.score if found is not None and one is not None and one.fate == "winner" else None
    return {**told, **raced, **({"test": _score(score)} if score is not None else {})}


def _finalist(one: "Finalist") -> dict[str, Any]:
    told = {"trial": one.trial, "fate": one.fate, "mean": one.mean, "interval": one.interval, "values": list(one.values)}
    ranked = {} if one.value is None else {"value": one.value, "places": one.places}
    return {**told, **ranked, **({"reason": one.reason} if one.reason else {})}


def _score(score: "Score") -> dict[str, Any]:
    told = {"metric": score.metric, "value": score.value, "interval": score.interval, "epochs": score.epochs}
    return {**told, **({"failure": score.failure} if score.failure else {})}


def _race(found: "Result") -> dict[str, Any]:
    """What `status` says of a race."""
    race: dict[str, Any] = {"race": f"{found.ended} of {found.runs} trainings ended"}
    race["finalists"] = [_finalist(one) for one in found.finalists]
    return {**race, **({"test": _score(found.score), "test_scored": found.looks} if found.score is not None else {})}
