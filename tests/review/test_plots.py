"""Every plot of a study: what it draws, and what it says when there is nothing to draw."""

import math
import re
from collections import Counter
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from tests.review.pages import Page
from tests.review.studies import LAUNCHED, end, ended, launch
from tuner import interval, race
from tuner import review as reviews
from tuner.errors import BadInput
from tuner.review import Review, looks
from tuner.review.looks import clipped
from tuner.review.plots import LINES, POINTS
from tuner.store import Store, Study
from tuner.trial import Outcome, Params, State

FIRST_DRAWN = {
    "history": 1, "curves": 1, "choices": 1, "importance": 3, "edf": 3, "slice": 3, "contour": 60, "parallel": 3, "timeline": 1,
    "contrast": math.inf,  # no choice beside the depth shapes the network here; see below
    "race": math.inf,  # none of these has a race; see below
    "front": math.inf,  # all have one objective; see `tests.review.test_results`
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
    page = reviews.render(review, at=LAUNCHED)
    assert 'class="scroll sideways" role="region" aria-label="Final race"' in page  # long names leave it no room on a telephone
    text = Page(page).text
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


def test_one_diverged_trial_does_not_squeeze_the_contrast(tables: Store) -> None:
    search = {"depth": [8, 20], "residual": [True, False]}
    study = launch(tables, 4, model="resnet", search=search, objective="val_loss")
    for depth, residual, value in ((8, True, 0.3), (20, True, 0.2), (8, False, 0.4), (20, False, 1e9)):
        metrics = [{"val_accuracy": 0.5, "val_loss": value}]
        end(tables, study, {"depth": depth, "residual": residual}, metrics, Outcome(State.COMPLETE, value=value))
    review = reviews.load(tables, study)
    plot = reviews.plot(review, "contrast")
    assert max(y for trace in plot.parts["contrast-depth-residual"].data for y in trace.y) < 10
    assert "1 of 4" in plot.note
    assert set(reviews.pngs(review, "contrast")) == set(plot.parts)


def test_a_logarithmic_axis_has_numbers_however_little_it_spans(tables: Store) -> None:
    search = {"learning_rate": {"float": [1e-4, 1.0], "log": True}, "width": {"int": [2, 64], "log": True}}
    study = launch(tables, 3, search=search)
    for rate, width in ((0.031, 3), (0.035, 4), (0.041, 8)):
        params: Params = {"learning_rate": rate, "width": width}
        metrics = [{"val_accuracy": rate, "val_loss": 1.0}]
        end(tables, study, params, metrics, Outcome(State.COMPLETE, value=rate))
    slices = reviews.plot(reviews.load(tables, study), "slice").parts
    assert [figure.layout.xaxis.dtick for figure in slices.values()] == [None, None]  # Plotly finds some
    with looks.canvas():
        axes = plt.subplots()[1]
        axes.set_xscale("log")
        axes.scatter([0.031, 0.041], [0, 1])
        looks.png(axes, "Rate")
    low, high = axes.get_xlim()
    assert sum(low <= tick <= high for tick in axes.get_xticks()) >= 3


def test_a_single_epoch_is_a_whole_tick(tables: Store) -> None:
    study = ended(tables, (State.COMPLETE, 0.3), (State.COMPLETE, 0.2))
    assert reviews.plot(reviews.load(tables, study), "curves").parts["curves"].layout.xaxis.dtick == 1


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
