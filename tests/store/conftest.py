"""Every verb of the store, the same on SQLite and on PostgreSQL: the study that they are tried on. Time is an argument."""

import pytest

from tests.conftest import study_spec
from tuner.store import Store, Study


@pytest.fixture
def study(store: Store) -> Study:
    return store.launch(study_spec(), 4, {"rows": 10}, now=1000.0)
