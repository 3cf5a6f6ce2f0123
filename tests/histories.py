"""Studies that nobody ran: rows and epochs as a search would have left them, with an answer that is known."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.conftest import study_spec
from tuner import interval
from tuner.race import Finalist, Result, Score
from tuner.review import Review
from tuner.store import Row, Study
from tuner.trial import Epoch, Params, State

SECONDS = 2.0  # an epoch


@dataclass(frozen=True)
class Past:
    """A trial that ended: its curve of the objective, an epoch each; its value is the best of it."""

    params: Params
    curve: Sequence[float]
    state: State = State.COMPLETE


def history(past: Iterable[Past], race: Result | None = None, **changes: Any) -> Review:
    """A review of these trials, one after the other."""
    trials = list(past)
    spec = study_spec(**{"budget": max(1, len(trials)), **changes})
    study = Study(1, spec.name, spec, len(trials), 0.0, {"rows": 100, "input_shape": [4], "classes": 3}, "", 0, paused=False)
    best = max if spec.objective.maximise else min
    rows = [_row(number, one, best(one.curve)) for number, one in enumerate(trials)]
    metric = spec.objective.metric
    epochs = {
        number: [Epoch(number, epoch, {metric: value}, SECONDS) for epoch, value in enumerate(one.curve, 1)]
        for number, one in enumerate(trials)
    }
    return Review(study, rows, epochs, race)


def _row(number: int, one: Past, value: float) -> Row:
    return Row(
        number=number, state=one.state, fence=1, owner="worker", attempts=1, crashes=0, params=one.params, attrs={},
        epoch=len(one.curve), parameters=10, value=None if one.state is State.FAILED else value, failure=None, message="",
        checkpoint=None, started=float(number), ended=number + 1.0, previous=None, log="", costs={"parameters": 10},
    )  # fmt: skip


def raced(values: Sequence[float], *, finalists: int = 2, trial: int = 0, score: Score | None = None) -> Result:
    """A race that this trial won with these values, against others that were far behind."""
    x = np.array(values)
    winner = Finalist(trial, 0.9, {"width": 8}, list(values), "winner", "", interval.of_winner(x, finalists, maximise=True))
    others = [Finalist(trial + 1 + i, 0.8, {"width": 9}, [0.1], "dropped", "", None) for i in range(finalists - 1)]
    return Result("val_accuracy", 2, len(values), len(values), [winner, *others], score, int(score is not None), over=True)


def scored(value: float, low: float, high: float) -> Score:
    """What a winner reached on the test split."""
    return Score("test_accuracy", value, (low, high), 3, "")
