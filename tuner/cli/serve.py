"""What runs for long: workers, the tracker, MLflow; and what prepares a shared database for them."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import places
from tuner.cli.shell import HOME, AllowCode, Db, Home, app, complain, out, say
from tuner.errors import BadInput

if TYPE_CHECKING:
    from tuner.devices import Crew
    from tuner.review import Review

DRAIN = 20.0  # seconds in which a worker saves what runs when it is asked to stop
LAST_PASS = 20.0  # seconds that the tracker takes for a last pass

Listen = Annotated[
    str, typer.Option("--listen", help="On which of its addresses; the page has no accounts: open it to no network.")
]
KnownAs = Annotated[
    list[str] | None,
    typer.Option("--known-as", help="What browsers and programs elsewhere call it; may be repeated.", metavar="HOST:PORT"),
]
UntilIdle = Annotated[bool, typer.Option("--until-idle", help="End when there is nothing to do.")]


@dataclass(frozen=True)
class Order:
    """What a worker is told; it may begin on another host, with the same folders."""

    db: str
    home: Path
    roots: list[Path]
    devices: str
    name: str
    disk: float
    stall: float
    allow_code: bool

    @contextmanager
    def crew(self) -> "Iterator[Crew]":
        """The worker, here."""
        from tuner.devices import Crew, Device, Site, environments

        _log()
        site = Site(self.name, self.home, self.roots, int(self.disk * 1e9), allow_code=self.allow_code, stall=self.stall)
        with places.store(self.db) as tables:
            found = environments(self.devices, places.child_environment())
            yield Crew(tables, site, [Device(tables, site, label, environment) for label, environment in found.items()])


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
    ray: Annotated[
        str | None, typer.Option("--ray", help="Let the Ray cluster at this address place the workers.", metavar="ADDRESS")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="With --ray: how many workers.")] = 1,
    each: Annotated[
        float, typer.Option("--each", min=0.01, help="With --ray: processors of each, or its part of a GPU as in 0.5.")
    ] = 1.0,
) -> None:
    """Work on all studies, by priority and in fair shares.

    Ctrl-C or SIGTERM saves what runs, gives it back and ends; a second one ends at once.
    """
    folder, roots = places.home(db, home).absolute(), [root.absolute() for root in places.roots(None)]
    order = Order(db, folder, roots, devices, name, disk, stall, allow_code)
    if ray is not None:
        complaints = _work_on_ray(ray, count, each, order, until_idle=until_idle)
    elif (count, each) != (1, 1.0):
        raise BadInput("--count, --each: they go with --ray ADDRESS; a worker by itself uses the --devices of its host")
    else:
        with order.crew() as crew:
            _on_signals(lambda times: crew.drain(DRAIN if times == 1 else 0.0))
            crew.work(until_idle=until_idle)
        complaints = crew.quarantined
    if complaints:
        complain("; ".join(complaints))
        raise typer.Exit(1)


def _work_on_ray(address: str, count: int, each: float, order: Order, *, until_idle: bool) -> list[str]:
    """Have a Ray cluster do the work; returns what went wrong there."""
    places.refuse_for_other_hosts(order.db)
    from tuner.cluster import Fleet, portion

    share = portion(order.devices, each, places.password_files())
    with places.store(order.db):  # what is wrong with it is said here, once
        fleet = Fleet(address, count, share, order.crew)
    _on_signals(lambda times: fleet.drain(DRAIN if times == 1 else 0.0))
    fleet.work(say, until_idle=until_idle)
    return fleet.complaints


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
    listen: Listen = "127.0.0.1",
    known_as: KnownAs = None,
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


@app.command()
def dashboard(
    name: Annotated[str | None, typer.Argument(help="This study only.", metavar="STUDY")] = None,
    db: Db = HOME,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="On which port of this machine.")] = 8080,
    listen: Listen = "127.0.0.1",
    known_as: KnownAs = None,
) -> None:
    """Serve optuna-dashboard on a copy of the studies, read anew while somebody looks; Ctrl-C ends it.

    What is changed there does not change a study, and lasts until the next copy.
    """
    from tuner.review import load, mirror

    with places.store(db) as tables:

        def read() -> "list[Review]":
            found = tables.studies() if name is None else [tables.study(name)]
            return [load(tables, study) for study in sorted(found, key=lambda study: study.id)]

        with mirror.server(read, port, listen, known_as or ()) as server:
            out.print(f"optuna-dashboard: http://{mirror.HOST}:{port}", soft_wrap=True)
            _on_signals(lambda _times: sys.exit(0))
            server.serve_forever()


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
