"""Tables, addresses, and what a launch keeps."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tests.conftest import study_spec
from tests.store.claims import at_once
from tuner.errors import BadInput, StudyChanged, UnknownStudy
from tuner.spec import StudySpec
from tuner.store import HEAD, VERSION_TABLE, Store, Study, address, metadata
from tuner.trial import State


def test_the_tables_are_what_the_code_expects(store: Store) -> None:
    with store._engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_tables_that_are_newer_than_the_code_are_refused(store: Store) -> None:
    with store._write() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(BadInput, match=f"the tables are at 9999, this program knows {HEAD}; install the newer one"):
        store.migrate()


def test_migrating_at_once_from_many_threads_migrates_once(store: Store, tmp_path: Path) -> None:
    url = store.url if not store.sqlite else sa.make_url(f"sqlite:///{tmp_path / 'other.db'}")
    others = [Store(url.render_as_string(hide_password=False)) for _ in range(4)]
    at_once(len(others), lambda number: others[number].migrate())
    assert {other.version() for other in others} == {HEAD}
    for other in others:
        other.close()


def test_the_budget_is_there_from_the_launch_on(store: Store, study: Study) -> None:
    assert [row.number for row in store.trials(study)] == [0, 1, 2, 3]
    assert store.counts(study)[State.QUEUED] == 4
    assert study.facts == {"rows": 10}


def test_launching_twice_is_one_study(store: Store, study: Study) -> None:
    again = store.launch(study_spec(), 4, {"rows": 10}, now=2000.0)
    assert again == study
    assert len(store.trials(study)) == 4


@pytest.mark.parametrize("names", [1, 5, 20])
def test_launching_from_many_threads_at_once_is_one_study_a_name(store: Store, names: int) -> None:
    studies: list[Study] = []
    at_once(20, lambda n: studies.append(store.launch(study_spec(name=f"study {n % names}"), 4, {})))
    assert len(studies) == 20
    assert len({study.id for study in studies}) == len(store.studies()) == names
    assert {len(store.trials(study)) for study in store.studies()} == {4}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 7}, "seed"),
        ({"train": {"epochs": 5}}, "train.epochs"),
        (
            {"search": {"width": {"int": [4, 17]}, "optimizer": ["sgd", "adam"], "learning_rate": 0.5}},
            "search.learning_rate, search.width",
        ),
    ],
)
def test_a_changed_file_under_an_old_name_is_refused_with_what_differs(
    store: Store, study: Study, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(StudyChanged, match=f"differs in {said};") as refused:
        store.launch(study_spec(**changes), 4, {})
    assert "`name`" in str(refused.value)
    assert store.study("small").spec == study.spec


def test_an_unknown_study_names_those_there_are(store: Store, study: Study) -> None:
    with pytest.raises(UnknownStudy, match=f"there are: {study.name}"):
        store.study("smal")


def test_the_clock_is_the_databases(store: Store) -> None:
    first = store.clock()
    assert first > 1.7e9
    assert store.clock() >= first


def test_names_are_values_never_sql(store: Store) -> None:
    names = ["a'; DROP TABLE study; --", "100%", "{x}", "ünïcode 🦊", "x" * 200]
    for name in names:
        store.launch(study_spec(name=name), 1, {})
    assert sorted(study.name for study in store.studies()) == sorted(names)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "not a database address"),
        ("mysql://u@h/d", "mysql is not supported"),
        ("postgresql://u@h/d?password=hunter2", "PGPASSFILE"),
    ],
)
def test_an_unusable_address_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        address(url)
    assert "hunter2" not in str(refused.value)


def test_specs_survive_the_store(store: Store, spec: Callable[..., StudySpec]) -> None:
    wide = spec(
        search={
            "depth": {"int": [1, 4], "step": 1},
            "width": {"int": [4, 64], "log": True, "per_layer": True},
            "optimizer": ["sgd", "momentum"],
            "momentum": {"float": [0.5, 0.99], "when": {"optimizer": "momentum"}},
            "bias": [True, False],
            "dropout": 0.1,
        },
        enqueue=[{"depth": 2}],
        objective=["val_accuracy", "parameters"],
        constraints=["latency_ms <= 0.25"],
    )
    study = store.launch(wide, 4, {})
    assert study.spec == wide
    assert study.spec.identity == wide.identity
    assert replace(study, spec=wide) == study
