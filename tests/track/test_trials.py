"""The view of a trial in MLflow: its end, its parameters, its curves, and how it grows."""

import math

import pytest

from tests.track.studies import COMPLETE, MARKS, TTL, Mlflow, begin, train
from tuner.store import Progress, Store, Study
from tuner.track import Forwarder
from tuner.trial import Epoch, Failure, Outcome, State

pytestmark = MARKS


@pytest.mark.parametrize(
    ("outcome", "status", "tags"),
    [
        (Outcome(State.COMPLETE, value=0.2), "FINISHED", {"state": "complete"}),
        (Outcome(State.PRUNED, value=0.2), "FINISHED", {"state": "pruned", "pruned_at": "1"}),
        (
            Outcome(State.FAILED, failure=Failure.NON_FINITE, message="loss is nan after epoch 1"),
            "FAILED",
            {"state": "failed", "failure": "non_finite", "message": "loss is nan after epoch 1"},
        ),
        (Outcome(State.CANCELLED, message="enough"), "KILLED", {"state": "cancelled", "message": "enough"}),
    ],
)
def test_an_end_is_shown_with_its_status_its_time_and_its_reason(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow, outcome: Outcome, status: str, tags: dict[str, str]
) -> None:
    train(tables, begin(tables, study), 1, outcome)
    assert forwarder.forward(study.name) == 1
    run = mlflow.trial(study)
    assert (run.info.status, run.info.start_time, run.info.end_time) == (status, 2_000_000, 2_001_250)
    shown = {key: run.data.tags[key] for key in ("state", "failure", "message", "pruned_at") if key in run.data.tags}
    assert shown == tags
    assert run.data.metrics.get("objective") == outcome.value


def test_a_trial_shows_its_parameters_its_curves_and_whose_it_is(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow
) -> None:
    claim = begin(tables, study, {"width": 4, "learning_rate": 0.001, "optimizer": "adam", "nesterov": True})
    train(tables, claim, 1)
    train(tables, claim, 2, COMPLETE)
    forwarder.forward(study.name)
    run, parent = mlflow.trial(study), mlflow.parent(study)
    assert run.info.run_name == "trial 0"
    assert run.data.params == {"width": "4", "learning_rate": "0.001", "optimizer": "adam", "nesterov": "True"}
    assert mlflow.curve(run, "loss") == [(1, 2_001_250, 1.0), (2, 2_002_250, 0.5)]
    assert mlflow.curve(run, "objective") == [(2, 2_002_250, 0.2)]
    assert mlflow.curve(run, "parameters") == [(2, 2_002_250, 99.0)]
    assert mlflow.curve(run, "seconds") == [(2, 2_002_250, 2.25)]
    assert mlflow.curve(run, "log10 learning_rate") == [(2, 2_002_250, -3.0)]
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (run.data.tags["study"], run.data.tags["attempts"]) == (study.name, "1")


def test_a_running_trial_grows_and_ends(tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow) -> None:
    claim = begin(tables, study)
    forwarder.forward(study.name)
    assert mlflow.trial(study).info.status == "RUNNING"
    assert forwarder.forward(study.name) == 0
    train(tables, claim, 1)
    forwarder.forward(study.name)
    assert mlflow.curve(mlflow.trial(study), "loss") == [(1, 2_001_250, 1.0)]
    train(tables, claim, 2, COMPLETE)
    forwarder.forward(study.name)
    run = mlflow.trial(study)
    assert mlflow.curve(run, "loss") == [(1, 2_001_250, 1.0), (2, 2_002_250, 0.5)]
    assert (run.info.status, run.data.tags["state"], run.data.metrics["objective"]) == ("FINISHED", "complete", 0.2)


def test_an_interrupted_trial_waits_and_its_next_attempt_is_the_same_run(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow
) -> None:
    claim = begin(tables, study)
    train(tables, claim, 1)
    tables.release(claim)
    forwarder.forward(study.name)
    run = mlflow.trial(study)
    assert (run.info.status, run.data.tags["state"]) == ("RUNNING", "queued")
    again = begin(tables, study)
    train(tables, again, 1)  # repeated after the restart: its first record stays
    train(tables, again, 2)
    forwarder.forward(study.name)
    same = mlflow.trial(study)
    assert (same.info.run_id, same.data.tags["state"], same.data.tags["attempts"]) == (run.info.run_id, "running", "2")
    assert [step for step, _, _ in mlflow.curve(same, "loss")] == [1, 2]


def test_a_run_that_somebody_ended_is_running_again_with_its_next_epoch(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow, uri: str
) -> None:
    claim = begin(tables, study)
    forwarder.forward(study.name)
    mlflow.client.set_terminated(mlflow.trial(study).info.run_id, "KILLED")
    train(tables, claim, 1)
    Forwarder(tables, uri).forward(study.name)
    assert mlflow.trial(study).info.status == "RUNNING"


def test_nan_stays_nan_and_infinity_is_nan_with_a_tag(tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow) -> None:
    outcome = Outcome(State.FAILED, failure=Failure.NON_FINITE, message="loss is inf after epoch 1")
    train(tables, begin(tables, study), 1, outcome, loss=math.inf, val_loss=-math.inf, val_accuracy=math.nan)
    forwarder.forward(study.name)
    run = mlflow.trial(study)
    assert all(math.isnan(run.data.metrics[key]) for key in ("loss", "val_loss", "val_accuracy"))
    assert run.data.tags["infinite"] == "loss is inf after epoch 1, val_loss is -inf after epoch 1"


def test_long_texts_are_cut_and_say_so(tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow) -> None:
    claim = begin(tables, study, {"layout": "x" * 7000})
    train(tables, claim, 1, Outcome(State.FAILED, failure=Failure.CRASHED, message="m" * 9000))
    forwarder.forward(study.name)
    run = mlflow.trial(study)
    assert run.data.params["layout"] == "x" * 5999 + "…"
    assert run.data.tags["message"] == "m" * 7999 + "…"


def test_more_epochs_and_parameters_than_fit_in_one_call_arrive(
    tables: Store, study: Study, forwarder: Forwarder, mlflow: Mlflow
) -> None:
    claim = begin(tables, study, {f"p{index}": index for index in range(150)})
    epochs = [Epoch(0, number, {"loss": 1.0, "val_loss": 2.0}, 0.1) for number in range(1, 901)]
    tables.record([Progress(claim, epochs, outcome=COMPLETE)], TTL, now=2100.0)
    forwarder.forward(study.name)
    run = mlflow.trial(study)
    assert len(run.data.params) == 150
    assert [step for step, _, _ in mlflow.curve(run, "val_loss")] == list(range(1, 901))
