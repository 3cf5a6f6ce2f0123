"""Workers on a Ray cluster: what is refused, and a real cluster of two nodes of which one is killed in mid-study."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
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

pytest.importorskip("ray", reason="Ray is not installed: pip install 'keras-lanes-tuner[ray]'")
EPOCHS, TRIALS = 300, 3
QUICK_TO_NOTICE = {"health_check_period_ms": 500, "health_check_failure_threshold": 3, "health_check_initial_delay_ms": 0}


def test_what_cannot_be_placed_is_refused_in_one_line(tmp_path: Path) -> None:
    for arguments, said in (
        (["--count", "2"], "--count, --each: they go"),
        (["--ray", "auto"], "--db: other hosts cannot use SQLite"),
    ):
        refused = tuner(tmp_path, "worker", *arguments)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
        assert refused.stderr.startswith(f"tuner: {said}")


def test_without_ray_it_says_how_to_install_it(tmp_path: Path) -> None:
    code = "import sys; sys.modules['ray'] = None; from tuner.cli import main; main()"  # as if it were not installed
    command = [TUNER[0], "-c", code, "worker", "--ray", "auto", "--devices", "cpu", "--db", "postgresql://me@nowhere/x"]
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    told = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert told.returncode == 2
    assert told.stderr == "tuner: --ray: Ray is not installed here; install it with: pip install 'keras-lanes-tuner[ray]'\n"


def test_a_password_in_an_address_does_not_go_to_other_hosts() -> None:
    with pytest.raises(BadInput, match="a password in it would be shown") as refused:
        places.refuse_for_other_hosts("postgresql://me:hunter2@nowhere/x")
    assert "hunter2" not in str(refused.value)
    places.refuse_for_other_hosts("postgresql://me@nowhere/x")


def test_a_worker_gets_processors_with_as_many_threads_or_a_part_of_a_gpu() -> None:
    from tuner.cluster import Portion, portion

    assert portion("gpu", 0.5, {"a": "b"}) == Portion(1, 0.5, {"a": "b"})
    threads = {"TF_NUM_INTRAOP_THREADS": "3", "TF_NUM_INTEROP_THREADS": "3"}
    assert portion("cpu", 3, {}) == Portion(3, 0, threads)
    for devices, each, said in (("auto", 1.0, "Ray chooses"), ("gpu", 2.0, "2 GPUs"), ("cpu", 1.5, "a whole number")):
        with pytest.raises(BadInput, match=said):
            portion(devices, each, {})


def test_a_cluster_that_is_not_there_is_one_line() -> None:
    from tuner.cluster import Fleet, portion

    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = f"127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(BadInput, match=f"^--ray: no cluster can be joined at {free}: .*refused$"):
        Fleet(free, 1, portion("cpu", 1, {}), nullcontext)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without processors, and two nodes with two each; the folder's path is short, as there are sockets in it."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": QUICK_TO_NOTICE}
    Path("/tmp/ray").mkdir(exist_ok=True)  # Ray notes the address there wherever its own files are
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        made = Cluster(initialize_head=True, head_node_args={**head, "temp_dir": folder})
        for _ in range(2):
            made.add_node(num_cpus=2, env_vars={"PYTHONPATH": str(REPOSITORY)})
        yield made
        made.shutdown()


@pytest.fixture
def store(postgresql: str) -> Iterator[Store]:
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS cluster WITH (FORCE)")
        connection.execute("CREATE DATABASE cluster")
    opened = Store(str(sa.make_url(postgresql).set(database="cluster")))
    opened.migrate()
    spec = study_spec(data="digits", budget=TRIALS, train={"epochs": EPOCHS, "lanes": "off", "checkpoint_seconds": 0.2})
    opened.launch(spec, TRIALS, {})
    yield opened
    opened.close()


@pytest.fixture
def command(store: Store, cluster: Any, tmp_path: Path) -> Iterator["Callable[..., subprocess.Popen[str]]"]:
    """Starts `tuner worker` on the cluster."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNER")}
        variables = {**clean, "PYTHONPATH": str(REPOSITORY), "TUNER_DB": store.url.render_as_string()}
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
    assert "worker 1 has ended" in out.splitlines()
    (row,) = [row for row in store.trials(study) if row.epoch]
    assert (row.state, row.crashes) == (State.QUEUED, 0)
    assert row.checkpoint is not None
    assert row.checkpoint.epoch == row.epoch


@pytest.mark.slow
def test_a_node_is_killed_in_mid_study_and_every_trial_ends_once(store: Store, cluster: Any, command: Any) -> None:
    study = store.study("small")
    running = command("--count", "2", "--until-idle")

    def learning() -> list[int]:
        """The process of each worker whose trial has begun to learn."""
        owners = {row.owner for row in store.trials(study, states=[State.RUNNING]) if row.epoch >= 10}
        return [one.worker.pid for one in store.workers() if one.worker.name in owners]

    wait_until(learning, running)
    raylet = psutil.Process(learning()[0]).ppid()
    (node,) = [node for node in cluster.worker_nodes if raylet in pids(node)]
    cluster.remove_node(node, allow_graceful=False)
    out, error = running.communicate(timeout=240)
    assert running.returncode == 0, error
    rows, epochs = store.trials(study), store.epochs(study)
    assert [(row.state, row.epoch) for row in rows] == [(State.COMPLETE, EPOCHS)] * TRIALS
    assert [len(epochs[row.number]) for row in rows] == [EPOCHS] * TRIALS
    assert sorted(row.attempts for row in rows) == [1] * (TRIALS - 1) + [2]
    assert {"worker 1 has ended", "worker 2 has ended"} <= set(out.splitlines())  # one of them where it was placed anew


def pids(node: Any) -> list[int]:
    """The processes of a node's raylet."""
    return [info.process.pid for infos in node.all_processes.values() for info in infos]


def test_files_with_passwords_are_named_to_other_hosts_and_passwords_are_not(tmp_path: Path) -> None:
    code = "from tuner.cli import places; print(places.password_files())"
    variables = {"PGPASSFILE": "pass", "PGPASSWORD": "hunter2", "TUNER_DB_PASSWORD_FILE": "", "PYTHONPATH": str(REPOSITORY)}
    told = subprocess.run([TUNER[0], "-c", code], cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, text=True)
    assert told.stdout.strip() == str({"PGPASSFILE": str(tmp_path / "pass")})
