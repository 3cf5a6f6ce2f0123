"""`tuner health`, and passwords that come by file."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.test_cli import tuner, write
from tuner.cli import places
from tuner.process import here
from tuner.store import Store

NOWHERE = "http://127.0.0.1:1"


def test_health_is_that_of_the_workers_of_this_host_that_live(tmp_path: Path) -> None:
    def told() -> tuple[int, str]:
        done = tuner(tmp_path, "health")
        return done.returncode, done.stdout + done.stderr

    (tmp_path / ".tuner").mkdir()
    store = Store(f"sqlite:///{tmp_path / '.tuner' / 'tuner.db'}")
    store.migrate()
    worker, now = here("this"), store.clock()
    store.enlist(replace(worker, name="elsewhere", host="another"), now=now - 1000)
    store.enlist(replace(worker, name="dead", process_started=1.0), now=now - 1000)
    assert told() == (1, "tuner: no worker and no tracker of this host gives signs of life\n")
    store.enlist(worker, now=now - 1000)
    assert told()[0] == 1
    store.enlist(replace(worker, message="in trouble"))
    code, said = told()
    assert (code, said.count("\n")) == (0, 1)
    assert "in trouble" in said
    store.close()


def test_health_of_an_mlflow_that_does_not_answer(tmp_path: Path) -> None:
    for address, code in ((NOWHERE, 1), ("file:///etc/passwd", 2)):
        refused = tuner(tmp_path, "health", address)
        assert (refused.returncode, refused.stderr.count("\n")) == (code, 1)


def test_health_loads_nothing_that_takes_long() -> None:
    code = f"import sys; from tuner.cli import main; sys.argv[1:] = ['health', {NOWHERE!r}]\ntry: main()\n"
    code += "finally: print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.split()
    assert "tuner.track" in loaded
    assert not {"tensorflow", "keras", "mlflow", "optuna"} & set(loaded)


@pytest.mark.parametrize("password", ["", "changeme\n", "Postgres"])
def test_a_password_that_nobody_made_is_refused(tmp_path: Path, password: str) -> None:
    write(tmp_path, password, "password")
    refused = tuner(
        tmp_path, "list", TUNER_DB="postgresql://u@127.0.0.1:1/d", TUNER_DB_PASSWORD_FILE=str(tmp_path / "password")
    )  # fmt: skip
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "TUNER_DB_PASSWORD_FILE" in refused.stderr
    assert "make secrets" in refused.stderr


def test_the_password_of_mlflows_database_comes_from_its_file(tmp_path: Path) -> None:
    write(tmp_path, "p@ss w:rd\n", "password")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNER_MLFLOW", "postgresql://mlflow@h/d?options=-csearch_path%3Dmlflow")
        patch.setenv("TUNER_MLFLOW_PASSWORD_FILE", str(tmp_path / "password"))
        uri = places.mlflow_uri("postgresql://u@h/d")
    assert uri == "postgresql+psycopg://mlflow:p%40ss w%3Ard@h/d?options=-csearch_path%3Dmlflow"
