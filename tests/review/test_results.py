"""What a study found, over real SQLite files: the order of merit, Optuna's study, frames, several objectives."""

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from tests.review.studies import LAUNCHED, end, ended, launch
from tuner import review as reviews
from tuner.errors import BadInput, UnknownStudy
from tuner.review import Review, mirror
from tuner.store import Store, Study
from tuner.trial import Outcome, Params, State

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


def test_what_breaks_a_constraint_is_not_the_best_so_far(tables: Store) -> None:
    ends = ((0.8, 400), (0.95, 9000), (0.9, 800))
    review = reviews.load(tables, several(tables, *ends, constraints=["parameters <= 250"]))
    history = reviews.plot(review, "history")
    points, line, broken = history.parts["history"].data
    assert (list(points.y), list(line.y), list(broken.y)) == ([0.8, 0.9], [0.8, 0.8, 0.9], [0.95])
    assert broken.showlegend
    assert "Red ones break a constraint" in history.note
    assert reviews.pngs(review, "history").keys() == {"history"}
    assert "the best of 2 complete trials that keep to the constraints." in reviews.render(review, at=LAUNCHED)


def test_a_study_whose_trials_all_break_a_constraint_has_no_best_one(tables: Store) -> None:
    review = reviews.load(tables, several(tables, (0.9, 800), (0.8, 400), constraints=["parameters <= 9"]))
    with pytest.raises(BadInput, match="no complete trial keeps to parameters <= 9"):
        _ = review.best
    assert review.front == []
    assert reviews.pngs(review, "history").keys() == {"history"}
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
