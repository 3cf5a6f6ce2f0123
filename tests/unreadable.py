"""A training child like `tests.paper` on a machine that lacks the data of the study `unreadable`."""

import sys
from pathlib import Path

from tests.paper import Paper
from tuner import child
from tuner.channel import Start
from tuner.errors import BadInput
from tuner.spec import StudySpec


def engine(study: StudySpec, _roots: list[Path], start: Start) -> Paper:
    """Raises `BadInput` for that study."""
    if study.name == "unreadable":
        raise BadInput("data.source: gone")
    return Paper(study, start.full)


if __name__ == "__main__":
    child.serve(int(sys.argv[1]), engine)
