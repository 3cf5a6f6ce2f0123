"""The data that most trials train on."""

import pytest

from tests.solo.studies import study
from tuner import data as sources


@pytest.fixture(scope="module")
def digits():
    return sources.load(study().data, 0, [])
