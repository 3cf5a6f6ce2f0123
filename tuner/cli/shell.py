"""The program, the options that several commands have, and how things are printed."""

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.text import Text

from tuner.errors import BadInput

HOME = ".tuner"

app = typer.Typer(
    help="Tune Keras networks: a study file goes in, a reviewed winner comes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console(highlight=False)


def _without_password(context: typer.Context, parameter: typer.CallbackParam, value: str) -> str:
    """Everybody on a machine can read the command lines of its processes."""
    source = context.get_parameter_source(str(parameter.name))
    if source is not None and source.name == "COMMANDLINE" and "://" in value and urlsplit(value).password:
        raise BadInput("--db: no password on a command line, where others read it; use PGPASSFILE or TUNER_DB_PASSWORD_FILE")
    return value


File = Annotated[Path, typer.Argument(help="The study file (TOML).", metavar="FILE")]
Name = Annotated[str, typer.Argument(help="The study's name.", metavar="STUDY")]
Db = Annotated[
    str,
    typer.Option(
        "--db", envvar="TUNER_DB", help="A folder for SQLite files, or postgresql://USER@HOST/NAME.", metavar="WHERE",
        callback=_without_password,
    ),
]  # fmt: skip
Home = Annotated[
    Path | None,
    typer.Option(
        "--home", envvar="TUNER_HOME", help="The folder for checkpoints and logs; share it among hosts.", metavar="FOLDER"
    ),
]
DataPath = Annotated[str | None, typer.Option("--data", help="Take the rows from this path instead.", metavar="PATH")]
AllowCode = Annotated[bool, typer.Option("--allow-code", help="Let study files name a Python function to run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def say(text: str) -> None:
    """One line on standard output, as it is."""
    out.print(Text(text), soft_wrap=True)


def complain(message: str) -> None:
    """One line on standard error."""
    Console(stderr=True, highlight=False).print(Text(f"tuner: {message}"), soft_wrap=True)


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """Where something is written that a person wants at `path`: that it cannot be is his to mend."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"{option}: {error.filename or path} cannot be written: {error.strerror}") from None


@contextmanager
def native_lines_kept() -> Iterator[None]:
    """What is written to standard error within, by libraries in C too, is shown only if it ends by an exception."""
    error, shown = 2, os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), error)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(shown, kept.read())
            raise
        finally:
            os.dup2(shown, error)
            os.close(shown)


def print_json(value: object) -> None:
    """What a program reads."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def number(value: float | None) -> str:
    """A number for people."""
    return "" if value is None else f"{value:.4g}"


def quoted(name: str) -> str:
    """A name as a shell wants it."""
    return shlex.quote(name)


def command_line() -> str:
    """What was typed."""
    return shlex.join(["tuner", *sys.argv[1:]])
