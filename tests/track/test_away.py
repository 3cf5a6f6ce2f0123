"""Nothing is lost while MLflow is away, and the process that forwards ends when it should."""

import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from tests.track.studies import ALL, MARKS, Mlflow, begin, complete, train
from tuner import track
from tuner.errors import BadInput
from tuner.process import here
from tuner.store import Store, Study
from tuner.track import Forwarder
from tuner.track.door import Door, Refused, Unreachable
from tuner.track.follow import Lifeline, Presence, follow, order
from tuner.trial import Failure, Outcome, State

pytestmark = MARKS


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_a_server_that_is_down_loses_nothing_and_hears_no_secret(tables: Store, study: Study, closed_port: int) -> None:
    complete(tables, study)
    address = f"http://me:s3cret%21@127.0.0.1:{closed_port}"
    with pytest.raises(Unreachable, match="MLflow: ") as raised:
        Forwarder(tables, address).forward(study.name)
    assert "s3cret" not in str(raised.value)
    assert track.lag(tables, study, address) == 1


def test_an_address_that_is_none_is_refused(tables: Store) -> None:
    with pytest.raises(BadInput, match="http://HOST:PORT"):
        Forwarder(tables, "mysql://somewhere")


def test_each_mlflow_has_its_own_progress(tables: Store, tmp_path: Path) -> None:
    def view(uri: str) -> str:
        return track.view(tables, uri)

    assert view("http://a:5000") == view("http://me:secret@a:5000/") != view("http://b:5000")
    assert view(f"sqlite:///{tmp_path}/mlflow.db") != view(f"sqlite:///{tmp_path}/b/mlflow.db")


def started(tables: Store, uri: str, name: str) -> "subprocess.Popen[bytes]":
    """The process that `tuner run` starts, with its order; its standard input is still open."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner.track"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **track.ENVIRONMENT},
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(order(tables.url.render_as_string(), uri, name, str(tables.url.database)))
    process.stdin.flush()
    return process


def test_the_process_waits_for_a_server_that_is_down_and_ends_with_its_lifeline(
    tables: Store, study: Study, closed_port: int
) -> None:
    complete(tables, study)
    process = started(tables, f"http://127.0.0.1:{closed_port}", study.name)
    assert process.stderr is not None
    said = [process.stderr.readline() for _ in range(2)]
    assert [b"next try in 1 s" in said[0], b"next try in 2 s" in said[1]] == [True, True], said
    _, last = process.communicate()
    assert b"given up for now" in last
    assert process.returncode == 1


def test_the_process_makes_the_database_and_ends_with_its_lifeline(tables: Store, study: Study, tmp_path: Path) -> None:
    complete(tables, study)
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    process = started(tables, uri, study.name)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert track.lag(tables, study, uri) == 0
    assert Mlflow(uri).trial(study).info.status == "FINISHED"
    with closing(sqlite3.connect(tmp_path / "new" / "mlflow.db")) as made:
        assert made.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert [file.name for file in (tmp_path / "new" / "mlartifacts").rglob("*.toml")] == ["study.toml"]


def test_after_the_lifeline_is_cut_one_more_pass_shows_the_rest(
    tables: Store, study: Study, forwarder: Forwarder, uri: str
) -> None:
    complete(tables, study)
    ours, theirs = os.pipe()
    os.close(theirs)
    assert follow(forwarder, study.name, Lifeline(ours))
    assert track.lag(tables, study, uri) == 0
    os.close(ours)


def test_a_study_that_goes_away_does_not_end_the_process(tables: Store, study: Study, forwarder: Forwarder) -> None:
    tables.delete(study)
    assert follow(forwarder, study.name, Lifeline(None), until_idle=True)


class Relay(ThreadingHTTPServer):
    """Stands before a server: it passes requests on, or loses what `loses` says, before or after the server has seen it."""

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.behind = behind
        self.loses: Callable[[str], str] = lambda _path: ""

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Passing(BaseHTTPRequestHandler):
    server: Relay

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline()
        if self.raw_requestline and self.parse_request():
            self.relay()

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        lost = self.server.loses(self.path)
        self.close_connection = True
        if lost == "request":
            return
        headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
        answer = requests.request(self.command, self.server.behind + self.path, data=body, headers=headers, timeout=60)
        if lost == "answer":
            return
        self.send_response(answer.status_code)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def relay(server: str) -> Iterator[Relay]:
    with Relay(server) as opened:
        thread = threading.Thread(target=opened.serve_forever)
        thread.start()
        yield opened
        opened.shutdown()
        thread.join()


@pytest.mark.slow
def test_a_server_that_comes_back_is_shown_everything(tables: Store, study: Study, relay: Relay, server: str) -> None:
    complete(tables, study)
    claim = begin(tables, study)
    train(tables, claim, 1)
    forwarder = Forwarder(tables, relay.uri)
    relay.loses = lambda _path: "request"
    with pytest.raises(Unreachable):
        forwarder.forward(study.name)
    relay.loses = lambda _path: ""
    mlflow = Mlflow(server)
    assert forwarder.forward(study.name) == 2
    train(tables, claim, 2, Outcome(State.FAILED, failure=Failure.OUT_OF_MEMORY, message="it was too much"))
    assert forwarder.forward(study.name) == 1
    assert [mlflow.trial(study, number).info.status for number in (0, 1)] == ["FINISHED", "FAILED"]
    assert mlflow.trial(study, 1).info.end_time == 2_002_250
    (file,) = mlflow.client.list_artifacts(mlflow.parent(study).info.run_id)
    assert file.path == "study.toml"
    before = mlflow.everything(study)
    assert forwarder.rebuild(study) == 2
    assert mlflow.everything(study) == before
    track.delete(tables, study, relay.uri)
    assert mlflow.experiment(study, ALL).lifecycle_stage == "deleted"


@pytest.mark.slow
def test_a_server_that_goes_while_it_is_sent_files_is_told_from_one_that_does_not_take_them(
    tables: Store, study: Study, relay: Relay, server: str, tmp_path: Path
) -> None:
    Forwarder(tables, relay.uri).forward(study.name)
    run, door = Mlflow(server).parent(study).info.run_id, Door(relay.uri)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "report.html").write_text("a report")
    relay.loses = lambda path: "request" if "mlflow-artifacts" in path else ""
    assert not door.upload(run, tmp_path / "files")
    seen: list[str] = []

    def gone(path: str) -> str:
        seen.append(path)
        return "request" if any("mlflow-artifacts" in path for path in seen) else ""

    relay.loses = gone
    with pytest.raises(Unreachable):
        door.upload(run, tmp_path / "files")
    relay.loses = lambda _path: ""
    assert door.upload(run, tmp_path / "files")
    assert "report.html" in {file.path for file in Mlflow(server).client.list_artifacts(run)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "which"),  # the first of a kind is of the study itself, the second of its trial
    [("experiments/create", 1), ("runs/create", 1), ("runs/create", 2), ("runs/log-batch", 2), ("runs/update", 2)],
)
def test_an_answer_that_is_lost_doubles_nothing(
    tables: Store, study: Study, relay: Relay, server: str, call: str, which: int
) -> None:
    complete(tables, study)
    answers = iter([""] * (which - 1) + ["answer"])
    relay.loses = lambda path: next(answers, "") if path.endswith(call) else ""
    forwarder = Forwarder(tables, relay.uri)
    with pytest.raises(Unreachable):
        forwarder.forward(study.name)
    forwarder.forward(study.name)
    mlflow = Mlflow(server)
    assert {run.info.run_name: run.info.status for run in mlflow.runs(study)} == {"trial 0": "FINISHED", study.name: "RUNNING"}
    assert len(mlflow.runs(study)) == 2
    assert mlflow.curve(mlflow.trial(study), "loss") == [(1, 2_001_250, 1.0), (2, 2_002_250, 0.5)]
    assert mlflow.trial(study).data.params == {"width": "4", "learning_rate": "0.001"}


def test_asking_for_the_lag_or_the_environment_does_not_load_mlflow() -> None:
    code = "import sys, tuner.track; assert tuner.track.ENVIRONMENT and tuner.track.lag; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_mlflow_refuses_is_told_from_its_absence(forwarder: Forwarder) -> None:
    with pytest.raises(Refused):
        forwarder._door.restore("0" * 32)


def test_a_tracker_is_seen_among_the_workers_with_its_trouble(tables: Store) -> None:
    presence = Presence(tables, here(device="mlflow"))
    for trouble in ("", "MLflow is away", ""):
        presence.sign(trouble)
        (seen,) = tables.workers()
        assert (seen.worker.device, seen.worker.message, seen.silent) == ("mlflow", trouble, False)
    presence.end()
    assert tables.workers() == []


def test_a_tracker_tells_what_keeps_it_from_forwarding(tables: Store, study: Study) -> None:
    ours, theirs = os.pipe()
    told: list[str] = []

    def present(trouble: str) -> None:
        told.append(trouble)
        if len(told) == 2:
            os.close(theirs)

    assert not follow(Forwarder(tables, "http://127.0.0.1:1"), study.name, Lifeline(ours), present=present)
    assert told[0] == ""
    assert all(trouble.startswith("MLflow: ") for trouble in told[1:])
    os.close(ours)
