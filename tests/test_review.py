"""What a study found, over real SQLite files: the order of merit, Optuna's study, frames, every plot, the page."""

import json
import math
import re
import threading
import tomllib
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from optuna.trial import TrialState

from tests.conftest import study_spec
from tuner import interval, race, screen
from tuner import review as reviews
from tuner.dimension import Dimension
from tuner.errors import BadInput, UnknownStudy
from tuner.owners import own, short
from tuner.review import Review, choices, looks, mirror
from tuner.review.looks import clipped
from tuner.review.plots import LINES, POINTS
from tuner.space import Space
from tuner.spec import FloatRange, IntRange, parse, values
from tuner.store import Progress, Store, Study
from tuner.trial import Epoch, Failure, Outcome, Params, State, Value

EPOCHS = 6
LAUNCHED = 1_760_000_000.0
HOSTILE = "<script>alert('x')</script> & \"$\\frac$\""

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


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Store]:
    store = opened(tmp_path / "tuner.db")
    yield store
    store.close()


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


@pytest.fixture(scope="module")
def small_and_large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Review]]:
    """Studies of 0, 1, 3 and 60 ended trials; that of none has a budget of two."""
    store = opened(tmp_path_factory.mktemp("review") / "tuner.db")
    studies = {0: launch(store, 2, name="of 0", search=SEARCH)} | {n: played(store, n) for n in (1, 3, 60)}
    yield {n: reviews.load(store, study) for n, study in studies.items()}
    store.close()


@pytest.fixture(scope="module")
def pages(small_and_large: dict[int, Review]) -> dict[int, str]:
    return {n: reviews.render(review, at=LAUNCHED) for n, review in small_and_large.items()}


# Order of merit ------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "numbers", "ranks"),
    [("val_accuracy", [3, 0, 4, 1], [1, 2, 2, 4]), ("val_loss", [1, 0, 4, 3], [1, 2, 2, 4])],
)
def test_complete_trials_are_ranked_by_value_and_equal_ones_share_a_rank(
    tables: Store, objective: str, numbers: list[int], ranks: list[int]
) -> None:
    done, pruned = State.COMPLETE, State.PRUNED
    study = ended(
        tables, (done, 0.5), (done, 0.2), (pruned, 0.99), (done, 0.9), (done, 0.5), (State.FAILED, None), objective=objective
    )
    board = reviews.leaderboard(study, tables.trials(study))
    assert [entry.row.number for entry in board] == numbers
    assert [entry.rank for entry in board] == ranks
    assert reviews.leaderboard(study, tables.trials(study), 2) == board[:2]
    assert reviews.best(study, tables.trials(study)) == board[0]
    assert repr(reviews.load(tables, study)) == "<Review of 'small': 4 of 6 trials complete>"


@pytest.mark.parametrize("outcomes", [(), ((State.PRUNED, 0.7), (State.FAILED, None))])
def test_without_a_complete_trial_there_is_no_best_one(tables: Store, outcomes: tuple[tuple[State, float | None], ...]) -> None:
    study = ended(tables, *outcomes)
    assert reviews.leaderboard(study, tables.trials(study)) == []
    with pytest.raises(BadInput, match="no trial has completed yet"):
        reviews.best(study, tables.trials(study))


def test_totals_count_states_failures_epochs_and_the_time_between_first_start_and_last_end(tables: Store) -> None:
    study = ended(tables, (State.COMPLETE, 0.5), (State.PRUNED, 0.2), (State.FAILED, None))
    counted = reviews.totals(tables.trials(study))
    assert counted.states == {**dict.fromkeys(State, 0), State.COMPLETE: 1, State.PRUNED: 1, State.FAILED: 1}
    assert counted.failures == {"non_finite": 1}
    assert (counted.epochs, counted.seconds, counted.per_hour) == (2, 10.0, 3 * 360)


def test_totals_of_an_untouched_study_are_zero(tables: Store) -> None:
    study = launch(tables, 3)
    counted = reviews.totals(tables.trials(study))
    assert (counted.epochs, counted.seconds, counted.per_hour) == (0, 0.0, 0.0)


# Optuna and pandas ------------------------------------------------------------


def test_the_optuna_study_has_every_trial_under_its_number_with_values_parameters_states_and_curves(
    small_and_large: dict[int, Review],
) -> None:
    review = small_and_large[60]
    states = {State.COMPLETE: TrialState.COMPLETE, State.PRUNED: TrialState.PRUNED, State.FAILED: TrialState.FAIL}
    assert len(review.optuna.trials) == len(review.rows) == 60
    for trial, row in zip(review.optuna.trials, review.rows, strict=True):
        assert row.params is not None
        assert (trial.number, trial.state, trial.value) == (row.number, states[row.state], row.value)
        assert trial.params == {name: value for name, value in row.params.items() if name != "bias"}  # it is fixed
        assert trial.intermediate_values == {e.epoch: e.metrics["val_accuracy"] for e in review.epochs[row.number]}
        assert trial.duration is not None
        assert trial.duration.total_seconds() == 10 * row.epoch
        assert trial.user_attrs["message"] == row.message
    assert review.optuna.best_trial.number == review.best.row.number


def test_trials_that_have_no_parameters_keep_the_numbers_of_the_others(tables: Store) -> None:
    study = launch(tables, 4)
    lost = tables.claim(study, "worker", 60)
    assert lost is not None
    end(tables, study, {"width": 4, "optimizer": "adam", "learning_rate": 0.01}, [], Outcome(State.COMPLETE, value=0.5))
    tables.stop(study, "enough")
    review = reviews.load(tables, study)
    assert [trial.number for trial in review.optuna.trials] == [0, 1, 2, 3]
    assert [trial.state.name for trial in review.optuna.trials] == ["WAITING", "COMPLETE", "FAIL", "FAIL"]
    assert review.optuna.best_trial.number == 1


@pytest.mark.parametrize(("objective", "direction"), [("val_accuracy", "MAXIMIZE"), ("val_loss", "MINIMIZE")])
def test_the_optuna_study_has_our_direction(tables: Store, objective: str, direction: str) -> None:
    study = ended(tables, (State.COMPLETE, 0.5), objective=objective)
    assert reviews.load(tables, study).optuna.direction.name == direction


def test_the_frame_has_a_row_per_trial_and_a_column_per_parameter(small_and_large: dict[int, Review]) -> None:
    review = small_and_large[60]
    own = ["number", "state", "value", "epochs", "seconds", "attempts", "failure", "message", "parameters"]
    assert list(review.frame.columns) == [*own, "depth", "width", "optimizer", "learning_rate", "momentum", "bias"]
    assert len(review.frame) == 60
    last, row = review.frame.iloc[59].to_dict(), review.rows[59]
    assert row.params is not None
    assert (last["number"], last["state"], last["value"], last["width"]) == (59, row.state, row.value, row.params["width"])
    assert (last["epochs"], last["seconds"], last["parameters"]) == (row.epoch, 10.0 * row.epoch, 1234)
    has_momentum = review.frame["optimizer"] == "momentum"
    assert review.frame["momentum"].notna().tolist() == has_momentum.tolist()


def test_a_parameter_with_the_name_of_one_of_our_columns_gets_a_prefix(tables: Store) -> None:
    search = {"value": {"int": [1, 5]}, "state": ["a", "b"]}
    study = launch(tables, 1, name="own", model="tests.paper:build", search=search)
    end(tables, study, {"value": 3, "state": "b"}, [], Outcome(State.COMPLETE, value=0.5))
    frame = reviews.load(tables, study).frame
    assert frame[["value", "params_value", "state", "params_state"]].iloc[0].tolist() == [0.5, 3, "complete", "b"]


def test_the_curves_have_a_row_per_epoch(small_and_large: dict[int, Review]) -> None:
    review = small_and_large[60]
    assert {"trial", "epoch", "val_accuracy", "val_loss"} <= set(review.curves.columns)
    assert len(review.curves) == sum(row.epoch for row in review.rows)
    second = review.curves.query("trial == 5 and epoch == 2")
    assert second["val_accuracy"].item() == review.epochs[5][1].metrics["val_accuracy"]


def test_the_frames_of_an_untouched_study_have_columns_and_no_values(small_and_large: dict[int, Review]) -> None:
    review = small_and_large[0]
    assert review.frame["value"].isna().all()
    assert len(review.frame) == 2
    assert len(review.curves) == len(review.leaderboard()) == 0


def test_the_leaderboard_frame_shows_rank_and_parameters(small_and_large: dict[int, Review]) -> None:
    board = small_and_large[60].leaderboard(5)
    assert list(board.columns[:4]) == ["rank", "number", "value", "parameters"]
    assert board["rank"].tolist() == [1, 2, 3, 4, 5]
    assert board["value"].is_monotonic_decreasing


def test_a_study_is_opened_by_name_and_address(tables: Store) -> None:
    ended(tables, (State.COMPLETE, 0.5), name="mine")
    review = reviews.study("mine", tables.url.render_as_string())
    assert review.best.value == 0.5
    with pytest.raises(UnknownStudy, match=r"'yours'.*mine"):
        reviews.study("yours", tables.url.render_as_string())


def test_a_database_without_tables_holds_no_studies(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no studies"):
        reviews.study("mine", f"sqlite:///{tmp_path / 'empty.db'}")


# Plots ------------------------------------------------------------

FIRST_DRAWN = {
    "history": 1, "curves": 1, "choices": 1, "importance": 3, "edf": 3, "slice": 3, "contour": 60, "parallel": 3, "timeline": 1,
    "contrast": math.inf,  # no choice beside the depth shapes the network here; see below
    "race": math.inf,  # none of these has a race; see below
    "front": math.inf,  # all have one objective; see below
}  # fmt: skip


@pytest.mark.parametrize("trials", [0, 1, 3, 60])
@pytest.mark.parametrize("kind", reviews.KINDS)
def test_each_plot_draws_something_or_says_why_not(small_and_large: dict[int, Review], kind: str, trials: int) -> None:
    plot = reviews.plot(small_and_large[trials], kind)
    if trials < FIRST_DRAWN[kind]:
        assert not plot.parts
        assert plot.missing.endswith(".")
    else:
        assert plot.missing == ""
        assert plot.parts
        assert all(any(trace.x is not None and len(trace.x) for trace in figure.data) for figure in plot.parts.values())


@pytest.mark.parametrize("trials", [0, 3, 60])
@pytest.mark.parametrize("kind", reviews.KINDS)
def test_each_plot_is_a_png_file_too_and_leaves_matplotlib_as_it_was(
    small_and_large: dict[int, Review], kind: str, trials: int
) -> None:
    plt.switch_backend("svg")
    before = ("svg", dict(mpl.rcParams), plt.get_fignums())
    drawn = reviews.pngs(small_and_large[trials], kind)
    assert drawn.keys() == reviews.plot(small_and_large[trials], kind).parts.keys()
    assert all(content.startswith(b"\x89PNG") for content in drawn.values())
    assert (mpl.get_backend(), dict(mpl.rcParams), plt.get_fignums()) == before


@pytest.mark.parametrize(("names", "degrees"), [(["adam", "sgd"], 0.0), ([f"adam-{n}" for n in range(8)], 30.0)])
def test_names_that_would_lie_over_each_other_stand_aslant(names: list[str], degrees: float) -> None:
    with looks.canvas():
        axes = plt.subplots()[1]
        axes.scatter([repr(name) for name in names], range(len(names)))
        assert looks.png(axes, "Names").startswith(b"\x89PNG")
    assert [(tick.get_text(), tick.get_rotation()) for tick in axes.get_xticklabels()] == [(name, degrees) for name in names]


def with_race(store: Store, *, test: bool = True, **changes: Any) -> Study:
    """A study of two ended trials, and a race that the second in the search wins."""
    study = ended(store, (State.COMPLETE, 0.9), (State.COMPLETE, 0.8), **{"final": {"finalists": 2, "seeds": 3}, **changes})
    store.follow(study, race.following(study, store.trials(study), {}))
    stage = store.next(study)
    assert stage is not None
    for value in (0.60, 0.78, 0.65, 0.79, 0.62, 0.77):
        end(store, stage, None, [{"val_accuracy": value, "val_loss": 0.1}], Outcome(State.COMPLETE, value=value))
    if test:
        store.follow(stage, race.following(stage, store.trials(stage), store.epochs(stage)))
        last = store.next(stage)
        assert last is not None
        scores = {"test_accuracy": 0.75, "test_accuracy_low": 0.7, "test_accuracy_high": 0.8}
        end(store, last, None, [scores], Outcome(State.COMPLETE, value=0.75))
    return study


def test_a_race_is_shown_beside_the_search_and_the_test(tables: Store) -> None:
    review = reviews.load(tables, with_race(tables))
    figure = reviews.plot(review, "race").parts["race"]
    assert [list(trace.x) for trace in figure.data[-3:]] == [
        [0.78, 0.79, 0.77, 0.60, 0.65, 0.62], pytest.approx([0.78, 1.87 / 3, 0.75]), [0.8, 0.9]
    ]  # fmt: skip
    assert list(figure.layout.yaxis.ticktext) == ["trial 1, winner", "trial 0, behind", "the winner, test split"]
    assert list(reviews.pngs(review, "race")) == ["race"]
    text = Page(reviews.render(review, at=LAUNCHED)).text
    assert "Winner of the race: trial 1 0.75 test_accuracy" in text
    low, high = interval.of_winner(np.array([0.78, 0.79, 0.77]), 2, maximise=True)
    assert f"1 0.8 0.78 {low:.5g} {high:.5g} 3 0.75 winner" in text
    assert "The test split was used once, for the score of the race's winner." in text
    assert "Best trial: 0 0.9" in text


def test_values_that_are_ranked_are_named_with_their_true_places(tables: Store) -> None:
    search = {"width": [1, 2], "optimizer": ["sgd", "adam"], "learning_rate": {"float": [1e-3, 1e-1]}}
    review = reviews.load(tables, with_race(tables, rank="width", final={"seeds": 3}, search=search))
    text = Page(reviews.render(review, at=LAUNCHED)).text
    assert "Which width for mlp on digits has the highest val_accuracy?" in text
    assert "Winner of the race: 2 (trial 1)" in text
    assert re.search(r"width Trial .* Place True place 2 1 0\.8 0\.78 .* winner 1 1 0 0\.9 .* behind 2", text)
    assert reviews.plot(review, "race").parts["race"].layout.yaxis.ticktext[0] == "2 (trial 1), winner"


def test_a_race_that_is_on_is_shown_as_far_as_it_has_come(tables: Store) -> None:
    review = reviews.load(tables, with_race(tables, test=False))
    text = Page(reviews.render(review, at=LAUNCHED)).text
    assert "Winner of the race: trial 1 0.78 val_accuracy, mean of 3 seeds" in text
    assert "The test split was not used." in text


def test_the_history_shows_every_complete_trial_under_its_number(small_and_large: dict[int, Review]) -> None:
    review = small_and_large[60]
    points = reviews.plot(review, "history").parts["history"].data[0]
    assert dict(zip(points.x, points.y, strict=True)) == {e.row.number: e.value for e in review.ranked}


def test_learning_curves_show_the_best_trial_on_top_and_pruned_ones_dimmed(small_and_large: dict[int, Review]) -> None:
    review = small_and_large[60]
    traces = reviews.plot(review, "curves").parts["curves"].data
    assert [trace.name for trace in traces] == ["pruned", "failed", "complete", "the best"]
    assert set(traces[-1].customdata) == {review.best.row.number, None}
    assert traces[0].opacity < traces[-1].opacity
    assert len(set(traces[0].customdata) - {None}) == Counter(row.state for row in review.rows)[State.PRUNED]


def test_a_contrast_joins_the_best_of_every_depth_with_and_without_residuals(tables: Store) -> None:
    search = {"depth": [8, 20, 32], "residual": [True, False]}
    study = launch(tables, 6, model="resnet", search=search)
    reached = {(8, True): 0.8, (20, True): 0.9, (32, True): 0.95, (8, False): 0.7, (20, False): 0.2}
    for (depth, residual), value in reached.items():
        metrics = [{"val_accuracy": value, "val_loss": 1.0}]
        end(tables, study, {"depth": depth, "residual": residual}, metrics, Outcome(State.COMPLETE, value=value))
    metrics = [{"val_accuracy": 0.3, "val_loss": 1.0}]
    end(tables, study, {"depth": 20, "residual": False}, metrics, Outcome(State.PRUNED, value=0.3))
    review = reviews.load(tables, study)
    plot = reviews.plot(review, "contrast")
    joined = {t.name: list(zip(t.x, t.y, strict=True)) for t in plot.parts["contrast-depth-residual"].data if t.mode == "lines"}
    assert joined == {
        "residual true": [(8, 0.8), (20, 0.9), (32, 0.95)],
        "residual false": [(8, 0.7), (20, 0.3)],
    }
    assert set(reviews.pngs(review, "contrast")) == set(plot.parts)


def test_contours_are_few_pairs_and_slices_few_parameters(small_and_large: dict[int, Review]) -> None:
    assert len(reviews.plot(small_and_large[60], "contour").parts) <= 3
    assert len(reviews.plot(small_and_large[60], "slice").parts) == 5


def test_equal_values_leave_nothing_to_compare(tables: Store) -> None:
    review = reviews.load(tables, ended(tables, *[(State.COMPLETE, 0.5)] * 4))
    assert {kind for kind in reviews.KINDS if "same value" in reviews.plot(review, kind).missing} == {
        "importance", "edf", "contour", "parallel",
    }  # fmt: skip


def test_one_parameter_has_nothing_to_be_compared_with(tables: Store) -> None:
    study = launch(tables, 3, search={"width": {"int": [4, 16]}})
    for number in range(3):
        end(tables, study, {"width": 4 + number}, [], Outcome(State.COMPLETE, value=number / 10))
    review = reviews.load(tables, study)
    assert "two parameters" in reviews.plot(review, "importance").missing
    assert list(reviews.plot(review, "slice").parts) == ["slice-width"]


def test_a_study_of_fixed_parameters_has_no_slice(tables: Store) -> None:
    study = launch(tables, 2, search={"width": 8})
    for number in range(2):
        end(tables, study, {"width": 8}, [], Outcome(State.COMPLETE, value=number / 10))
    assert reviews.plot(reviews.load(tables, study), "slice").missing == "Every parameter is fixed."


def test_an_unknown_plot_names_those_there_are(small_and_large: dict[int, Review]) -> None:
    for draw in (reviews.plot, reviews.pngs):
        with pytest.raises(BadInput, match=r"'pie'.*history"):
            draw(small_and_large[60], "pie")


@pytest.mark.parametrize(
    ("given", "maximise", "edge"),
    [
        ([0.1, 0.2, 0.3, 0.4], False, None),
        ([0.1, 0.2, 0.3, 1e6], False, 0.25 + 10 * 0.15),
        ([1.0, 2.0, 3.0, -1e6], True, 1.5 - 10 * 1.5),
        ([0.5, 0.5, 0.5, 1e6], False, None),
    ],
)
def test_far_values_are_drawn_at_an_edge(given: list[float], maximise: bool, edge: float | None) -> None:  # noqa: FBT001
    assert clipped(given, maximise=maximise) == (edge if edge is None else pytest.approx(edge))


def test_one_diverged_trial_does_not_squeeze_the_history(tables: Store) -> None:
    study = ended(tables, *[(State.COMPLETE, v) for v in (0.3, 0.2, 1e9, 0.4)], objective="val_loss")
    plot = reviews.plot(reviews.load(tables, study), "history")
    assert max(plot.parts["history"].data[0].y) < 10
    assert "1 of 4" in plot.note


def test_what_is_drawn_is_bounded_and_the_plot_says_so(tables: Store) -> None:
    study = ended(tables, *[(State.COMPLETE, number / 500) for number in range(POINTS + 50)])
    review = reviews.load(tables, study)
    slices, parallel = reviews.plot(review, "slice"), reviews.plot(review, "parallel")
    assert len(slices.parts["slice-width"].data[0].x) == POINTS
    assert len(parallel.parts["parallel"].data) == LINES + 1  # the scale
    assert max(slices.parts["slice-width"].data[0].marker.color) == POINTS + 49  # the best is drawn, under its number
    assert f"{POINTS} of {POINTS + 50}" in slices.note


# Choices side by side ------------------------------------------------------------

METHODS: dict[str, Any] = {
    "optimizer": ["lion", "momentum", "sgd", "adam"],
    "schedule": ["constant", "cosine"],
    "width": {"int": [4, 16]},
}
ADAM: Params = {"optimizer": "adam", "adam.learning_rate": 0.01, "adam.beta_1": 0.875}
SGD: Params = {"optimizer": "sgd", "sgd.learning_rate": 0.125}
MOMENTUM: Params = {"optimizer": "momentum", "momentum.learning_rate": 0.5, "momentum.momentum": 0.9375}
TRIED: list[tuple[Params, State, list[float], list[float]]] = [  # what was chosen, how it ended, its values, its seconds
    (SGD, State.COMPLETE, [0.3, 0.5, 0.4], [9.0, 1.0, 2.0]),
    (SGD, State.PRUNED, [0.7], [9.0]),
    (SGD, State.FAILED, [0.99], [9.0]),
    (MOMENTUM, State.FAILED, [], []),
    (ADAM, State.COMPLETE, [0.6, 0.55], [9.0, 4.0]),
    (ADAM, State.PRUNED, [0.1], [9.0]),
    ({**ADAM, "adam.learning_rate": 0.02}, State.COMPLETE, [0.8, 0.9], [9.0, 5.0]),
]


def tried(store: Store, *, objective: str = "val_accuracy", search: dict[str, Any] = METHODS) -> Review:
    """Seven trials, and two more to come, of three methods out of four; for a loss the values are turned around."""
    study = launch(store, len(TRIED) + 2, search=search, objective=objective)
    for chosen, state, reached, seconds in TRIED:
        values_ = reached if objective == "val_accuracy" else [1 - value for value in reached]
        best_ = (max if objective == "val_accuracy" else min)(values_, default=None)
        outcome = Outcome(state, failure=Failure.NON_FINITE) if state is State.FAILED else Outcome(state, value=best_)
        end(store, study, {"width": 8, "schedule": "cosine", **chosen}, [{objective: v} for v in values_], outcome, seconds)
    return reviews.load(store, study)


@pytest.mark.parametrize("objective", ["val_accuracy", "val_loss"])
def test_the_values_of_a_choice_are_counted_and_ordered_by_the_best_that_a_trial_reached(tables: Store, objective: str) -> None:
    review = tried(tables, objective=objective)
    assert choices.compared(review) == ["optimizer", "schedule"]  # the width is a number
    adam, sgd, momentum, lion = choices.tallies(review, "optimizer")
    assert [tally.choice for tally in (adam, sgd, momentum, lion)] == ["adam", "sgd", "momentum", "lion"]
    assert sgd.states == {State.COMPLETE: 1, State.PRUNED: 1, State.FAILED: 1}
    assert [tally.trials for tally in (adam, sgd, momentum, lion)] == [3, 3, 1, 0]
    best = {"adam": (0.9, 6), "sgd": (0.7, 1)}  # a pruned trial was the best of sgd; the failed one has no value
    for tally in (adam, sgd):
        assert tally.best is not None
        told = tally.best.value if objective == "val_accuracy" else 1 - tally.best.value
        assert (pytest.approx(told), tally.best.row.number) == best[tally.choice]
    assert (momentum.best, lion.best, momentum.median, lion.median) == (None,) * 4


def test_medians_are_of_the_values_reached_and_seconds_leave_out_first_epochs(tables: Store) -> None:
    adam, sgd, momentum, lion = choices.tallies(tried(tables), "optimizer")
    assert (adam.median, sgd.median) == (0.6, pytest.approx(0.6))  # of 0.9, 0.6, 0.1 and of 0.7, 0.5
    assert (adam.seconds, sgd.seconds) == (4.5, 1.5)
    assert (momentum.seconds, lion.seconds) == (None, None)


def test_of_equal_values_the_choice_of_the_earlier_trial_stands_first(tables: Store) -> None:
    study = launch(tables, 2, search=METHODS)
    for chosen in (SGD, MOMENTUM):
        end(tables, study, {**chosen, "schedule": "cosine", "width": 8}, [], Outcome(State.COMPLETE, value=0.5))
    names = [tally.choice for tally in choices.tallies(reviews.load(tables, study), "optimizer")]
    assert names == ["sgd", "momentum", "lion", "adam"]


def test_a_trial_owns_what_its_choice_takes_under_whatever_name(tables: Store) -> None:
    review = tried(tables)
    assert choices.own(review, "optimizer", review.rows[6]) == {"learning_rate": 0.02, "beta_1": 0.875}
    assert choices.own(review, "schedule", review.rows[6]) == {}
    shared = launch(tables, 1, name="shared", search=SEARCH)  # one rate for both methods
    params: Params = {"depth": 1, "width": 16, "optimizer": "momentum", "learning_rate": 0.25, "momentum": 0.5, "bias": True}
    end(tables, shared, params, [], Outcome(State.COMPLETE, value=0.5))
    review = reviews.load(tables, shared)
    assert choices.own(review, "optimizer", review.rows[0]) == {"learning_rate": 0.25, "momentum": 0.5}


def test_what_exists_under_a_condition_on_a_choice_is_its_own(tables: Store) -> None:
    search = {"kind": ["a", "b"], "size": {"int": [1, 9], "when": {"kind": "a"}}, "width": {"int": [4, 16]}}
    study = launch(tables, 1, model="tests.paper:build", search=search)
    end(tables, study, {"kind": "a", "size": 3, "width": 8}, [], Outcome(State.COMPLETE, value=0.5))
    review = reviews.load(tables, study)
    assert choices.own(review, "kind", review.rows[0]) == {"size": 3}


def test_the_page_has_a_line_per_value_of_a_choice(tables: Store) -> None:
    text = Page(reviews.render(tried(tables), at=LAUNCHED)).text
    lines = [
        "adam 0.9 0.6 3 2 1 0 4.5 6 learning_rate 0.02, beta_1 0.875",
        "sgd 0.7 0.6 3 1 1 1 1.5 1 learning_rate 0.125",
        "momentum – – 1 0 0 1 – – –",
        "lion not tried – 0 – – – – – –",
    ]
    assert " ".join(lines) in text
    assert "3 of 4 values tried" in text
    assert "cosine 0.9 0.6 7 3 2 2" in text


def test_without_a_choice_between_words_nothing_stands_side_by_side(tables: Store) -> None:
    study = launch(tables, 1, search={"width": [4, 8], "depth": {"int": [1, 2]}, "activation": ["relu"]})
    end(tables, study, {"width": 4, "depth": 1, "activation": "relu"}, [], Outcome(State.COMPLETE, value=0.5))
    review = reviews.load(tables, study)
    assert choices.compared(review) == []
    assert "choice between words" in reviews.plot(review, "choices").missing
    assert "choices" not in Page(reviews.render(review, at=LAUNCHED)).all("id")


def test_a_strip_has_a_line_per_value_a_point_per_trial_and_the_median(tables: Store) -> None:
    figure = reviews.plot(tried(tables), "choices").parts["choices-optimizer"]
    assert list(figure.layout.yaxis.ticktext) == ["adam (3)", "sgd (3)", "momentum (1)", "lion (not tried)"]
    pruned, complete, middle = figure.data
    assert (pruned.name, complete.name, middle.name) == ("pruned", "complete", "median")
    assert {(number, value) for number, value in pruned.customdata} == {(1, 0.7), (5, 0.1)}
    assert {(number, round(y)) for (number, _), y in zip(complete.customdata, complete.y, strict=True)} == {
        (0, 1),
        (4, 0),
        (6, 0),
    }
    assert list(zip(middle.x, middle.y, strict=True)) == [(0.6, 0), (pytest.approx(0.6), 1)]
    low, high = sorted(figure.layout.yaxis.range)
    assert (low, high) == (-0.5, 3.5)


def test_one_diverged_trial_does_not_squeeze_the_strips(tables: Store) -> None:
    study = ended(tables, *[(State.COMPLETE, v) for v in (0.3, 0.2, 1e9, 0.4)], objective="val_loss")
    plot = reviews.plot(reviews.load(tables, study), "choices")
    points = plot.parts["choices-optimizer"].data[0]
    assert max(points.x) < 10
    assert max(value for _, value in points.customdata) == 1e9  # what it says when asked
    assert "(1 of 4)" in plot.note


def test_a_choice_that_no_trial_has_yet_has_no_strip(tables: Store) -> None:
    search = {"kind": ["a", "b"], "way": {"choice": ["x", "y"], "when": {"kind": "a"}}, "size": {"int": [1, 9]}}
    study = launch(tables, 1, model="tests.paper:build", search=search)
    end(tables, study, {"kind": "b", "size": 1}, [], Outcome(State.COMPLETE, value=0.5))
    review = reviews.load(tables, study)
    assert list(reviews.plot(review, "choices").parts) == ["choices-kind"]
    assert list(reviews.pngs(review, "choices")) == ["choices-kind"]
    assert [tally.trials for tally in choices.tallies(review, "way")] == [0, 0]


# Folding ------------------------------------------------------------


def test_names_lose_their_owner_where_that_leaves_them_apart() -> None:
    assert short(["width", "adam.beta_1"]) == {"width": "width", "adam.beta_1": "beta_1"}
    assert short(["beta_1", "adam.beta_1"]) == {"beta_1": "beta_1", "adam.beta_1": "adam.beta_1"}
    assert own({"optimizer": "adam", "adam.beta_1": 0.5, "step.every": 0.25}) == {"beta_1": 0.5, "every": 0.25}
    assert screen.parameters(ADAM) == "optimizer=adam learning_rate=0.01 beta_1=0.875"


def test_the_leaderboard_of_many_methods_folds_what_each_has_of_its_own(tables: Store) -> None:
    review = tried(tables)
    page = Page(reviews.render(review, at=LAUNCHED))
    assert "Rank Trial val_accuracy Weights optimizer schedule width Own parameters 1 6 0.9 1,234 adam cosine 8" in page.text
    assert "1,234 adam cosine 8 learning_rate 0.02, beta_1 0.875 2 4 0.6" in page.text
    full = {"adam.learning_rate", "adam.beta_1", "sgd.learning_rate", "momentum.momentum", "lion.beta_1"}
    assert full <= set(review.frame.columns)  # exports are complete
    assert full <= set(review.leaderboard().columns)
    assert review.frame["adam.learning_rate"].dropna().tolist() == [0.01, 0.01, 0.02]


def test_the_search_space_has_a_line_per_owner_below_what_chooses_it(tables: Store) -> None:
    text = Page(reviews.render(tried(tables), at=LAUNCHED)).text
    table = text[text.index("The 10 parameters of the study") :]
    assert "↳ momentum 2 of its own learning_rate 1e-05 to 1 by factors; momentum 0 to 0.99 – optimizer is momentum" in table
    order = [" optimizer choice", "↳ lion", "↳ momentum", "↳ sgd", "↳ adam", " schedule choice", " width whole"]
    assert [table.index(word) for word in order] == sorted(table.index(word) for word in order)
    assert "Searched: 10 parameters, of which a trial has 4 to 5, in 9 trials" in text


def test_parallel_coordinates_cross_what_all_trials_have(tables: Store) -> None:
    drawn = reviews.plot(tried(tables), "parallel")
    assert list(drawn.parts["parallel"].layout.xaxis.ticktext)[1:] == ["optimizer", "schedule", "width"]
    assert "3 parameters of one optimizer or schedule each are left out" in drawn.note


def test_of_many_parameters_the_most_important_are_drawn(tables: Store) -> None:
    study = launch(tables, 60, search={"optimizer": "adam_like", "width": {"int": [4, 16]}})
    rng, space = np.random.default_rng(3), Space(study.spec)
    for _ in range(60):
        params = drawn(space, rng)
        end(tables, study, params, [], Outcome(State.COMPLETE, value=float(params["width"]) + float(rng.normal())))
    review = reviews.load(tables, study)
    plot = reviews.plot(review, "importance")
    figure = plot.parts["importance"]
    low, high = figure.layout.yaxis.range
    assert (high - low, len(figure.data[0].y) - 0.5) == (15, high)
    assert figure.data[0].y[-1] == next(iter(review.importance))  # the last bar stands on top
    assert f"Drawn are the first 15 of {len(review.importance)} parameters." in plot.note
    assert "rests on the few trials that have it" in plot.note


# The page ------------------------------------------------------------

VOID = {"meta", "link", "br", "img", "hr"}


class Page(HTMLParser):
    """Balance of the tags, the headings, and what the page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, name: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(name)) is not None]


def outside_scripts(text: str) -> str:
    return re.sub(r"<script[^>]*>.*?</script>", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("trials", [0, 1, 3, 60])
def test_the_page_is_balanced_complete_and_asks_nothing_of_the_network(pages: dict[int, str], trials: int) -> None:
    text = pages[trials]
    page = Page(text)
    assert page.open == []
    assert all(value.startswith(("#", "data:")) for name in ("src", "href", "action", "srcset") for value in page.all(name))
    assert not re.search(r"@import|url\(", outside_scripts(text))
    assert {"default-src 'none'", "form-action 'none'"} <= set(page.all("content")[-1].split("; "))
    assert "showSendToCloud: false" in text  # Plotly's button for an upload of the data
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    assert {*page.all("data-figure"), *page.all("aria-labelledby"), *(h[1:] for h in page.all("href") if h[0] == "#")} <= set(ids)
    assert len(text) < 10_000_000


def test_the_page_can_be_read_without_seeing_it(pages: dict[int, str]) -> None:
    page = Page(pages[60])
    names = [name for name, _ in page.tags]
    levels = [int(name[1]) for name in names if re.fullmatch(r"h\d", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert {"header", "main", "footer", "nav", "title"} <= set(names)
    assert dict(page.tags)["html"]["lang"] == "en"
    assert all(attributes.get("scope") in ("col", "row") for name, attributes in page.tags if name == "th")
    pictures = [attributes for _, attributes in page.tags if attributes.get("role") == "figure"]
    assert len(pictures) > 10
    assert all(attributes["aria-label"] for attributes in pictures)


def test_the_page_tells_the_best_trial_its_parameters_and_how_far_to_trust_it(
    small_and_large: dict[int, Review], pages: dict[int, str]
) -> None:
    review, page = small_and_large[60], Page(pages[60])
    assert f"Best trial: {review.best.row.number}" in page.text
    assert f"{review.best.value:.5g}" in page.text
    assert f"{review.best.row.params['learning_rate']:.5g}" in page.text  # type: ignore[index]
    assert "optimistic" in page.text
    assert "The test split was not used" in page.text
    assert "non_finite" in page.text
    assert "loss is not finite" in page.text


def test_before_the_first_end_the_page_says_so(pages: dict[int, str]) -> None:
    text = Page(pages[0]).text
    assert "No trial has completed yet" in text
    assert "0 of 2 trials have ended" in text


@pytest.mark.parametrize("outcomes", [[(State.PRUNED, 0.3)] * 3, [(State.FAILED, None)] * 3])
def test_a_study_without_complete_trials_has_a_page(tables: Store, outcomes: list[tuple[State, float | None]]) -> None:
    study = ended(tables, *outcomes)
    text = Page(reviews.render(reviews.load(tables, study), at=LAUNCHED)).text
    assert "No trial has completed yet" in text
    assert ("All failed trials" in text) == (outcomes[0][0] is State.FAILED)


def test_a_trial_that_was_impossible_is_listed_with_its_reason(tables: Store) -> None:
    study = launch(tables, 2)
    end(tables, study, {"width": 4}, [], Outcome(State.PRUNED, message="convolution 2: 5×5 does not fit into 4×4"))
    end(
        tables,
        study,
        {"width": 5},
        [{"val_accuracy": 0.5, "val_loss": 1.0}],
        Outcome(State.PRUNED, value=0.5, message="hopeless"),
    )
    text = Page(reviews.render(reviews.load(tables, study), at=LAUNCHED)).text
    assert "All impossible trials" in text
    assert "convolution 2: 5×5 does not fit into 4×4" in text
    assert "hopeless" not in text


def test_names_messages_and_choices_are_escaped(tables: Store, tmp_path: Path) -> None:
    search = {"kind": [HOSTILE, "</script>"], "size": {"int": [1, 9]}}
    study = launch(tables, 6, name=HOSTILE, model="tests.paper:build", search=search, data=HOSTILE)
    for number in range(5):
        params: Params = {"kind": str(values(study.spec.search["kind"])[number % 2]), "size": number + 1}
        end(tables, study, params, [{"val_accuracy": number / 5}], Outcome(State.COMPLETE, value=number / 5))
    end(tables, study, params, [], Outcome(State.FAILED, failure=Failure.NON_FINITE, message=HOSTILE))
    text = reviews.report(tables, study, tmp_path / "out").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert "<script>alert" not in text
    assert page.text.count(HOSTILE) >= 4
    assert len(list((tmp_path / "out" / "plots").glob("contour-*.png"))) == 1  # with the choices on an axis
    assert page.text.count(f"{HOSTILE} 0.8 ") == 1  # its line among the choices
    strip = reviews.plot(reviews.load(tables, study), "choices").parts["choices-kind"]
    assert all("<" not in label for label in strip.layout.yaxis.ticktext)


def test_the_report_is_one_page_and_the_plots_of_this_time(tables: Store, tmp_path: Path) -> None:
    study = ended(tables, (State.COMPLETE, 0.4), (State.COMPLETE, 0.6), (State.COMPLETE, 0.5))
    (tmp_path / "out" / "plots").mkdir(parents=True)
    (tmp_path / "out" / "plots" / "slice-of-another-study.png").write_bytes(b"")
    target = reviews.report(tables, study, tmp_path / "out")
    assert target == tmp_path / "out" / "report.html"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["plots", "report.html"]
    stills = {path.stem for path in (tmp_path / "out" / "plots").iterdir()}
    assert stills == {part for kind in reviews.KINDS for part in reviews.plot(reviews.load(tables, study), kind).parts}


def test_plots_have_names_that_every_file_system_takes(tables: Store, tmp_path: Path) -> None:
    search = {"optimizer": ["sam:adam", "sgd"], "A": {"int": [1, 9]}, "a": {"int": [1, 9]}}
    study = launch(tables, 6, model="tests.paper:build", search=search)
    for number in range(6):
        own = {"sam:adam.learning_rate": 0.1 / (number + 1), "sam:adam.beta_1": 0.9 - number / 20, "sam:adam.radius": 0.05}
        params: Params = {"optimizer": "sam:adam", **own, "A": number + 1, "a": 9 - number}
        end(tables, study, params, [{"val_accuracy": number / 6}], Outcome(State.COMPLETE, value=number / 6))
    reviews.report(tables, study, tmp_path)
    names = [path.name for path in (tmp_path / "plots").iterdir()]
    assert any("sam_adam.learning_rate" in name for name in names)
    assert not any(set(name) & set(':/\\<>"|?*') for name in names)
    slices = sorted(name for name in names if name.lower().startswith("slice-a"))
    assert slices in (["slice-A.png", "slice-a-2.png"], ["slice-A-2.png", "slice-a.png"])


@pytest.mark.parametrize(
    "changes",
    [
        {"search": SEARCH, "seed": 7, "pruner": {"name": "asha", "factor": 4}},
        {
            "search": {"width": {"int": [4, 16], "step": 4, "when": {"depth": [2, 3]}}, "depth": [1, 2, 3]},
            "enqueue": [{"depth": 2}],
        },
        {"name": 'a "quoted" näme', "search": {"dropout": {"float": [0.0, 0.5], "step": 0.1}}, "budget": {"target": 1e-7}},
        {"model": "tests.paper:build", "search": {"kind": ["tab\t", 'quote"', "back\\slash", "\x7f", "𝕌"]}},
    ],
)
def test_the_study_file_on_the_page_asks_the_same_question(changes: dict[str, Any]) -> None:
    spec = study_spec(**changes)
    again: Callable[[str], Any] = tomllib.loads
    assert parse(again(reviews.study_file(spec))).identity == spec.identity


# The mirror ------------------------------------------------------------


def test_the_dashboard_shows_every_trial_with_its_curve_to_this_machine_alone(small_and_large: dict[int, Review]) -> None:
    review = small_and_large[60]
    shown = [review]
    with mirror.server(lambda: shown, 0, fresh=0.0) as server:
        host, port = server.server_address[:2]
        assert host == "127.0.0.1"
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def get(path: str, **headers: str) -> Any:
            asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return json.load(answer)

        (listed,) = get("/api/studies")["study_summaries"]
        trials = get(f"/api/studies/{listed['study_id']}")["trials"]
        with pytest.raises(BadInput, match=f"--port: {port} cannot be used: "):
            mirror.server(lambda: shown, port)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get("/api/studies", Host=f"elsewhere.example:{port}")
        shown.append(small_and_large[3])
        assert len(get("/api/studies")["study_summaries"]) == 2, "studies that came later are shown as well"
        server.shutdown()
    assert (listed["study_name"], listed["directions"]) == ("of 60", ["maximize"])
    assert [(t["number"], t["state"]) for t in trials] == [(t.number, t.state.name.capitalize()) for t in review.trials]
    assert [len(t["intermediate_values"]) for t in trials] == [row.epoch for row in review.rows]
    assert {t["number"]: t["values"] for t in trials if t["state"] == "Complete"} == {
        e.row.number: [e.value] for e in review.ranked
    }


# Several objectives ------------------------------------------------------------


def several(store: Store, *ends: tuple[float, float], **changes: Any) -> Study:
    """A study of complete trials with these values and costs."""
    study = launch(store, len(ends), objective=["val_accuracy", "model_bytes"], **changes)
    for number, (value, cost) in enumerate(ends):
        costs = {"parameters": cost / 4, "model_bytes": cost}
        outcome = Outcome(State.COMPLETE, value=value, costs={name: costs[name] for name in study.spec.costs})
        params: Params = {"width": 4 + number, "optimizer": "adam", "learning_rate": 0.01}
        end(store, study, params, [{"val_accuracy": value, "val_loss": value}], outcome)
    return study


def test_a_study_of_several_objectives_shows_its_front_and_what_breaks_its_constraints(tables: Store) -> None:
    ends = ((0.9, 800), (0.8, 400), (0.7, 600), (0.95, 9000))
    review = reviews.load(tables, several(tables, *ends, constraints=["parameters <= 250"]))
    assert [row.number for row in review.front] == [0, 1]
    assert [entry.row.number for entry in review.ranked] == [0, 1, 2, 3]
    assert [str(broken) for broken in review.ranked[3].broken] == ["parameters <= 250"]
    assert review.best.row.number == 0
    assert list(review.frame["model_bytes"]) == [800, 400, 600, 9000]
    page = reviews.render(review, at=LAUNCHED)
    assert "the highest val_accuracy and the least model_bytes, with parameters &lt;= 250?" in page
    assert "Constraint parameters &lt;= 250: broken by 1 of 4 trials." in page
    assert "2 of 2 points of the front" in page
    drawn = reviews.plot(review, "front").parts
    assert drawn.keys() == {"front-parameters", "front-model_bytes"}
    clouds = {trace.name: list(trace.customdata) for trace in drawn["front-model_bytes"].data}
    assert clouds == {"dominated": [2], "breaks a constraint": [3], "on the front": [1, 0]}
    assert reviews.pngs(review, "front").keys() == drawn.keys()
    for kind in reviews.KINDS:
        assert reviews.plot(review, kind).parts or reviews.plot(review, kind).missing


def test_a_study_whose_trials_all_break_a_constraint_has_no_best_one(tables: Store) -> None:
    review = reviews.load(tables, several(tables, (0.9, 800), (0.8, 400), constraints=["parameters <= 9"]))
    with pytest.raises(BadInput, match="no complete trial keeps to parameters <= 9"):
        _ = review.best
    assert review.front == []
    assert "No complete trial keeps to the constraints." in reviews.render(review, at=LAUNCHED)


def test_optuna_and_its_dashboard_have_every_objective_and_constraint(tables: Store) -> None:
    review = reviews.load(
        tables, several(tables, (0.9, 800), (0.8, 400), (0.7, 600), (0.95, 9000), constraints=["parameters <= 250"])
    )
    storage = mirror.mirror([review])
    (copy,) = storage.get_all_studies()
    assert [direction.name for direction in copy.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert [trial.values for trial in storage.get_all_trials(copy._study_id)] == [
        [0.9, 800],
        [0.8, 400],
        [0.7, 600],
        [0.95, 9000],
    ]
    assert [trial.number for trial in review.optuna.best_trials] == [0, 1]
    assert review.optuna.trials[3].constraints["parameters <= 250"] == 8


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own
def test_tensorboard_reads_the_curves_parameters_and_outcomes_that_were_exported(
    small_and_large: dict[int, Review], tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    from tuner.review import board

    def read(folder: Path) -> EventAccumulator:
        found = EventAccumulator(str(folder))
        found.Reload()
        return found

    def told(found: EventAccumulator, tag: str) -> HParamsPluginData:
        content = found.SummaryMetadata(tag).plugin_data.content
        return HParamsPluginData.FromString(content)

    review = small_and_large[60]
    board.export(review, tmp_path)
    board.export(review, tmp_path)  # over the first
    assert len(list(tmp_path.glob("trial-*/*"))) == 60
    config = told(read(tmp_path), "_hparams_/experiment").experiment
    assert [info.name for info in config.hparam_infos] == [name for name in SEARCH if name != "bias"]
    assert [info.name.tag for info in config.metric_infos] == ["best/val_accuracy"]
    for number in (0, 7):  # complete, failed
        row, found = review.rows[number], read(tmp_path / f"trial-{number:05}")
        curve = [(e.step, e.value) for e in found.Scalars("val_accuracy")]
        assert curve == [(e.epoch, pytest.approx(e.metrics["val_accuracy"])) for e in review.epochs[number]]
        start = told(found, "_hparams_/session_start_info").session_start_info.hparams
        assert row.params is not None
        assert start.keys() == row.params.keys()
        assert start["learning_rate"].number_value == row.params["learning_rate"]
        end = told(found, "_hparams_/session_end_info").session_end_info.status
        assert end == (2 if number == 7 else 1)  # STATUS_FAILURE, STATUS_SUCCESS
        if row.state is State.COMPLETE:
            assert [e.value for e in found.Scalars("best/val_accuracy")] == [pytest.approx(row.value)]
