"""The command line: argv → one call → text and an exit code.

Exit codes: 0 done; 1 the service cannot go on; 2 bad input, nothing was created; 130 interrupted, to be continued.

::

    shell    the program's name, options that several commands have, how things are printed
    places   where databases, folders and data are: the only place that reads the environment
    given    a study file, checked
    studies  run, launch, steer, delete           look    what is there, and how it is
    serve    worker, track, ui, dashboard, migrate    findings compare, tune-more
    model    export
"""

import sys

from tuner import failpoints
from tuner.cli import findings, look, model, places, serve, studies
from tuner.cli.shell import app, complain
from tuner.errors import TunerError

__all__ = ["app", "findings", "look", "main", "model", "serve", "studies"]


def main() -> None:
    """Run a command; an error of ours is one line, never a traceback."""
    try:
        failpoints.arm(places.failpoint())
        app()
    except TunerError as error:
        complain(str(error))
        sys.exit(error.exit_code)
