"""What finished studies say: two beside each other, and what to search next."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from tuner.cli import places
from tuner.cli.shell import HOME, AsJson, Db, Name, app, out, print_json, quoted, say, writing
from tuner.errors import BadInput

if TYPE_CHECKING:
    from tuner.review.advice import Advice


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="A study.", metavar="STUDY")],
    second: Annotated[str, typer.Argument(help="Another one that asks the same.", metavar="OTHER")],
    db: Db = HOME,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Write an HTML page with plots, and PNGs.", metavar="FOLDER")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set two studies of one question side by side: which is better, and is that more than chance?"""
    from tuner.review import beside, open_study
    from tuner.review import compare as compared

    with places.store(db) as tables:
        found = compared(open_study(tables, first), open_study(tables, second))
    target = None
    if folder is not None:
        with writing("--out", folder):
            target = beside.write(found, folder)
    if as_json:
        print_json({**beside.told(found), **({"page": str(target)} if target else {})})
        return
    say(found.question)
    out.print(_beside(("", first, second), beside.facts(found)))
    for line in beside.verdicts(found):
        say(line)
    for line in found.cautions:
        say(f"note: {line}")
    if differing := beside.settings(found):
        out.print(_beside(("the files differ in", first, second), differing))
    if target is not None:
        say(str(target))


def _beside(head: tuple[str, str, str], rows: list[tuple[str, str, str]]) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2))
    for column in head:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


@app.command("tune-more")
def tune_more(
    name: Name,
    db: Db = HOME,
    file: Annotated[Path | None, typer.Option("--out", help="Write a study file that does so.", metavar="FILE")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a study suggests to search next, with the evidence for it."""
    from tuner.review import advice, open_study
    from tuner.review.sequel import sequel

    with places.store(db) as tables:
        review = open_study(tables, name)
        if file is not None:
            _free(file, {study.name for study in tables.studies()})
    said = advice.advise(review)
    if file is not None and said.suggestions:
        with writing("--out", file):
            file.write_text(sequel(review, said, file.stem), encoding="utf-8")
    if as_json:
        suggestions = [{"key": one.key, "says": one.says, "evidence": one.evidence} for one in said.suggestions]
        print_json({"complete": said.complete, "suggestions": suggestions, "notes": list(said.notes)})
    else:
        _advise(name, said, file)


def _free(file: Path, studies: set[str]) -> None:
    """Whether a new study file can be written there."""
    if file.exists():
        raise BadInput(f"--out: {file} is there already")
    if file.stem in studies:
        raise BadInput(f"--out: there is a study {file.stem!r} already; a study is called as its file")
    if not file.parent.is_dir():
        raise BadInput(f"--out: there is no folder {file.parent}")


def _advise(name: str, said: "Advice", file: Path | None) -> None:
    say(f"{name}: {said.complete} complete trials")
    for one in said.suggestions:
        say(f"- {one.says}\n    {one.evidence}")
    for note in said.notes:
        say(f"note: {note}")
    if not said.suggestions:
        say("nothing is suggested")
    elif file is not None:
        say(f"{file}: run it with: tuner run {quoted(str(file))}")
