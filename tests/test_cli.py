"""The program as a person runs it: real processes, a real study, and every mistake that is easy to make."""

import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import study_spec
from tuner.store import Store

TUNER = [sys.executable, "-m", "tuner.cli"]
REPOSITORY = Path(__file__).parents[1]
STUDY = """
data = "digits"
objective = "val_accuracy"
budget = 4
pruner = "none"

[train]
epochs = {epochs}

[search]
width = [16, 32]
learning_rate = {{float = [1e-3, 1e-2], log = true}}
"""


def tuner(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNER")}
    return subprocess.run(
        [*TUNER, *arguments],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def write(folder: Path, text: str, name: str = "small.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


# A whole study ------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a small study of digits was run to its end, with MLflow."""
    folder = tmp_path_factory.mktemp("finished")
    write(folder, STUDY.format(epochs=2))
    done = tuner(folder, "run", "small.toml")
    assert done.returncode == 0, done.stderr
    assert "small: 4 complete" in done.stdout
    assert done.stdout.count("\n4/4 trial ") == 1
    assert done.stderr == ""
    return folder


@pytest.mark.slow
def test_the_same_run_again_says_that_nothing_is_left(finished: Path) -> None:
    again = tuner(finished, "run", "small.toml")
    assert again.returncode == 0
    assert "small: 4 complete" in again.stdout


@pytest.mark.slow
def test_list_status_and_best_tell_the_same_story(finished: Path) -> None:
    (listed,) = json.loads(tuner(finished, "list", "--json").stdout)
    status = json.loads(tuner(finished, "status", "small", "--json").stdout)
    (best,) = json.loads(tuner(finished, "best", "small", "--json").stdout)
    assert {key: status[key] for key in listed} == listed
    assert (listed["state"], listed["complete"], listed["best_trial"]) == ("ended", 4, best["trial"])
    assert status["not_yet_in_mlflow"] == 0
    assert best["val_accuracy"] == listed["best"]
    assert set(best["params"]) == {"width", "learning_rate"}
    for command in (["list"], ["status", "small"], ["best", "small", "--top", "3"]):
        told = tuner(finished, *command)
        assert told.returncode == 0
        assert f"{best['val_accuracy']:.4g}" in told.stdout


@pytest.mark.slow
def test_a_narrow_terminal_folds_the_names_of_studies_and_cuts_nothing_off(tmp_path: Path) -> None:
    database = Store(f"sqlite:///{tmp_path / 'tuner.db'}")
    database.migrate()
    for name in ("digits", "k" * 150):
        database.launch(study_spec(name=name, budget=350), 350, {})
    database.close()
    listed = tuner(tmp_path, "list", "--db", str(tmp_path), COLUMNS="60").stdout
    assert all(len(line) <= 60 for line in listed.splitlines())
    assert {"digits", "waiting", "0/350", "pruned", "failed", "best"} <= set(listed.split())
    assert listed.count("k") == 150


def test_the_report_is_one_page_with_pictures(finished: Path) -> None:
    told = tuner(finished, "report", "small", "--out", "page")
    assert told.returncode == 0, told.stderr
    page = finished / told.stdout.strip()
    assert "val_accuracy" in page.read_text()
    assert list((finished / "page").rglob("*.png"))


@pytest.mark.slow
def test_mlflow_has_every_trial_with_its_curves(finished: Path) -> None:
    with closing(sqlite3.connect(finished / ".tuner" / "mlflow.db")) as database:
        runs = database.execute("SELECT name, status FROM runs").fetchall()
        points = database.execute("SELECT COUNT(*) FROM metrics WHERE key = 'val_accuracy'").fetchone()
    assert sorted(name for name, _ in runs) == ["small", "trial 0", "trial 1", "trial 2", "trial 3"]
    assert {status for _, status in runs} == {"FINISHED"}
    assert points == (8,)


@pytest.mark.slow
def test_a_trial_of_a_pack_is_reproduced_alone_and_a_changed_record_is_not(tmp_path: Path) -> None:
    text = STUDY.format(epochs=2).replace("[train]", "[train]\nlanes = 4")
    write(tmp_path, text.replace("[train]", "[final]\nfinalists = 2\nseeds = 3\n[train]"))
    ran = tuner(tmp_path, "run", "small.toml", "--no-mlflow")
    assert ran.returncode == 0, ran.stderr
    check_race(tmp_path, ran.stdout)
    exported = tuner(tmp_path, "export", "small", "--out", "winner.keras")
    assert (exported.returncode, exported.stderr) == (0, "")
    assert exported.stdout.startswith("winner.keras: on 359 rows of the test split")
    assert (tmp_path / "winner.keras").is_file()
    again = tuner(tmp_path, "reproduce", "small", "2")
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, "trial 2 matches its record"), again.stderr
    assert again.stderr == ""
    assert again.stdout.startswith("as it was trained: python ")
    with closing(sqlite3.connect(tmp_path / ".tuner" / "tuner.db")) as database, database:
        database.execute("UPDATE trial SET params = json_set(params, '$.learning_rate', 0.005) WHERE number = 2")
        database.execute("UPDATE conditions SET said = json_set(said, '$.keras', '3.0', '$.gpu', 'NVIDIA H200')")
    other = tuner(tmp_path, "reproduce", "small", "2")
    assert (other.returncode, other.stdout.splitlines()[-1]) == (1, "trial 2 does not match its record")
    assert other.stdout.splitlines()[:2] == [
        f"not as it was trained: keras: 3.0 then, {version('keras')} now",
        "not as it was trained: gpu: NVIDIA H200 then, none now",
    ]
    missing = tuner(tmp_path, "reproduce", "small", "9")
    assert (missing.returncode, missing.stderr) == (2, "tuner: small: there is no trial 9; there are 0 to 3\n")


def check_race(folder: Path, said: str) -> None:
    """The race of that study: in lanes like its search, and scored once, alone, on rows that no other process had."""
    assert [said.count(f"\n{n}/{n} {kind} ") for n, kind in ((4, "trial"), (6, "race trial"), (1, "test trial"))] == [1, 1, 1]
    status = json.loads(tuner(folder, "status", "small", "--json").stdout)
    (best,) = json.loads(tuner(folder, "best", "small", "--json").stdout)
    assert (status["state"], status["ended"], status["race"]) == ("ended", 4, "6 of 6 trainings ended")
    assert (best["race"]["fate"], len(best["race"]["values"]), best["test"]) == ("winner", 3, status["test"])
    low, high = best["test"]["interval"]
    assert 0 < low < best["test"]["value"] < high < 1
    assert [one["fate"] in ("tie", "behind") for one in status["finalists"]] == [False, True]
    assert f"winner: trial {best['trial']}, val_accuracy {best['race']['mean']:.4g} (95 %: " in said
    assert tuner(folder, "best", "small").stdout.startswith(f"winner: trial {best['trial']}, ")
    logs = "".join(path.read_text() for path in (folder / ".tuner" / "logs").glob("*.log"))
    assert (logs.count(" 4 lanes, "), logs.count(" the winner, one trial at a time")) == (2, 1)


@pytest.mark.slow
def test_extending_runs_only_what_is_new_and_deleting_forgets_all(finished: Path) -> None:
    extended = tuner(finished, "extend", "small", "--trials", "1")
    assert "5 trials in all" in extended.stdout
    more = tuner(finished, "run", "small.toml")
    assert more.returncode == 0, more.stderr
    assert "5/5 trial 4 complete" in more.stdout
    assert "small: 5 complete" in more.stdout
    asked = tuner(finished, "delete", "small")
    assert asked.returncode == 1
    away = tuner(finished, "delete", "small", "--yes", TUNER_MLFLOW="http://127.0.0.1:9")
    assert (away.returncode, away.stderr.startswith("tuner: MLflow"), away.stderr.count("\n")) == (1, True, 1), away.stderr
    assert [study["study"] for study in json.loads(tuner(finished, "list", "--json").stdout)] == ["small"]
    gone = tuner(finished, "delete", "small", "--yes")
    assert gone.returncode == 0, gone.stderr
    assert json.loads(tuner(finished, "list", "--json").stdout) == []
    with closing(sqlite3.connect(finished / ".tuner" / "mlflow.db")) as database:
        stages = database.execute("SELECT lifecycle_stage FROM experiments WHERE name LIKE 'small%'").fetchall()
    assert stages == [("deleted",)]


# Interruptions ------------------------------------------------------------


def start(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
    command = [*TUNER, "run", "small.toml", "--no-mlflow"]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_an_epoch(folder: Path, process: subprocess.Popen[str], count: int = 1) -> None:
    """Until the store holds so many epochs; a process that ends before fails the test."""
    path = folder / ".tuner" / "tuner.db"
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        if path.exists():
            with closing(sqlite3.connect(path, timeout=30)) as database:
                tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
                if "epoch" in tables and database.execute("SELECT COUNT(*) FROM epoch").fetchone()[0] >= count:
                    return
        time.sleep(0.05)
    raise AssertionError("no epoch in four minutes")


def rows(folder: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / ".tuner" / "tuner.db")) as database:
        return database.execute("SELECT number, state, params, value, epoch FROM trial ORDER BY number").fetchall()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ctrl-c", "kill"])
def test_an_interrupted_run_goes_on_to_what_it_would_have_been(tmp_path: Path, how: str) -> None:
    quiet, broken = tmp_path / "quiet", tmp_path / "broken"
    for folder in (quiet, broken):
        folder.mkdir()
        write(folder, STUDY.format(epochs=150).replace("[train]", "[train]\ncheckpoint_seconds = 0.2"))
    assert tuner(quiet, "run", "small.toml", "--no-mlflow").returncode == 0
    process = start(broken)
    wait_for_an_epoch(broken, process, 30)
    if how == "ctrl-c":
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 130
        assert "go on with: tuner run small.toml --no-mlflow" in out
        assert re.search(r"interrupted with [34] trials to go", out)
    else:
        process.kill()
        process.communicate(timeout=120)
    again = tuner(broken, "run", "small.toml", "--no-mlflow")
    assert again.returncode == 0, again.stderr
    assert rows(broken) == rows(quiet)


# A network of one's own ------------------------------------------------------------


NETWORK = """
import keras


def net(units, input_shape, outputs):
    if units == 3:
        raise ValueError("three units are too few")
    return keras.Sequential(
        [keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(units, "relu"), keras.layers.Dense(outputs)]
    )
"""


@pytest.mark.slow
def test_a_function_of_ones_own_is_trained_and_its_errors_are_reported(tmp_path: Path) -> None:
    write(tmp_path, NETWORK, "mine.py")
    text = STUDY.format(epochs=2).replace("width = [16, 32]", "units = [3, 8]").replace("budget = 4", "budget = 2")
    write(tmp_path, 'model = "mine:net"\nsampler = "grid"\n' + text.replace("{float = [1e-3, 1e-2], log = true}", "0.01"))
    done = tuner(tmp_path, "run", "small.toml", "--allow-code", "--no-mlflow")
    assert done.returncode == 0, done.stderr
    assert "small: 1 complete, 1 failed" in done.stdout
    (failure,) = json.loads(tuner(tmp_path, "status", "small", "--json").stdout)["failures"]
    assert (failure["kind"], failure["message"]) == ("error", "ValueError: three units are too few")


VANISHING = """
import os
import pathlib


def net(units, input_shape, outputs):
    pathlib.Path("rows.csv").unlink()
    os.abort()
"""


@pytest.mark.slow
def test_a_study_that_has_begun_is_kept_when_its_data_vanish(tmp_path: Path) -> None:
    write(tmp_path, VANISHING, "mine.py")
    write(tmp_path, "a,y\n" + "\n".join(f"{n},{n % 2}" for n in range(200)), "rows.csv")
    text = (
        STUDY.format(epochs=2)
        .replace("width = [16, 32]", "units = [3, 8]")
        .replace('"digits"', '{source = "rows.csv", target = "y"}')
    )
    write(tmp_path, 'model = "mine:net"\n' + text)
    done = tuner(tmp_path, "run", "small.toml", "--allow-code", "--no-mlflow")
    assert (done.returncode, done.stderr.splitlines()[-1].startswith("tuner: small.toml: data.source: ")) == (2, True), (
        done.stderr
    )
    assert json.loads(tuner(tmp_path, "status", "small", "--json").stdout)["trials"] == 4


@pytest.mark.slow
def test_a_study_trains_on_the_rows_of_its_launch_wherever_they_lie_and_on_no_others(tmp_path: Path) -> None:
    table = "a,y\n" + "\n".join(f"{n},{n % 2}" for n in range(200))
    write(tmp_path, table, "rows.csv")
    write(tmp_path, STUDY.format(epochs=2).replace('"digits"', '{source = "rows.csv", target = "y"}'))
    assert tuner(tmp_path, "launch", "small.toml").returncode == 0
    write(tmp_path, f"{table}\n200,0", "rows.csv")
    refused = tuner(tmp_path, "run", "small.toml", "--no-mlflow")
    assert (refused.returncode, refused.stderr.splitlines()[-1]) == (
        2,
        "tuner: small.toml: data.source: not the rows that the study was launched with (rows 200 then, 201 now); "
        "bring those back, or begin a new study",
    )
    assert json.loads(tuner(tmp_path, "status", "small", "--json").stdout)["queued"] == 4
    write(tmp_path, table, "rows.csv")
    assert tuner(tmp_path, "run", "small.toml", "--no-mlflow").returncode == 0
    (tmp_path / "moved").mkdir()
    (tmp_path / "rows.csv").rename(tmp_path / "moved" / "rows.csv")
    assert "no file or folder 'rows.csv'" in tuner(tmp_path, "reproduce", "small", "0").stderr
    again = tuner(tmp_path, "reproduce", "small", "0", "--data", "moved/rows.csv")
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, "trial 0 matches its record"), again.stderr


# Mistakes ------------------------------------------------------------


MISTAKES = {
    "misspelt key": (STUDY.replace("[search]", "[serach]"), "small.toml: serach: unknown key; did you mean 'search'?"),
    "misspelt data": (STUDY.replace('"digits"', '"digit"'), "small.toml: data.source: "),
    "outside": (STUDY.replace('"digits"', '"/etc"'), "small.toml: data.source: "),
    "upside down": (STUDY.replace("1e-3, 1e-2", "1e-2, 1e-3"), "small.toml: search.learning_rate: the range is upside down"),
    "too large": (STUDY.replace("[16, 32]", "[16, 100_000]\ndepth = 900"), "small.toml: search: the largest network has"),
    "batch": (STUDY + "batch_size = 1500", "small.toml: search.batch_size: 1500 is more than the "),
    "task": (STUDY.replace('"val_accuracy"', '"val_rmse"'), "small.toml: objective.metric: rmse is for regression"),
    "code": ('model = "my:net"\n' + STUDY, "small.toml: model.name: my:net is code; allow it to run with --allow-code"),
    "table": (STUDY.replace('"digits"', '{{source = "t.csv", target = "pice"}}'), "small.toml: data.target: no column 'pice'"),
    "nan": (STUDY.replace('"digits"', '{{source = "n.csv", target = "price"}}'), "small.toml: data.source: "),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("command", ["run", "validate"])
def test_a_mistake_gets_one_line_and_leaves_nothing(tmp_path: Path, command: str, mistake: str) -> None:
    text, said = MISTAKES[mistake]
    write(tmp_path, "a,price\n" + "\n".join(f"{n},{n * 1.5}" for n in range(50)), "t.csv")
    write(tmp_path, "a,price\nnan,2.5\n" + "\n".join(f"{n},{n * 1.5}" for n in range(50)), "n.csv")
    write(tmp_path, text.format(epochs=2))
    refused = tuner(tmp_path, command, "small.toml")
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert refused.stderr.startswith(f"tuner: {said}")
    assert refused.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.csv", "small.toml", "t.csv"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "missing.toml"], "tuner: missing.toml: cannot be read: No such file or directory"),
        (["status", "x"], "tuner: --db: there are no studies in .tuner; begin with: tuner run FILE"),
        (["best", "x", "--db", "elsewhere"], "tuner: --db: there are no studies in elsewhere"),
        (["list", "--db", "mysql://h/d"], "tuner: --db: mysql is not supported"),
        (["list", "--db", "postgresql://u@127.0.0.1:1/d?password=hunter2"], "tuner: --db: the password stands in the query"),
        (["list", "--db", "postgresql://u:hunter2@127.0.0.1:1/d"], "tuner: --db: no password on a command line"),
        (
            ["run", str(REPOSITORY / "studies" / "digits.toml"), "--db", "/dev/null/x"],
            "tuner: --db: /dev/null/x cannot be made: ",
        ),
        (["ui"], "tuner: --db: there is no MLflow database in .tuner"),
        (["worker"], "tuner: --db: there are no studies in .tuner"),
        (["launch", "missing.toml"], "tuner: missing.toml: cannot be read: No such file or directory"),
    ],
)
def test_what_is_not_there_gets_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    refused = tuner(tmp_path, *arguments)
    assert refused.returncode in (1, 2)
    assert refused.stderr.startswith(said)
    assert refused.stderr.count("\n") == 1
    assert "hunter2" not in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / ".tuner").mkdir()
    (tmp_path / ".tuner" / "tuner.db").write_text("this is no database, but it is long enough to be looked at" * 20)
    refused = tuner(tmp_path, "list")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "file is not a database" in refused.stderr


def test_a_study_that_would_end_at_once_is_not_extended(tmp_path: Path) -> None:
    tables = Store(f"sqlite:///{tmp_path / '.tuner' / 'tuner.db'}")
    tables.migrate()
    tables.launch(study_spec(budget={"trials": 2, "hours": 1}), 2, {}, now=tables.clock() - 3601)
    refused = tuner(tmp_path, "extend", "small", "--trials", "1")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert refused.stderr.startswith("tuner: small: budget.hours: 1 hours are over; more trials would be cancelled at once; ")
    assert tables.study("small").trials == 2
    tables.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["logs", "small", "9" * 20], "tuner: small: there is no trial 99999999999999999999; there are 0 to 1"),
        (["reproduce", "small", "9" * 20], "tuner: small: there is no trial 99999999999999999999; there are 0 to 1"),
        (["best", "small", "--top", "9" * 20], "tuner: small: no trial has completed yet"),
        (["extend", "small", "--trials", "9" * 20], "tuner: --trials: 2 + 99999999999999999999 is more than 10000"),
        (["report", "small", "--out", "small.toml"], "tuner: --out: small.toml cannot be written: File exists"),
        (["report", "small", "--tensorboard", "small.toml"], "tuner: --tensorboard: small.toml"),
        (["list", "--db", "sqlite:///no/where.db"], "tuner: --db: there are no studies in sqlite:///no/where.db"),
    ],
)
def test_what_cannot_be_done_with_a_study_gets_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    with closing(Store(f"sqlite:///{tmp_path / '.tuner' / 'tuner.db'}")) as tables:
        tables.migrate()
        tables.launch(study_spec(budget={"trials": 2}), 2, {})
    write(tmp_path, STUDY.format(epochs=2))
    refused = tuner(tmp_path, *arguments)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert refused.stderr.startswith(said)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tuner", "small.toml"]


def test_a_priority_below_that_of_the_launch_is_taken(tmp_path: Path) -> None:
    with closing(Store(f"sqlite:///{tmp_path / '.tuner' / 'tuner.db'}")) as tables:
        tables.migrate()
        tables.launch(study_spec(), 2, {})
        assert tuner(tmp_path, "priority", "small", "-5").stdout == "small: priority -5\n"
        assert tables.study("small").priority == -5


def test_a_command_that_is_suggested_can_be_typed(tmp_path: Path) -> None:
    (tmp_path / "my studies").mkdir()
    write(tmp_path / "my studies", 'name = "it\'s $HOME"\n' + STUDY.format(epochs=2))
    launched = tuner(tmp_path, "launch", "my studies/small.toml")
    command = launched.stdout.partition("watch them with: ")[2].strip().removesuffix(" --watch")
    assert shlex.split(command) == ["tuner", "status", "it's $HOME"]
    assert tuner(tmp_path, *shlex.split(command)[1:]).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["frobnicate"],
        ["extend", "x", "--trials", "0"],
        ["best", "x", "--top", "none"],
        ["priority", "x", "9" * 20],
        ["launch", "x.toml", "--priority", "9" * 20],
    ],
)
def test_wrong_usage_is_exit_code_2(tmp_path: Path, arguments: list[str]) -> None:
    assert tuner(tmp_path, *arguments).returncode == 2


def test_validate_prints_what_was_understood(tmp_path: Path) -> None:
    write(tmp_path, STUDY.format(epochs=2))
    meaning = json.loads(tuner(tmp_path, "validate", "small.toml", "--json").stdout)
    assert meaning["budget"] == "4 trials of 2 epochs"
    assert meaning["largest network"].startswith("3,466 weights")
    assert meaning["space"] == ["width: 16, 32", "learning_rate: 0.001 to 0.01, log"]
    assert tuner(tmp_path, "validate", "small.toml").returncode == 0


STRUCTURE = """
data = "digits"
model = "convnet"
objective = "val_accuracy"
budget = 2
enqueue = [{kernel = 5, convolutions = 2}, {kernel = 3, convolutions = 1}]
[train]
epochs = 1
[search]
convolutions = {int = [1, 2]}
filters = {choice = [2, 4], per_layer = true}
kernel = [3, 5]
padding = "valid"
dense = 0
"""


def test_validate_prints_a_family_of_networks_with_its_ends(tmp_path: Path) -> None:
    write(tmp_path, STRUCTURE)
    told = tuner(tmp_path, "validate", "small.toml").stdout
    assert "filters_2: 2, 4 when convolutions is 2" in told
    # By hand: 5×5 leaves 4×4, pooled 2×2, of 2 filters; 3×3 leaves 6×6, pooled 3×3, of 4.
    assert f"smallest network  {26 * 2 + 9 * 10} weights, about " in told
    assert f"largest network   {10 * 4 + 37 * 10} weights, about " in told


@pytest.mark.slow
def test_an_impossible_network_costs_no_training_and_is_reported(tmp_path: Path) -> None:
    write(tmp_path, STRUCTURE)
    done = tuner(tmp_path, "run", "small.toml")
    assert done.returncode == 0, done.stderr
    status = json.loads(tuner(tmp_path, "status", "small", "--json").stdout)
    assert (status["complete"], status["pruned"], status["failed"], status["not_yet_in_mlflow"]) == (1, 1, 0, 0)
    page = Path(tmp_path, tuner(tmp_path, "report", "small").stdout.strip()).read_text()
    assert "convolution 2: 5×5 with padding valid does not fit into 2×2" in page


def test_validate_prints_the_own_parameters_of_a_method_in_one_line(tmp_path: Path) -> None:
    write(tmp_path, 'data = "digits"\n[search]\noptimizer = ["momentum", "sgd"]\nwidth = [8, 16]\n')
    told = tuner(tmp_path, "validate", "small.toml").stdout
    order = [
        "optimizer: momentum, sgd",
        "momentum: learning_rate 1e-05 to 1, log; momentum 0 to 0.99",
        "sgd: learning_rate",
        "width: 8",
    ]
    places = [told.index(line) for line in order]
    assert places == sorted(places)
    meaning = json.loads(tuner(tmp_path, "validate", "small.toml", "--json").stdout)
    assert "momentum.momentum: 0 to 0.99" in meaning["space"]  # a program reads every parameter under its full name


@pytest.mark.parametrize(("depth", "warned"), [(0, False), (1, True)])
def test_a_method_that_forgets_the_initial_weights_is_cautioned_against_where_they_matter(
    tmp_path: Path, depth: int, *, warned: bool
) -> None:
    search = f'optimizer = ["tf:Ftrl", "ftrl"]\nlearning_rate = [0.1, 0.2]\ndepth = {depth}\n'
    write(tmp_path, f'data = "digits"\n[search]\n{search}')
    meaning = json.loads(tuner(tmp_path, "validate", "small.toml", "--json").stdout)
    assert ("caution" in meaning) == warned
    if warned:
        assert meaning["caution"].startswith("tf:Ftrl pulls the weights to 0")
        assert "; ftrl" not in meaning["caution"]


def test_optimizers_are_listed_with_their_ranges_and_sources(tmp_path: Path) -> None:
    known = json.loads(tuner(tmp_path, "optimizers", "--json").stdout)
    rows = {row["optimizer"]: row for row in known["optimizers"]}
    assert rows["momentum"]["searched"]["momentum"] == {"low": 0.0, "high": 0.99, "log": False, "default": 0.9}
    assert set(rows["adam"]["searched"]) == {"learning_rate", "beta_1"}
    assert set(rows["adam"]["others"]) == {"beta_2", "epsilon"}
    assert set(known["common"]) >= {"weight_decay", "clipnorm"}
    assert "momentum" in known["families"][rows["momentum"]["family"]]
    schedules = {row["schedule"]: row for row in known["schedules"]}
    assert schedules["cosine"]["numbers"]["floor"]["high"] == 0.1
    told = tuner(tmp_path, "optimizers").stdout
    assert all(name in told for name in (*rows, *schedules, *known["families"], *known["common"]))
    assert "needs eval_swap" in told
    assert "pulls the weights to 0" in known["aliases"]["tf:AdagradDA"]["caution"]
    assert "Kingma and Ba 2015" in told


@pytest.mark.slow
def test_doctor_finds_this_machine_fit(tmp_path: Path) -> None:
    told = tuner(tmp_path, "doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(told.stdout)}
    assert told.returncode == 0, told.stdout
    assert "CPU:0" in findings["devices"]["found"]
    assert list(tmp_path.iterdir()) == []
