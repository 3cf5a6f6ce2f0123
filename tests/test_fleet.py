"""A fleet as people run it: commands against a real PostgreSQL, and workers that come and go."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from tests.test_cli import REPOSITORY, STUDY, TUNER, tuner, write
from tuner.store import Store
from tuner.trial import State

SECRET = "hunter2 @:/?#{}"
STARTED: "list[subprocess.Popen[str]]" = []  # to be ended with the test, however it goes
MLFLOW_TABLES = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'mlflow'"


@pytest.fixture(scope="module")
def server(postgresql: str) -> str:
    """An empty database without tables."""
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS fleet")
        connection.execute("CREATE DATABASE fleet")
    return str(sa.make_url(postgresql).set(database="fleet"))


@pytest.fixture(scope="module")
def migrated(server: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("migrate")
    refused = tuner(folder, "list", "--db", server)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "make them with: tuner migrate" in refused.stderr
    several = [start(folder, server, "migrate") for _ in range(2)]
    for process in several:
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        assert "tables at 0007" in out
    with psycopg.connect(server) as connection:
        assert connection.execute(MLFLOW_TABLES).fetchone()[0] > 20  # type: ignore[index]
    return server


@pytest.fixture
def fleet(migrated: str, tmp_path: Path) -> Iterator[tuple[Store, Path]]:
    store = Store(migrated)
    for study in store.studies():
        store.delete(study)
    yield store, tmp_path
    store.close()
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.communicate()


def environment(db: str, **more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNER")}
    return {**clean, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200", "TUNER_DB": db, **more}


def start(folder: Path, db: str, *arguments: str, **more: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [*TUNER, *arguments], cwd=folder, env=environment(db, **more), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    STARTED.append(process)
    return process


def launch(folder: Path, db: str, name: str, epochs: int = 2) -> None:
    text = STUDY.format(epochs=epochs).replace("[train]", "[train]\ncheckpoint_seconds = 0.2").replace("budget = 4", "budget = 2")
    write(folder, text, f"{name}.toml")
    done = tuner(folder, "launch", f"{name}.toml", TUNER_DB=db)
    assert done.returncode == 0, done.stderr


def wait_for(store: Store, name: str, holds: Callable[[dict[State, int], int], bool], process: "subprocess.Popen[str]") -> None:
    """Until something holds of a study's counts and its number of epochs; a process that ends before fails the test."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        study = store.study(name)
        if holds(store.counts(study), sum(len(epochs) for epochs in store.epochs(study).values())):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("it did not happen in four minutes")


def test_launching_is_whole_or_absent_and_may_be_repeated(fleet: tuple[Store, Path], migrated: str) -> None:
    store, folder = fleet
    write(folder, STUDY.format(epochs=2), "good.toml")
    write(folder, STUDY.format(epochs=2).replace("[search]", "[serach]"), "bad.toml")
    refused = tuner(folder, "launch", "good.toml", "bad.toml", TUNER_DB=migrated)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert store.studies() == []
    for _ in range(2):
        done = tuner(folder, "launch", "good.toml", "--priority", "3", TUNER_DB=migrated)
        assert done.returncode == 0, done.stderr
    (study,) = store.studies()
    assert (study.name, study.priority, store.counts(study)[State.QUEUED]) == ("good", 3, 4)


def test_a_study_is_steered_by_commands(fleet: tuple[Store, Path], migrated: str) -> None:
    store, folder = fleet
    launch(folder, migrated, "small")

    def standing(*command: str) -> str:
        done = tuner(folder, *command, TUNER_DB=migrated)
        assert done.returncode == 0, done.stderr
        (listed,) = json.loads(tuner(folder, "status", "--json", TUNER_DB=migrated).stdout)["studies"]
        return str(listed["state"])

    assert standing("pause", "small") == "paused"
    assert tuner(folder, "run", "small.toml", TUNER_DB=migrated).stderr.startswith("tuner: small is paused")
    assert standing("resume", "small") == "waiting"
    assert standing("priority", "small", "7") == "waiting"
    assert store.study("small").priority == 7
    assert standing("extend", "small", "--trials", "2") == "waiting"
    assert standing("cancel", "small") == "ended"
    assert store.counts(store.study("small"))[State.CANCELLED] == 4
    for screen in (["status", "--watch"], ["status", "small"], ["workers"], ["logs", "small", "0"]):
        told = tuner(folder, *screen, TUNER_DB=migrated)
        assert told.returncode == 0, told.stderr
    assert tuner(folder, "logs", "small", "9", TUNER_DB=migrated).returncode == 2


@pytest.mark.slow
def test_a_drained_worker_gives_back_and_another_ends_the_study_on_a_shared_home(
    fleet: tuple[Store, Path], migrated: str
) -> None:
    store, folder = fleet
    launch(folder, migrated, "small", epochs=150)
    first = start(folder, migrated, "worker", "--devices", "cpu", "--name", "one", "--home", "shared")
    wait_for(store, "small", lambda _, epochs: epochs >= 30, first)
    (seen,) = [one for one in store.workers() if one.trials]
    assert (seen.worker.device, seen.trials, seen.worker.message) == ("cpu", [("small", 0)], "")
    first.send_signal(signal.SIGTERM)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 0, said
    (row,) = [row for row in store.trials(store.study("small"), states=[State.QUEUED]) if row.epoch]
    assert row.crashes == 0
    assert row.checkpoint is not None
    assert row.checkpoint.epoch == row.epoch
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    home = str((folder / "shared").resolve())
    second = start(elsewhere, migrated, "worker", "--devices", "cpu", "--home", home, "--until-idle")
    _, said = second.communicate(timeout=300)
    assert second.returncode == 0, said
    rows = store.trials(store.study("small"))
    assert [(row.state, row.epoch, row.crashes) for row in rows] == [(State.COMPLETE, 150, 0)] * 2
    assert sorted(row.attempts for row in rows) == [1, 2]
    assert "goes on from an older state" not in "".join(log.read_text() for log in (folder / "shared" / "logs").iterdir())


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_mlflow_beside_the_tables_has_everything(
    fleet: tuple[Store, Path], migrated: str
) -> None:
    store, folder = fleet
    launch(folder, migrated, "small", epochs=60)
    first = start(folder, migrated, "worker", "--devices", "cpu")
    wait_for(store, "small", lambda _, epochs: epochs >= 10, first)
    first.kill()
    first.communicate(timeout=60)
    second = start(folder, migrated, "worker", "--devices", "cpu", "--until-idle")
    _, said = second.communicate(timeout=300)
    assert second.returncode == 0, said
    rows = store.trials(store.study("small"))
    assert [(row.state, row.epoch) for row in rows] == [(State.COMPLETE, 60)] * 2
    trackers = [start(folder, migrated, "track", "--until-idle") for _ in range(2)]
    for process in trackers:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert json.loads(tuner(folder, "status", "small", "--json", TUNER_DB=migrated).stdout)["not_yet_in_mlflow"] == 0
    with psycopg.connect(migrated) as connection:
        runs = connection.execute("SELECT name, status FROM mlflow.runs WHERE name NOT LIKE 'worker %'").fetchall()
    assert sorted(runs) == [("small", "FINISHED"), *((f"trial {n}", "FINISHED") for n in range(2))]


@pytest.mark.slow
def test_no_secret_is_shown_anywhere(postgresql: str, fleet: tuple[Store, Path]) -> None:
    _, folder = fleet
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS secretive")
        connection.execute("DROP ROLE IF EXISTS secretive")
        connection.execute("CREATE ROLE secretive LOGIN SUPERUSER PASSWORD 'x'")
        connection.execute("CREATE DATABASE secretive OWNER secretive")
    db = str(sa.make_url(postgresql).set(username="secretive", database="secretive"))
    write(folder, SECRET + "\n", "password")
    secret = {"TUNER_DB": db, "TUNER_DB_PASSWORD_FILE": str(folder / "password")}
    said = [tuner(folder, "migrate", **secret)]
    write(folder, STUDY.format(epochs=200), "small.toml")
    running = start(folder, db, "run", "small.toml", TUNER_DB_PASSWORD_FILE=secret["TUNER_DB_PASSWORD_FILE"])
    store = Store(db)
    deadline = time.monotonic() + 240
    while not store.studies():
        assert time.monotonic() < deadline
        assert running.poll() is None, running.communicate()
    wait_for(store, "small", lambda _, epochs: epochs >= 3, running)
    shown = "".join(told_by_processes(running.pid))
    running.send_signal(signal.SIGTERM)
    out, error = running.communicate(timeout=180)
    assert running.returncode == 130, error
    said += [tuner(folder, *command, **secret) for command in (["status"], ["doctor"], ["list"], ["logs", "small", "0"])]
    said.append(tuner(folder, "list", **{**secret, "TUNER_DB": db.replace("secretive?", "absent?")}))
    shown += out + error + "".join(one.stdout + one.stderr for one in said)
    shown += "".join(path.read_text(errors="replace") for path in (folder / ".tuner" / "logs").iterdir())
    with psycopg.connect(db) as connection:
        for table in ("tuner.study", "tuner.trial", "tuner.worker", "mlflow.tags", "mlflow.params", "mlflow.experiments"):
            shown += str(connection.execute(f"SELECT * FROM {table}").fetchall())  # type: ignore[arg-type]
    store.close()
    assert "small" in shown
    assert "hunter2" not in shown


def told_by_processes(pid: int) -> Iterator[str]:
    """The command lines of a process and its children, and the environments of the training ones."""
    import psutil

    parent = psutil.Process(pid)
    for process in (parent, *parent.children(recursive=True)):
        yield " ".join(process.cmdline())
        if "tuner.child" in process.cmdline():
            names = process.environ()
            assert not [name for name in names if name.startswith(("TUNER_", "PG", "MLFLOW_"))]
            yield str(names)
