"""Choices side by side, and what each has of its own: the tallies, the strips, and what pages and plots fold."""

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.review.pages import Page
from tests.review.studies import LAUNCHED, SEARCH, drawn, end, ended, launch
from tuner import review as reviews
from tuner import screen
from tuner.owners import own, short
from tuner.review import Review, choices
from tuner.space import Space
from tuner.store import Store
from tuner.trial import Failure, Outcome, Params, State

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


def test_a_value_in_brackets_is_shown_as_it_is_while_the_study_runs(tables: Store) -> None:
    study = launch(tables, 2, search={"activation": ["[bold]", "relu"]}, model="tests.paper:build")
    end(tables, study, {"activation": "[bold]"}, [{"val_accuracy": 0.5}], Outcome(State.COMPLETE, value=0.5))
    console = Console(record=True, width=120, file=io.StringIO(), force_terminal=True)
    with screen.Screen(tables, study, console) as shown:
        shown.tick()
    drawn = console.export_text().splitlines()
    assert {line.split()[0] for line in drawn if "activation=[bold]" in line} == {
        "best",
        "0",
    }  # as the best trial, and as the last


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
