"""When two records of a trial agree."""

import math

import pytest

from tuner.reproduce import Comparison
from tuner.trial import Epoch


def record(*values: tuple[float, float]) -> list[Epoch]:
    """Epochs of these losses and objectives."""
    return [Epoch(0, place, {"loss": loss, "val_loss": other}, 0.1, 10) for place, (loss, other) in enumerate(values, 1)]


DIVERGED = record((math.nan, math.nan))


@pytest.mark.parametrize(
    ("recorded", "repeated", "matches"),
    [
        (record((1.0, 0.5)), record((1.0, 0.5)), True),
        (record((1.0, 0.5)), record((1.1, 0.5)), False),
        (record((1.0, 0.5)), record((1.0, 0.6)), False),
        (DIVERGED, DIVERGED, True),
        (DIVERGED, record((1.0, 0.5)), False),
        (record((math.inf, math.nan)), record((1.0, math.nan)), False),
    ],
)
def test_records_agree_within_what_is_tolerated_and_one_that_diverged_with_one_that_does_so_again(
    recorded: list[Epoch], repeated: list[Epoch], *, matches: bool
) -> None:
    assert Comparison("val_loss", recorded, repeated, maximise=False).matches is matches
