"""Where a study is launched."""

import subprocess
from pathlib import Path

from tuner import provenance


def git(folder: Path, *command: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", "-C", str(folder), *who, *command], capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_is_that_of_the_folder_and_says_whether_files_differ(tmp_path: Path) -> None:
    assert "commit" not in provenance.facts(tmp_path)
    git(tmp_path, "init")
    (tmp_path / "study.toml").write_text("budget = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "a study")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "unknown.txt").write_text("not of the study")
    assert provenance.facts(tmp_path)["commit"] == commit
    (tmp_path / "study.toml").write_text("budget = 2\n")
    assert provenance.facts(tmp_path)["commit"] == f"{commit}, with changes"


def test_versions_are_those_that_are_installed() -> None:
    import numpy as np

    found = provenance.versions()
    assert found["numpy"] == np.__version__
    assert {"python", "tensorflow", "keras", "optuna", "mlflow", "tuner"} <= found.keys()
