"""Study files that somebody might try (P12), beside those in `tests.test_spec`, `tests.data` and `tests.test_cli`."""

from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from tuner.cli import given
from tuner.errors import BadInput
from tuner.review import file_name
from tuner.spec import FloatRange, StudySpec

STUDY = """
data = "digits"
objective = "val_accuracy"
budget = 4
[train]
epochs = 2
[search]
width = [16, 32]
"""
HUNDREDS = "[" + ", ".join(f"{n / 1000}" for n in range(1, 901)) + "]"
GRID = f'momentum = {HUNDREDS}\nlearning_rate = {HUNDREDS}\ndepth = [1, 2, 3]\noptimizer = ["sgd", "momentum"]'


def checked(folder: Path, text: str | bytes) -> StudySpec:
    """What `tuner launch` does with a file before it writes anything; no code is allowed."""
    (folder / "s.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with chdir(folder):
        return given.checked(Path("s.toml"), None, allow_code=False)[0]


REFUSED: dict[str, tuple[str | bytes, str]] = {
    # no study file at all
    "UTF-16": (STUDY.encode("utf-16"), "not UTF-8 text (byte 0)"),
    "two documents": (STUDY + "---\n" + STUDY, "not valid TOML: Expected '=' after a key"),
    "an object to be made": ('!!python/object/apply:os.system ["id"]', "not valid TOML: Invalid statement"),
    "aliases": ("a: &a [x, x]\nb: *a", "not valid TOML: Expected '=' after a key"),
    # values that mean something else elsewhere
    "octal": (STUDY + "depth = 010", "not valid TOML: Expected newline"),
    "time": (
        STUDY + "depth = 12:30:45",
        "search.depth.value: input should be a valid integer or a valid number or a valid string",
    ),
    "date": (
        STUDY + "depth = 2026-01-01",
        "search.depth.value: input should be a valid integer or a valid number or a valid string",
    ),
    "bare no": (STUDY + "bias = no", "not valid TOML: Invalid value"),
    "word for a truth": (STUDY + 'bias = "on"', "search.bias: 'on' is not one of true, false"),
    # names
    "513 characters": (STUDY + "x" * 513 + " = 1", f"search.{'x' * 513}.[key]: string should have at most"),
    "path as a parameter": (STUDY + '"../../x" = 1', "search.../../x.[key]: string should match pattern"),
    "empty": (STUDY + '"" = 1', "search..[key]: string should have at least 1 character"),
    "NUL": ('name = "a\\u0000b"' + STUDY, "name: string should match pattern"),
    "carriage return": ('name = "a\\rb"' + STUDY, "name: string should match pattern"),
    "path as a metric": (
        STUDY.replace("epochs = 2", 'epochs = 2\nmetrics = ["../x"]'),
        "train.metrics: no metric '../x'; allowed",
    ),
    # sizes
    "layers": (STUDY + "depth = 1_000_000", "search.depth: 1000000 is not a whole number from 0 to 1000"),
    "weights": (STUDY.replace("[16, 32]", "100_000") + "depth = 64", "search: the largest network has 630,013,800,010 weights"),
    "batch": (STUDY + "batch_size = 1_000_000_000", "search.batch_size: 1000000000 is more than the 1079 training rows"),
    "epochs": (
        STUDY.replace("epochs = 2", "epochs = 1_000_000_000"),
        "train.epochs: input should be less than or equal to",
    ),
    "choices": (STUDY.replace("[16, 32]", str(list(range(1, 10_001)))), "search.width.choice: has 10000 entries; allowed are"),
    "grid": ('sampler = "grid"' + STUDY + GRID, "sampler.name: a grid of 4,865,400 configurations; allowed are 1,000,000"),
    "for ever": (STUDY.replace("budget = 4", "budget = {trials = 4, hours = inf}"), "budget.hours: input should be a finite"),
    "as a word": (STUDY.replace("budget = 4", 'budget = "ten"'), "budget.trials: input should be a valid integer, not 'ten'"),
    "as a truth": (STUDY.replace("budget = 4", "budget = true"), "budget.trials: input should be a valid integer, not True"),
    # code and models
    "a function": ('model = "os:system"' + STUDY, "model.name: os:system is code; allow it to run with --allow-code"),
    "a function elsewhere": ('model = "../x:y"' + STUDY, "model.name: '../x:y' names no function; write package.module:function"),
    "a saved model": ('model = "m.keras"' + STUDY, "model: no network 'm.keras'; allowed: mlp"),
    "an old saved model": ('model = "m.h5"' + STUDY, "model: no network 'm.h5'; allowed: mlp"),
    "a pickle": (STUDY.replace("digits", "rows.pkl"), "data.source: "),
    # places
    "home": (STUDY.replace("digits", "~/.ssh"), "data.source: no file or folder '~/.ssh' in the data folders"),
    "another machine": (STUDY.replace("digits", "//host/share"), "data.source: '//host/share' lies outside the data folders"),
}


@pytest.mark.parametrize("attempt", REFUSED)
def test_a_bad_input_has_its_answer(tmp_path: Path, attempt: str) -> None:
    text, said = REFUSED[attempt]
    with pytest.raises(BadInput) as refused:
        checked(tmp_path, text)
    assert str(refused.value).startswith(f"s.toml: {said}")
    assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["s.toml"]


@pytest.mark.parametrize(
    ("text", "parameter", "value"),
    [(STUDY + "learning_rate = 1e-3", "learning_rate", 0.001), (STUDY + "depth = 1_0", "depth", 10)],
)
def test_a_number_is_read_as_the_number_that_it_is(tmp_path: Path, text: str, parameter: str, value: Any) -> None:
    read = checked(tmp_path, text).search[parameter]
    assert not isinstance(read, FloatRange)
    assert read.value == value  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["../x", "..\\x", "/etc/x", "CON", "a\u202eb", "a'; DROP TABLE study; --", "<b>", "%2e%2e%2fx"])
def test_a_name_is_only_a_name_and_its_report_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    spec = checked(tmp_path, f"name = '''{name}'''" + STUDY)
    assert spec.name == name
    target = (tmp_path / f"{file_name(name)}.report").resolve()
    assert target.parent == tmp_path.resolve()
