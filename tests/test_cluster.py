"""Workers on a Ray cluster: what is refused, and a real cluster of two nodes of which one is killed in mid-study."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import sqlalchemy as sa

from tests.conftest import study_spec
from tests.test_cli import REPOSITORY, TUNER, tuner
from tuner.cli import places
from tuner.errors import BadInput
from tuner.store import Store
from tuner.trial import State

EPOCHS = 150
QUICK_TO_NOTICE = {"health_check_period_ms": 500, "health_check_failure_threshold": 3, "health_check_initial_delay_ms": 0}


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (["--count", "2"], {}, "--count, --each: they go with --ray"),
        (["--ray", "auto"], {}, "--devices: 'auto'; Ray chooses"),
        (["--ray", "auto", "--devices", "gpu", "--each", "2"], {}, "--each: 2 GPUs"),
        (["--ray", "auto", "--devices", "cpu", "--each", "1.5"], {}, "--each: 1.5 processors"),
        (["--ray", "auto", "--devices", "cpu"], {}, "--db: other hosts cannot use SQLite"),
        (["--ray", "auto", "--devices", "cpu"], {"TUNER_DB": "postgresql://me:hunter2@nowhere/x"}, "TUNER_DB: a password in it"),
    ],
)
def test_what_cannot_be_placed_is_refused(tmp_path: Path, arguments: list[str], variables: dict[str, str], said: str) -> None:
    refused = tuner(tmp_path, "worker", *arguments, **variables)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert refused.stderr.startswith(f"tuner: {said}")
    assert "hunter2" not in refused.stderr


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without processors, and two nodes with two each."""
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed: pip install '.[ray]'")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(REPOSITORY)  # the nodes inherit it
    made = cluster_utils.Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": QUICK_TO_NOTICE},
    )
    for _ in range(2):
        made.add_node(num_cpus=2)
    yield made
    made.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def store(postgresql: str) -> Iterator[Store]:
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS cluster WITH (FORCE)")
        connection.execute("CREATE DATABASE cluster")
    opened = Store(str(sa.make_url(postgresql).set(database="cluster")))
    opened.migrate()
    spec = study_spec(data="digits", budget=4, train={"epochs": EPOCHS, "lanes": "off", "checkpoint_seconds": 0.2})
    opened.launch(spec, 4, {})
    yield opened
    opened.close()


@pytest.fixture
def command(store: Store, cluster: Any, tmp_path: Path) -> Iterator["Callable[..., subprocess.Popen[str]]"]:
    """Starts `tuner worker` on the cluster."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNER")}
        variables = {**clean, "TUNER_DB": store.url.render_as_string(), "COLUMNS": "200"}
        process = subprocess.Popen(
            [*TUNER, "worker", "--ray", cluster.address, "--devices", "cpu", *arguments],
            cwd=tmp_path, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_until(holds: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 240
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_command_that_is_told_to_stop_drains_its_workers(store: Store, command: Any) -> None:
    study = store.study("small")
    running = command()
    wait_until(lambda: any(row.epoch >= 10 for row in store.trials(study)), running)
    running.send_signal(signal.SIGTERM)
    out, error = running.communicate(timeout=60)
    assert running.returncode == 0, error
    assert out.splitlines()[-1] == "worker 1 has ended"
    (row,) = [row for row in store.trials(study) if row.epoch]
    assert (row.state, row.crashes) == (State.QUEUED, 0)
    assert row.checkpoint is not None
    assert row.checkpoint.epoch == row.epoch


@pytest.mark.slow
def test_a_node_is_killed_in_mid_study_and_every_trial_ends_once(store: Store, cluster: Any, command: Any) -> None:
    study = store.study("small")
    running = command("--count", "2", "--until-idle")

    def at_work() -> list[int]:
        """The processes of workers whose trial has begun to learn."""
        learning = {row.owner for row in store.trials(study, states=[State.RUNNING]) if row.epoch >= 10}
        return [one.worker.pid for one in store.workers() if one.worker.name in learning]

    wait_until(lambda: len(at_work()) == 2, running)
    raylet = psutil.Process(at_work()[0]).ppid()
    (node,) = [node for node in cluster.worker_nodes if raylet in pids(node)]
    cluster.remove_node(node, allow_graceful=False)
    out, error = running.communicate(timeout=240)
    assert running.returncode == 0, error
    rows, epochs = store.trials(study), store.epochs(study)
    assert [(row.state, row.epoch) for row in rows] == [(State.COMPLETE, EPOCHS)] * 4
    assert [len(epochs[row.number]) for row in rows] == [EPOCHS] * 4
    assert sorted(row.attempts for row in rows) == [1, 1, 1, 2]
    places_seen = [line.split()[1] for line in out.splitlines() if " is on " in line]
    assert sorted(places_seen) in (["1", "1", "2"], ["1", "2", "2"]), out  # one of them was placed anew


def pids(node: Any) -> list[int]:
    """The processes of a node's raylet."""
    return [info.process.pid for infos in node.all_processes.values() for info in infos]


def test_files_with_passwords_are_named_to_other_hosts_and_passwords_are_not(tmp_path: Path) -> None:
    code = "from tuner.cli import places; print(places.password_files())"
    variables = {"PGPASSFILE": "pass", "PGPASSWORD": "hunter2", "TUNER_DB_PASSWORD_FILE": "", "PYTHONPATH": str(REPOSITORY)}
    told = subprocess.run([TUNER[0], "-c", code], cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, text=True)
    assert told.stdout.strip() == str({"PGPASSFILE": str(tmp_path / "pass")})
