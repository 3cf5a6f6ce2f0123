"""What the supervisor makes of its trials, with a real child process."""

from pathlib import Path

import pytest

from tests.conftest import study_spec
from tests.paper import accuracy
from tests.worker.supervising import WIDE, run, supervisor
from tuner.store import Store
from tuner.trial import Failure, State


def test_every_budgeted_trial_ends_once_with_all_its_epochs(tables: Store, tmp_path: Path) -> None:
    study, rows = run(tables, tmp_path, budget=6)
    assert [(row.number, row.state, row.attempts, row.fence) for row in rows] == [(n, State.COMPLETE, 1, 1) for n in range(6)]
    for row in rows:
        assert row.params is not None
        assert row.value == accuracy(row.params, 3)
        assert [e.epoch for e in tables.epochs(study)[row.number]] == [1, 2, 3]


def test_the_same_seed_gives_the_same_parameters(tables: Store, tmp_path: Path) -> None:
    _, first = run(tables, tmp_path, name="one", sampler="tpe", budget=25)
    _, second = run(tables, tmp_path, name="two", sampler="tpe", budget=25)
    assert [row.params for row in first] == [row.params for row in second]
    assert [row.value for row in first] == [row.value for row in second]


def test_a_hopeless_trial_is_pruned_at_a_rung_and_told_so(tables: Store, tmp_path: Path) -> None:
    study, rows = run(tables, tmp_path, budget=20, pruner="asha", train={"epochs": 9})
    pruned = [row for row in rows if row.state is State.PRUNED]
    assert pruned
    assert any(row.state is State.COMPLETE for row in rows)
    for row in pruned:
        assert row.epoch < 9
        assert row.value == max(e.metrics["val_accuracy"] for e in tables.epochs(study)[row.number])
        assert "completed_rung_0" in row.attrs


@pytest.mark.parametrize(
    ("width", "kind", "said"),
    [
        (13, Failure.ERROR, "RuntimeError: width 13 is unlucky"),
        (14, Failure.OUT_OF_MEMORY, "MemoryError: width 14 is too large"),
        (15, Failure.NON_FINITE, "loss is nan after epoch 2"),
    ],
)
def test_a_failed_trial_has_a_kind_and_a_message_and_the_study_goes_on(
    tables: Store, tmp_path: Path, width: int, kind: Failure, said: str
) -> None:
    search = {"width": [width, 4], "learning_rate": {"float": [0.01, 0.1]}}
    _, rows = run(tables, tmp_path, search=search, enqueue=[{"width": width}, {"width": 4}], budget=2)
    assert (rows[0].state, rows[0].failure, rows[0].message) == (State.FAILED, kind, said)
    assert rows[1].state is State.COMPLETE


def test_an_impossible_network_is_pruned_before_a_child_hears_of_it(tables: Store, tmp_path: Path) -> None:
    search = {"kernel": [3, 5], "learning_rate": {"float": [0.01, 0.1]}}
    enqueue = [{"kernel": 5}, {"kernel": 3}]
    spec = study_spec(model="lenet", search=search, enqueue=enqueue, budget=2, objective="val_accuracy")
    study = tables.launch(spec, 2, {"rows": 1797, "input_shape": [8, 8, 1], "classes": 10})
    made = supervisor(tables, study, tmp_path)
    made.work(lambda: None)
    impossible, trained = tables.trials(study)
    assert (impossible.state, impossible.epoch, impossible.value) == (State.PRUNED, 0, None)
    assert impossible.message == "convolution 2: 5×5 with padding 0 does not fit into 4×4"
    assert trained.state is State.COMPLETE
    assert list(tables.epochs(study)) == [1]
    assert made._search.unfinished([impossible, trained]) == []


def test_a_network_that_breaks_a_constraint_by_formula_is_not_trained(tables: Store, tmp_path: Path) -> None:
    aims = {"objective": ["val_accuracy", "model_bytes"], "constraints": ["parameters <= 600"]}
    search = {"depth": 1, "width": [8, 4], "learning_rate": 0.03}
    spec = study_spec(**aims, search=search, enqueue=[{"width": 8}, {"width": 4}], budget=2)
    study = tables.launch(spec, 2, {"rows": 1797, "input_shape": [8, 8, 1], "classes": 10})
    supervisor(tables, study, tmp_path).work(lambda: None)
    large, trained = tables.trials(study)
    assert (large.state, large.epoch, large.value) == (State.PRUNED, 0, None)
    assert large.message == "parameters <= 600: parameters 610, model_bytes 2,440"
    assert large.costs == {"parameters": 610, "model_bytes": 2440}
    assert (trained.state, trained.costs) == (State.COMPLETE, {"parameters": 4, "model_bytes": 4})


@pytest.mark.parametrize("pruner", ["none", "asha"])
def test_a_child_of_many_lanes_ends_every_trial_once_and_the_same_the_next_time(
    tables: Store, tmp_path: Path, pruner: str
) -> None:
    found = []
    for name in ("one", "two"):
        search = {"width": {"int": [4, 12]}, "learning_rate": {"float": [1e-3, 1e-1], "log": True}}
        spec = study_spec(name=name, sampler="tpe", pruner=pruner, budget=26, train={"epochs": 9}, search=search)
        study = tables.launch(spec, 26, {})
        worker = supervisor(tables, study, tmp_path / name, WIDE)
        worker.work(lambda: None)
        assert worker.worker.engine == "4 engines of paper"
        rows = tables.trials(study)
        assert [(row.number, row.attempts, row.fence) for row in rows] == [(n, 1, 1) for n in range(26)]
        assert {row.state for row in rows} <= {State.COMPLETE, State.PRUNED}
        found.append([(row.params, row.value, row.epoch) for row in rows])
    assert found[0] == found[1]
