"""Processes for the tests that end some."""

from collections.abc import Iterator

import pytest

from tests.faults.life import Cradle


@pytest.fixture(scope="session")
def cradle() -> Iterator[Cradle]:
    made = Cradle()
    yield made
    made.close()
