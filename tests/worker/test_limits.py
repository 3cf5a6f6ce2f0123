"""What ends a study before its trials are used up."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import study_spec
from tests.worker.supervising import run, supervisor
from tuner.errors import BadInput
from tuner.search import extend
from tuner.store import Store
from tuner.trial import State


def test_target_and_patience_end_a_study_early(tables: Store, tmp_path: Path) -> None:
    search = {"width": [12, 4], "learning_rate": 0.03}
    _, rows = run(tables, tmp_path, name="t", search=search, enqueue=[{"width": 12}], budget={"trials": 9, "target": 0.8})
    assert [row.state for row in rows] == [State.COMPLETE] + [State.CANCELLED] * 8
    assert rows[1].message == "budget.target: trial 0 reached 0.875"
    _, rows = run(tables, tmp_path, name="p", search=search, enqueue=[{"width": 12}], budget={"trials": 9, "patience": 3})
    assert [row.state for row in rows] == [State.COMPLETE] * 4 + [State.CANCELLED] * 5


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"target": 0.8}, "budget.target: trial 0 reached 0.875"),
        ({"patience": 3}, "budget.patience: no trial of the last 3 was better than trial 0"),
    ],
)
def test_a_study_that_is_at_a_limit_is_not_extended(store: Store, tmp_path: Path, limit: dict[str, Any], reason: str) -> None:
    search = {"width": [12, 4], "learning_rate": 0.03}
    run(store, tmp_path, search=search, enqueue=[{"width": 12}], budget={"trials": 9, **limit})
    study = store.study("small")
    before = store.trials(study)
    with pytest.raises(BadInput) as refused:
        extend(store, study, 2)
    assert str(refused.value).startswith(f"small: {reason}; more trials would be cancelled at once; write another `name` in")
    assert (store.study("small"), store.trials(study)) == (study, before)


def test_a_study_is_extended_while_its_hours_last(store: Store) -> None:
    spec = study_spec(budget={"trials": 9, "hours": 1})
    study = store.launch(spec, 9, {}, now=store.clock() - 1800)
    over = store.launch(spec.model_copy(update={"name": "over"}), 9, {}, now=store.clock() - 3601)
    assert extend(store, study, 2).trials == 11
    with pytest.raises(BadInput, match=r"over: budget\.hours: 1 hours are over; more trials would be cancelled at once; write"):
        extend(store, over, 2)
    assert store.study("over") == over


def test_hours_end_a_study(tables: Store, tmp_path: Path) -> None:
    spec = study_spec(budget={"trials": 9, "hours": 1})
    study = tables.launch(spec, 9, {}, now=tables.clock() - 3601)
    supervisor(tables, study, tmp_path).work(lambda: None)
    assert tables.counts(study)[State.CANCELLED] == 9
    assert tables.study("small").stopped == "budget.hours: 1 hours are over"


def test_a_pause_holds_also_when_the_budget_ends_the_study_at_that_moment(tables: Store) -> None:
    study = tables.launch(study_spec(final={"finalists": 2, "seeds": 3}), 4, {})
    tables.pause(study, paused=True)
    tables.stop(study, "budget.patience: enough")
    assert tables.study("small").paused
    assert tables.waiting() == []
    tables.pause(study, paused=False)
    assert [due.name for due, _ in tables.waiting()] == ["small"]
