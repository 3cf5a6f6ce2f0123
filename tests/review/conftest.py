"""The studies that the tests of the review look at, each made once."""

from collections.abc import Iterator

import pytest

from tests.review.studies import SEARCH, launch, opened, played
from tuner import review as reviews
from tuner.review import Review


@pytest.fixture(scope="package")
def small_and_large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Review]]:
    """Studies of 0, 1, 3 and 60 ended trials; that of none has a budget of two."""
    store = opened(tmp_path_factory.mktemp("review") / "tuner.db")
    studies = {0: launch(store, 2, name="of 0", search=SEARCH)} | {n: played(store, n) for n in (1, 3, 60)}
    yield {n: reviews.load(store, study) for n, study in studies.items()}
    store.close()
