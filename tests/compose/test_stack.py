"""The fleet in real containers: it starts, loses nothing when parts of it die, and shows no secret."""

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest

from tests.compose.engine import IMAGE, REPOSITORY, bases, build, compose, docker, engine, run

pytestmark = pytest.mark.compose

TRIALS, EPOCHS = 12, 400
RUNS = "mlflow.runs WHERE name NOT LIKE 'worker %'"
STUDY = f"""
data = "digits"
objective = "val_accuracy"
budget = {TRIALS}
pruner = "none"

[train]
epochs = {EPOCHS}
lanes = "off"
checkpoint_seconds = 1.0

[search]
width = [16, 32]
learning_rate = {{float = [1e-3, 1e-2], log = true}}
"""
SECRETS = ("postgres", "tuner", "mlflow")


class Stack:
    """The services of docker-compose.yml in a folder of their own, with secrets of their own."""

    def __init__(self, folder: Path, env: Mapping[str, str], port: int) -> None:
        self.folder, self.env, self.port = folder, env, port
        self._compose = [*compose(env), "--project-name", "tunertest", "--profile", "cpu", "--profile", "tools"]

    def compose(self, *arguments: str) -> str:
        return run(*self._compose, *arguments, env=self.env, folder=self.folder)

    def docker(self, *arguments: str) -> str:
        return run(docker(), *arguments, env=self.env)

    def containers(self, service: str = "") -> list[str]:
        """All containers, or those of a service, dead ones too."""
        labels = ["--filter", "label=com.docker.compose.project=tunertest"]
        labels += ["--filter", f"label=com.docker.compose.service={service}"] if service else []
        return self.docker("ps", "--all", "--quiet", *labels).split()

    def inspect(self, *containers: str) -> list[dict[str, Any]]:
        return list(json.loads(self.docker("inspect", *containers)))

    def sql(self, query: str) -> list[list[str]]:
        told = self.compose(
            "exec", "-T", "postgres", "psql", "-h", "127.0.0.1", "-U", "postgres", "-d", "tuner", "-qtA", "-c", query
        )
        return [line.split("|") for line in told.splitlines() if line]

    def count(self, query: str) -> int:
        return int(self.sql(f"SELECT count(*) FROM {query}")[0][0])

    def ended(self) -> int:
        return self.count("tuner.trial WHERE state NOT IN ('queued', 'running')")

    def busy(self) -> str | None:
        """A container that trains a trial of which there is a checkpoint."""
        running = self.sql("SELECT owner FROM tuner.trial WHERE state = 'running' AND checkpoint_epoch > 0")
        alive = [one["Id"][:12] for one in self.inspect(*self.containers("worker")) if one["State"]["Running"]]
        return next((one for one in alive for (owner,) in running if owner.startswith(one)), None)

    def healthy(self, service: str) -> bool:
        """Whether Docker calls every running container of a service healthy."""
        states = [one["State"] for one in self.inspect(*self.containers(service)) if one["State"]["Running"]]
        return {state["Health"]["Status"] for state in states} == {"healthy"}

    def wait(self, holds: Callable[[], object], within: float = 600) -> Any:
        deadline = time.monotonic() + within
        while not (found := holds()):
            assert time.monotonic() < deadline, self.compose("logs", "--tail", "50")
            time.sleep(0.25)
        return found


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    with engine() as env, socket.socket() as free:
        images = bases(env)
        build(env, images["PYTHON_IMAGE"], folder)
        for name in ("docker-compose.yml", "Makefile"):
            shutil.copy(REPOSITORY / name, folder)
        shutil.copytree(REPOSITORY / "deploy", folder / "deploy")
        (folder / "studies").mkdir()
        (folder / "studies" / "small.toml").write_text(STUDY)
        run("make", "secrets", env=env, folder=folder)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        settings = {"TUNER_IMAGE": IMAGE, "POSTGRES_IMAGE": images["POSTGRES_IMAGE"], "MLFLOW_PORT": str(port)}
        with (folder / ".env").open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in settings.items())
        made = Stack(folder, env, port)
        made.compose("down", "--volumes")
        made.compose("up", "--detach", "--no-build", "--scale", "worker=3", "postgres", "mlflow", "forwarder", "worker")
        yield made
        made.compose("down", "--volumes")


def test_a_study_survives_the_death_of_every_part(stack: Stack) -> None:
    assert f"{TRIALS} trials" in stack.compose("run", "--rm", "-T", "tuner", "launch", "small.toml")

    killed = stack.wait(stack.busy)
    stack.docker("kill", "--signal", "KILL", killed)
    before = stack.ended()
    stack.compose("stop", "mlflow")

    asked = stack.wait(stack.busy)
    stack.docker("kill", "--signal", "TERM", asked)
    assert stack.docker("wait", asked).split() == ["0"]
    stack.compose("up", "--detach", "--no-build", "--no-deps", "--scale", "worker=3", "worker")

    stack.wait(lambda: stack.ended() >= before + 3)
    stack.compose("restart", "postgres")
    stack.wait(lambda: stack.healthy("postgres"))
    stack.wait(lambda: stack.ended() >= before + 6)
    assert stack.count(f"{RUNS} AND status = 'FINISHED'") < before + 6
    stack.compose("start", "mlflow")
    stack.wait(lambda: stack.ended() == TRIALS)

    assert stack.count("tuner.trial WHERE state = 'complete'") == TRIALS
    assert stack.count(f"tuner.trial WHERE state = 'complete' AND epoch = {EPOCHS} AND crashes = 0") >= TRIALS - 1
    assert stack.count("tuner.epoch") == TRIALS * EPOCHS
    assert stack.count("tuner.trial WHERE attempts > 1") >= 2
    assert stack.count("tuner.trial WHERE owner IS NOT NULL AND state = 'running'") == 0


def test_mlflow_has_everything_once(stack: Stack) -> None:
    stack.wait(lambda: stack.count(f"{RUNS} AND status = 'FINISHED'") == TRIALS + 1)
    assert stack.count(RUNS) == TRIALS + 1
    curves = stack.sql("SELECT count(*), count(DISTINCT step) FROM mlflow.metrics WHERE key = 'val_accuracy' GROUP BY run_uuid")
    assert curves == [[str(EPOCHS)] * 2] * TRIALS
    told = stack.compose("exec", "-T", "forwarder", "tuner", "status", "small", "--json")
    assert json.loads(told[told.index("{") :])["not_yet_in_mlflow"] == 0


def test_every_role_is_healthy_by_a_query_of_its_own(stack: Stack) -> None:
    for service in ("postgres", "mlflow", "forwarder", "worker"):
        stack.wait(lambda service=service: stack.healthy(service))
    (mlflow,) = stack.containers("mlflow")
    stack.compose("pause", "postgres")
    asked = [docker(), "exec", mlflow, "tuner", "health", "http://127.0.0.1:5000"]
    with pytest.raises(AssertionError, match="does not answer"):
        run(*asked, env=stack.env)
    stack.compose("unpause", "postgres")


def test_nothing_is_open_but_mlflow_on_this_machine_to_those_who_ask_for_it_by_name(stack: Stack) -> None:
    published = [
        (one["Config"]["Labels"]["com.docker.compose.service"], binding["HostIp"])
        for one in stack.inspect(*stack.containers())
        for bindings in one["NetworkSettings"]["Ports"].values()
        for binding in bindings or []
    ]
    assert published == [("mlflow", "127.0.0.1")]
    listening = {c.laddr.ip for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == stack.port}
    assert listening == {"127.0.0.1"}
    address = f"http://127.0.0.1:{stack.port}/"
    assert urlopen(address, timeout=30).status == 200
    for stranger in ("10.attacker.com", "192.168.1.evil.com", "evil.com"):
        with pytest.raises(HTTPError, match="403"):
            urlopen(Request(address, headers={"Host": stranger}), timeout=30)


def test_no_container_runs_as_root_or_can_write_to_its_system(stack: Stack) -> None:
    for one in stack.inspect(*stack.containers()):
        host, user = one["HostConfig"], one["Config"]["User"].split(":")
        assert "0" not in user
        assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == (True, ["ALL"], False)
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert host["Memory"] > 0
        assert host["PidsLimit"] > 0
        assert host["LogConfig"]["Config"] == {"max-size": "20m", "max-file": "5"}
        assert not [m["Source"] for m in one["Mounts"] if m["Source"].endswith("docker.sock")]


def test_no_secret_is_in_a_log_a_setting_or_a_command_line(stack: Stack) -> None:
    shown = stack.compose("config") + stack.compose("logs", "--no-color")
    for one in stack.inspect(*stack.containers()):
        shown += json.dumps(one) + stack.docker("logs", one["Id"])
        shown += stack.docker("top", one["Id"], "-efww") if one["State"]["Running"] else ""
    assert "tuner worker" in shown
    for name in SECRETS:
        secret = (stack.folder / "secrets" / name).read_text().strip()
        assert len(secret) == 32
        assert secret not in shown, name


def test_secrets_are_made_once_and_nothing_starts_without_them(stack: Stack, tmp_path: Path) -> None:
    files = [stack.folder / "secrets" / name for name in SECRETS]
    before = [file.read_text() for file in files]
    run("make", "secrets", env=stack.env, folder=stack.folder)
    assert [file.read_text() for file in files] == before
    assert len(set(before)) == 3
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    shutil.copy(REPOSITORY / "docker-compose.yml", tmp_path)
    with pytest.raises(AssertionError, match="make secrets"):
        run(*compose(stack.env), "up", "--detach", "--no-build", env=stack.env, folder=tmp_path)
