"""The exceptions of the service.

An exception's docstring is its message when none is given::

    TunerError            exit code 1
      BadInput            exit code 2: the user can mend it; nothing was created
        UnknownStudy
        StudyChanged      the file differs from the study of that name
      LostLease           the process must stop touching the trial
      DatabaseLost        another worker takes over when the leases run out
        DatabaseAway      the same may succeed later: a worker tries again
      ChildDied           the training child ended without a word
      BadCheckpoint       the trial begins anew
      Unwritable          the winner has its score, and no model
      Unreachable         MLflow does not answer now        } defined in
      Refused             MLflow does not take this, ever   } `tuner.track.door`

A trial that fails is never an exception: it is an `Outcome` (see `tuner.trial`).
"""


class TunerError(Exception):
    """The service cannot go on."""

    exit_code = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class BadInput(TunerError):
    """What was given cannot be used."""

    exit_code = 2


class UnknownStudy(BadInput):
    """There is no study of that name."""


class StudyChanged(BadInput):
    """The study file differs from the study that already has its name."""


class DatabaseLost(TunerError):
    """The database does not answer."""


class DatabaseAway(DatabaseLost):
    """The database does not answer now."""


class LostLease(TunerError):
    """Another worker holds this trial now."""


class ChildDied(TunerError):
    """The training process ended without a word."""


class BadCheckpoint(TunerError):
    """The checkpoint is damaged, missing, or of another trial."""


class Unwritable(TunerError):
    """The network cannot be written as a Keras file."""
