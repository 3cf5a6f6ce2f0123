"""What was compiled is kept for later processes, and never stands in their way."""

import os
from pathlib import Path

import pytest

from tests.conftest import study_spec
from tuner import executables
from tuner.executables import Executables, kept_below
from tuner.store import Store, Study
from tuner.trial import State
from tuner.worker import Supervisor


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return kept_below(tmp_path / "cache", dict(os.environ))


def folder_of(cache: Path) -> Path:
    (folder,) = cache.iterdir()
    return folder


def test_the_folder_is_for_its_owner_alone_or_is_not_used(tmp_path: Path) -> None:
    environment = kept_below(tmp_path, {"TF_XLA_FLAGS": "--other"})
    folder = folder_of(tmp_path)
    assert environment == {"TF_XLA_FLAGS": f"--other {executables.FLAG}{folder}"}
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    assert kept_below(tmp_path, {"TF_XLA_FLAGS": "--other"}) == {"TF_XLA_FLAGS": "--other"}
    assert kept_below(tmp_path / "a b", {}) == {}
    assert kept_below(tmp_path, environment) == environment  # the user's own stays
    (tmp_path / "file").touch()
    assert kept_below(tmp_path / "file", {}) == {}


def test_other_flags_have_another_folder(tmp_path: Path) -> None:
    assert kept_below(tmp_path, {}) != kept_below(tmp_path, {"XLA_FLAGS": "--xla_cpu_enable_fast_math=true"})


def test_what_is_not_as_it_was_sealed_is_dropped(tmp_path: Path, environment: dict[str, str]) -> None:
    folder, files = folder_of(tmp_path / "cache"), Executables(environment)
    for name in ("whole", "altered", "no seal"):
        (folder / f"{name}.pb").write_text(name)
    files.seal()
    (folder / "altered.pb").write_text("other")
    (folder / "no seal.sha256").unlink()
    (folder / "unfinished.pb").touch()
    Executables(environment).check()
    assert {file.name for file in folder.iterdir()} == {"whole.pb", "whole.sha256"}
    files.drop()
    assert not list(folder.iterdir())


def test_the_oldest_make_room(tmp_path: Path, environment: dict[str, str]) -> None:
    folder, files = folder_of(tmp_path / "cache"), Executables(environment)
    for age in range(4):
        (file := folder / f"{age}.pb").write_bytes(bytes(100))
        os.utime(file, (1000 - age, 1000 - age))
    files.seal()
    files.check(room=250)
    assert {file.name for file in folder.glob("*.pb")} == {"0.pb", "1.pb"}


def lanes(tables: Store, name: str, home: Path, environment: dict[str, str]) -> Study:
    study = tables.launch(study_spec(name=name, train={"epochs": 2, "lanes": 4}), 4, {})
    Supervisor(tables, study, home, [], environment).work(lambda: None)
    return study


@pytest.mark.slow
def test_a_second_process_compiles_nothing_and_a_damaged_file_loses_no_trial(
    tables: Store, tmp_path: Path, environment: dict[str, str]
) -> None:
    folder = folder_of(tmp_path / "cache")
    first = tables.trials(lanes(tables, "first", tmp_path, environment))
    made = {file: file.stat().st_mtime_ns for file in folder.glob("*.pb")}
    assert made
    second = tables.trials(lanes(tables, "second", tmp_path, environment))
    assert {file: file.stat().st_mtime_ns for file in folder.glob("*.pb")} == made
    assert [row.value for row in second] == [row.value for row in first]
    for file in made:
        file.write_bytes(b"what XLA cannot read")
    third = tables.trials(lanes(tables, "third", tmp_path, environment))
    assert [(row.state, row.value) for row in third] == [(State.COMPLETE, row.value) for row in first]
    assert {row.attempts for row in third} == {1}
