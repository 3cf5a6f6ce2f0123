"""What a machine is found to have and to lack."""

import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from tuner.devices import environments
from tuner.doctor import Finding, examine
from tuner.errors import BadInput
from tuner.store import HEAD, VERSION_TABLE, Store


@pytest.fixture
def no_tensorflow(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in which TensorFlow ends without a word."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "tensorflow.py").write_text("import os\nos._exit(7)\n")
    return {**os.environ, "PYTHONPATH": str(folder)}


def finding(what: str, file: Path, environment: dict[str, str]) -> Finding:
    found = {one.what: one for one in examine(f"sqlite:///{file}", file.parent / "home", [], environment)}
    return found[what]


def test_a_tensorflow_that_ends_without_a_word_is_no_device(tmp_path: Path, no_tensorflow: dict[str, str]) -> None:
    said = "TensorFlow does not load: exit code 7, without a word"
    assert finding("devices", tmp_path / "tuner.db", no_tensorflow) == Finding("devices", False, said)
    with pytest.raises(BadInput, match=f"--devices: {said}"):
        environments("auto", no_tensorflow)


def test_tables_are_looked_for_where_their_address_says(tmp_path: Path, no_tensorflow: dict[str, str]) -> None:
    file = tmp_path / "tables" / "tuner.db"
    assert finding("database", file, no_tensorflow).found == f"none yet in {file}; made by the first run"
    assert not file.parent.exists()
    tables = Store(f"sqlite:///{file}")
    tables.migrate()
    assert finding("database", file, no_tensorflow).good
    with tables._write() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '0001'"))
    tables.close()
    old = finding("database", file, no_tensorflow)
    assert not old.good
    assert old.found.endswith(f"tables at 0001; this code needs {HEAD}, `tuner migrate` brings them there")
