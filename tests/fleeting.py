"""A training child like `tests.wide` that can be begun once: `python -m tests.fleeting FILE END FD`.

FILE says that it was; after that it ends by the exception END, `BadInput` or `SystemExit`.
"""

import sys
from pathlib import Path

from tests.wide import Wide
from tuner import child
from tuner.errors import BadInput
from tuner.spec import StudySpec

ENDS = {"BadInput": BadInput, "SystemExit": SystemExit}


def engine(study: StudySpec, *_: object) -> Wide:
    """Raises what was asked for, the second time."""
    mark = Path(sys.argv[1])
    if mark.exists():
        raise ENDS[sys.argv[2]]("gone")
    mark.touch()
    return Wide(study)


if __name__ == "__main__":
    child.serve(int(sys.argv[3]), engine)
