"""A study, and the MLflow that all tests share."""

from collections.abc import Iterator

import pytest

from tests.conftest import study_spec
from tests.track.studies import Mlflow
from tuner.store import Store, Study
from tuner.track import Forwarder


@pytest.fixture(scope="session")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def study(tables: Store, request: pytest.FixtureRequest) -> Study:
    """Named after the test, because all tests share one MLflow."""
    return tables.launch(study_spec(name=request.node.name), 4, {}, now=1000.0)


@pytest.fixture
def forwarder(tables: Store, uri: str) -> Iterator[Forwarder]:
    opened = Forwarder(tables, uri)
    yield opened
    opened.close()


@pytest.fixture
def mlflow(uri: str) -> Mlflow:
    return Mlflow(uri)
