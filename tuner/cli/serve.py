"""What runs for long: workers, the tracker, MLflow; and what prepares a shared database for them."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Annotated

import typer

from tuner.cli import places
from tuner.cli.shell import HOME, AllowCode, Db, Home, app, complain, out, say
from tuner.errors import BadInput

DRAIN = 20.0  # seconds in which a worker saves what runs when it is asked to stop
LAST_PASS = 20.0  # seconds that the tracker takes for a last pass

UntilIdle = Annotated[bool, typer.Option("--until-idle", help="End when there is nothing to do.")]


@app.command()
def worker(
    db: Db = HOME,
    home: Home = None,
    devices: Annotated[
        str, typer.Option("--devices", help="cpu, gpu, or numbers of GPUs as in 0,1; default: what is there.")
    ] = "auto",
    name: Annotated[str, typer.Option("--name", help="How it is called in `tuner workers`; default: the host's name.")] = "",
    disk: Annotated[float, typer.Option("--disk", min=0.0, help="GB that checkpoints may fill.")] = 50.0,
    stall: Annotated[float, typer.Option("--stall", min=1.0, help="Seconds that a training process may do nothing.")] = 600.0,
    allow_code: AllowCode = False,
    until_idle: UntilIdle = False,
) -> None:
    """Work on all studies, by priority and in fair shares.

    Ctrl-C or SIGTERM saves what runs, gives it back and ends; a second one ends at once.
    """
    from tuner.devices import Crew, Device, Site, environments

    _log()
    with places.store(db) as tables:
        site = Site(name, places.home(db, home), places.roots(None), int(disk * 1e9), allow_code=allow_code, stall=stall)
        found = environments(devices, places.child_environment())
        crew = Crew(tables, site, [Device(tables, site, label, environment) for label, environment in found.items()])
        _on_signals(lambda times: crew.drain(DRAIN if times == 1 else 0.0))
        crew.work(until_idle=until_idle)
    if crew.quarantined:
        complain("; ".join(crew.quarantined))
        raise typer.Exit(1)


@app.command()
def track(
    name: Annotated[str | None, typer.Argument(help="This study only.", metavar="STUDY")] = None,
    db: Db = HOME,
    home: Home = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Show the studies anew from the start, and end.")] = False,
    until_idle: UntilIdle = False,
) -> None:
    """Show studies in MLflow while they run; `tuner run` does so by itself.

    It may be late, be stopped, or run on several hosts: MLflow gets everything once. `tuner workers` shows it too.
    """
    places.use_mlflow_here()
    from tuner.process import here
    from tuner.track import Forwarder
    from tuner.track.follow import Lifeline, Presence, follow

    _log()
    reading, writing = os.pipe()
    with places.store(db) as tables:
        forwarder = Forwarder(tables, places.mlflow_uri(db), places.home(db, home))
        if rebuild:
            for study in tables.studies() if name is None else [tables.study(name)]:
                say(f"{study.name}: {forwarder.rebuild(study)} trials shown anew")
            return
        _on_signals(lambda times: os.close(writing) if times == 1 else sys.exit(1))
        presence = Presence(tables, here(device="mlflow"))
        complete = follow(forwarder, name, Lifeline(reading, LAST_PASS), until_idle=until_idle, present=presence.sign)
        if complete:
            presence.end()
    if not complete:
        raise typer.Exit(1)


@app.command()
def migrate(db: Db = HOME) -> None:
    """Make or renew the tables of a shared database, MLflow's too; of several at once, one does it."""
    places.use_mlflow_here()
    from tuner import track as tracking
    from tuner.store import Store

    tables = Store(places.url(db))
    try:
        with tables.migration():
            tracking.prepare(places.mlflow_uri(db))
        say(f"{tables.url.render_as_string()}: tables at {tables.version()}")
    finally:
        tables.close()


@app.command()
def ui(
    db: Db = HOME,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="On which port of this machine.")] = 5000,
    listen: Annotated[
        str, typer.Option("--listen", help="On which of its addresses; MLflow has no accounts: open it to no network.")
    ] = "127.0.0.1",
    known_as: Annotated[
        list[str] | None,
        typer.Option("--known-as", help="What browsers and programs elsewhere call it; may be repeated.", metavar="HOST:PORT"),
    ] = None,
) -> None:
    """Serve MLflow; Ctrl-C ends it."""
    if not places.has_mlflow(db):
        raise BadInput(f"--db: there is no MLflow database in {db}; it is made by: tuner run FILE")
    if (uri := places.mlflow_uri(db)).startswith("http"):
        raise BadInput(f"TUNER_MLFLOW: MLflow is served already, at {uri}")
    out.print(f"MLflow: http://127.0.0.1:{port}", soft_wrap=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", listen, "--port", str(port), "--workers", "1"]
    command += ["--artifacts-destination", str((places.home(db) / "mlartifacts").resolve())]
    # By itself MLflow answers to whole ranges of addresses, and to names that only begin like one.
    command += ["--allowed-hosts", ",".join([f"127.0.0.1:{port}", f"localhost:{port}", *(known_as or [])])]
    os.execve(sys.executable, command, {**places.mlflow_environment(), "MLFLOW_BACKEND_STORE_URI": uri})


def _log() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _on_signals(act: Callable[[int], object]) -> None:
    """Call `act` with how often SIGTERM or Ctrl-C has come."""
    times = 0

    def count(_number: int, _frame: FrameType | None) -> None:
        nonlocal times
        times += 1
        act(times)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, count)
