"""The winner's model."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tuner.cli import given, places
from tuner.cli.shell import HOME, AllowCode, DataPath, Db, Home, Name, app, quoted, say, writing
from tuner.errors import BadInput

if TYPE_CHECKING:
    from tuner.store import Study


@app.command()
def export(
    name: Name,
    to: Annotated[Literal["keras", "savedmodel", "onnx"], typer.Option("--to", help="A file, a folder, a file.")] = "keras",
    out: Annotated[Path | None, typer.Option("--out", help="Where to write; default: NAME.FORM", metavar="PATH")] = None,
    db: Db = HOME,
    data: DataPath = None,
    home: Home = None,
    allow_code: AllowCode = False,
) -> None:
    """Write the winner of the final race, trained: a model that takes rows as they are in the data.

    It is read again, and must answer on the test split as the model that was scored.
    """
    from tuner import race

    with places.store(db) as tables:
        study = tables.study(name)
        found = race.result(tables, study)
    kept = found.score.model if found is not None and found.score is not None else None
    if kept is None:
        raise BadInput(f"{name}: no winner is kept; look at: tuner status {quoted(name)}")
    _allow(study, allow_code=allow_code)
    places.load_tensorflow()
    from tuner import data as sources
    from tuner import export as exporting
    from tuner.review import file_name

    exporting.check_needs(to)
    spec = given.moved(study.spec, data)
    x = sources.load_tested(spec.data, spec.seed, places.roots(data)).test.x
    target = out or Path(f"{file_name(name)}.{to}")
    with writing("--out", target):
        apart = exporting.export(replace(kept, path=places.home(db, home) / kept.path), to, target, x)
    say(f"{target}: on {len(x)} rows of the test split its answers are at most {apart:.1e} from those of the trained model")


def _allow(study: "Study", *, allow_code: bool) -> None:
    """Let a user's layers register themselves, if his code may run."""
    model = study.spec.model
    if model.is_code:
        if not allow_code:
            raise BadInput(f"{study.name}: {model.name} is code; allow it to run with --allow-code")
        importlib.import_module(model.name.partition(":")[0])
