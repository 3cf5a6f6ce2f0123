"""What finished studies say: two beside each other, and what to search next."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from tuner.cli import places
from tuner.cli.shell import HOME, AsJson, Db, app, out, print_json, say


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
    target = beside.write(found, folder) if folder is not None else None
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
