"""The structure holds: imports, start-up, what the README promises, and that every test can fail."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tuner import spec as specs

ROOT = Path(__file__).parents[1]
HEAVY = {"tensorflow", "keras", "mlflow", "optuna", "sqlalchemy", "pandas", "sklearn", "plotly", "matplotlib", "pydantic"}
KERAS = ("solo.py", "objective.py", "lanes", "export.py", "winner.py", "costs.py")
DOORS = {
    "optuna": {"tuner/search", "tuner/review"},
    "optuna_dashboard": {"tuner/review/mirror.py"},
    "tensorboard": {"tuner/review/board.py"},
    "sqlalchemy": {"tuner/store", "tuner/migrations"},
    "alembic": {"tuner/migrations"},
    "mlflow": {"tuner/track"},
    "tensorflow": {
        "models",
        "optimizers",
        "tuner/data",
        "tuner/solo.py",
        "tuner/objective.py",
        "tuner/abreast.py",
        "tuner/lanes",
        "tuner/export.py",
        "tuner/costs.py",
    },
    "keras": {"models", "optimizers", "tuner/data", *(f"tuner/{name}" for name in KERAS)},
    "pydantic": {"tuner/spec"},
    "ray": {"tuner/cluster.py"},
}


def loaded(module: str) -> set[str]:
    code = f"import sys, {module}; print(' '.join({{m.split('.')[0] for m in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split())


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize(
    ("module", "kept_out"),
    [
        ("tuner.cli", HEAVY),
        ("tuner", HEAVY),
        ("tuner.spec", HEAVY - {"pydantic"}),
        ("tuner.track", HEAVY - {"sqlalchemy", "pydantic"}),
        ("tuner.worker", HEAVY - {"sqlalchemy", "optuna", "pydantic"}),
        ("models", HEAVY),
        ("optimizers", HEAVY),
    ],
)
def test_start_up_loads_no_more_than_it_needs(module: str, kept_out: set[str]) -> None:
    assert not loaded(module) & kept_out


@pytest.mark.parametrize("package", DOORS)
def test_each_outside_system_has_one_door(package: str) -> None:
    for path in sources("tuner", "models", "optimizers"):
        place = str(path.relative_to(ROOT))
        imports = re.search(rf"^\s*(import|from) {package}\b", path.read_text(), re.MULTILINE)
        assert not imports or any(place.startswith(door) for door in DOORS[package]), place


def test_the_environment_is_read_in_one_place() -> None:
    readers = [str(p.relative_to(ROOT)) for p in sources("tuner", "models", "optimizers") if "os.environ" in p.read_text()]
    assert readers == ["tuner/cli/places.py"]


def test_every_command_of_the_readme_exists_and_every_command_is_in_it() -> None:
    readme = (ROOT / "README.md").read_text()
    told = set(re.findall(r"^    tuner ([\w-]+)", readme, re.MULTILINE))
    commands = set()
    for node in (node for path in sources("tuner/cli") for node in ast.parse(path.read_text()).body):
        for decorator in getattr(node, "decorator_list", []):
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "app.command":
                commands.add(ast.literal_eval(decorator.args[0]) if decorator.args else node.name)  # type: ignore[attr-defined]
    assert told == commands


def test_every_test_that_the_readme_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "README.md").read_text()))
    there = {name for path in sources("tests") for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}
    assert len(named) > 30
    assert named <= there


def test_every_file_that_the_readme_points_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.toml")), ids=lambda path: path.name)
def test_every_study_says_question_command_cost_and_result_and_is_valid(path: Path) -> None:
    spec = specs.load(path)
    assert spec.name == path.stem
    header = path.read_text().split("\n\n")[0]
    assert header.startswith("# ")
    for word in ("command", "cost", "result"):
        assert f"# {word}" in path.read_text()


def test_every_test_asserts_or_expects_something() -> None:
    for path in sources("tests"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                text = ast.unparse(node)
                assert re.search(r"\bassert\b|pytest\.raises|\bcheck\w*\(|assert_\w+\(|\.run_\w+\(|\.debug\(", text), (
                    f"{path.name}: {node.name}"
                )


def test_there_are_no_mocks() -> None:
    for path in sources("tests"):
        assert not re.search(r"unittest\.mock|monkeypatch|MagicMock" + "(?!\\|)", path.read_text()) or path == Path(__file__), (
            path
        )


def test_what_is_installed_has_every_package() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = [
        file.parent.relative_to(ROOT) for top in ("tuner", "models", "optimizers") for file in (ROOT / top).rglob("__init__.py")
    ]
    assert sorted(told) == sorted(".".join(folder.parts) for folder in found)
