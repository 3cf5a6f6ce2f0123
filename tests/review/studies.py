"""Studies over real SQLite files that ended as a test says, or as a search leaves them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.conftest import study_spec
from tuner.dimension import Dimension
from tuner.space import Space
from tuner.spec import FloatRange, IntRange, values
from tuner.store import Progress, Store, Study
from tuner.trial import Epoch, Failure, Outcome, Params, State, Value

EPOCHS = 6
LAUNCHED = 1_760_000_000.0
SEARCH: dict[str, Any] = {
    "depth": {"int": [1, 3]},
    "width": {"int": [16, 256], "log": True},
    "optimizer": ["momentum", "adam"],
    "learning_rate": {"float": [1e-4, 1.0], "log": True},
    "momentum": {"float": [0.0, 0.99]},  # exists for one of the optimizers only
    "bias": True,
}


def opened(path: Path) -> Store:
    store = Store(f"sqlite:///{path}")
    store.migrate()
    return store


def launch(store: Store, trials: int, **changes: Any) -> Study:
    changes = {"train": {"epochs": EPOCHS}, "budget": trials, **changes}
    return store.launch(study_spec(**changes), trials, {}, now=LAUNCHED)


def end(
    store: Store,
    study: Study,
    params: Params | None,
    metrics: list[dict[str, float]],
    outcome: Outcome | None,
    seconds: Sequence[float] = (10.0,) * EPOCHS,
) -> None:
    """The next trial of the study, from its claim to its end; ten seconds an epoch unless told."""
    claimed = store.claim(study, "worker", 60, now=LAUNCHED + 100)
    assert claimed is not None
    claim, row = claimed
    if params is not None:
        store.propose(claim, params, {})
    epochs = [Epoch(row.number, i, m, seconds=seconds[i - 1], parameters=1234) for i, m in enumerate(metrics, 1)]
    store.record([Progress(claim, epochs=epochs, outcome=outcome)], 60, now=LAUNCHED + 100 + 10 * len(epochs))


def ended(store: Store, *outcomes: tuple[State, float | None], **changes: Any) -> Study:
    """A study of these ends, with parameters that differ."""
    search = {"width": {"int": [1, 1000]}, "optimizer": ["sgd", "adam"], "learning_rate": {"float": [1e-3, 1e-1], "log": True}}
    study = launch(store, max(1, len(outcomes)), **{"search": search, **changes})
    for number, (state, value) in enumerate(outcomes):
        params: Params = {"width": 1 + number, "optimizer": "adam", "learning_rate": 0.01}
        metrics = [{"val_accuracy": value, "val_loss": value}] if value is not None else []
        failure = Failure.NON_FINITE if state is State.FAILED else None
        end(store, study, params, metrics, Outcome(state, value=value, failure=failure, message="so it ended"))
    return study


def drawn(space: Space, rng: np.random.Generator) -> dict[str, Value]:
    def suggest(dimension: Dimension) -> Value:
        match dimension.parameter:
            case IntRange(int=(low, high)):
                return int(rng.integers(low, high + 1))
            case FloatRange(float=(low, high), log=log):
                return float(np.exp(rng.uniform(*np.log([low, high])))) if log else float(rng.uniform(low, high))
            case parameter:
                return values(parameter)[int(rng.integers(len(values(parameter))))]

    return space.choose(suggest)


def played(store: Store, trials: int, **changes: Any) -> Study:
    """A study as a search leaves it: curves that depend on the parameters, some trials pruned, some failed."""
    study = launch(store, trials, **{"name": f"of {trials}", "search": SEARCH, **changes})
    rng, space = np.random.default_rng(trials), Space(study.spec)
    for number in range(trials):
        params = drawn(space, rng)
        miss = abs(math.log10(float(params.get("learning_rate", 0.01))) + 2)
        top = max(0.15, 0.97 - 0.08 * miss**2 + float(rng.normal(0, 0.005)))
        curve = [top * (1 - math.exp(-epoch / (1 + miss))) for epoch in range(1, EPOCHS + 1)]
        metrics = [{"val_accuracy": a, "val_loss": 1 - a} for a in curve]
        if number % 10 == 7:
            end(
                store, study, params, metrics[:2], Outcome(State.FAILED, failure=Failure.NON_FINITE, message="loss is not finite")
            )
        elif number % 3 == 1:
            end(store, study, params, metrics[:3], Outcome(State.PRUNED, value=curve[2]))
        else:
            end(store, study, params, metrics, Outcome(State.COMPLETE, value=max(curve)))
    return study
