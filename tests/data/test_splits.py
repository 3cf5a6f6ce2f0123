"""What holds of splits wherever the rows come from: classes, orders, weights, and the test split that no search sees."""

import re
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.data.sources import X, Y, spec
from tuner import data
from tuner.data import Facts, known
from tuner.errors import BadInput

# Splits ---------------------------------------------------------------------------------------------------------------

shares = st.floats(0.05, 0.45)


@settings(max_examples=60)
@given(
    counts=st.lists(st.integers(3, 60), min_size=2, max_size=8), validation=shares, test=shares, seed=st.integers(0, 2**32 - 1)
)
@example(counts=[3, 3, 3, 3, 20], validation=0.4, test=0.4, seed=0)
@example(counts=[3, 4, 5, 3, 4], validation=0.35, test=0.35, seed=0)
def test_every_class_has_rows_in_every_split(tmp_path_factory, counts, validation, test, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    path = tmp_path_factory.getbasetemp() / "strata.npz"
    np.savez(path, x=np.arange(len(labels)), y=labels)
    asked = spec(path, validation=validation, test=test)
    sizes = [int(len(labels) * share + 0.5) for share in (validation, test)]
    if len(labels) < 10 or min(*sizes, len(labels) - sum(sizes)) < len(counts):
        with pytest.raises(BadInput):
            data.load_tested(asked, seed, [path.parent])
        return
    loaded = data.load_tested(asked, seed, [path.parent])
    parts = (loaded.train, loaded.validation, loaded.test)
    assert len(loaded.train.y) == data.training_rows(len(labels), asked)
    assert len(loaded.test.y) == int(len(labels) * test + 0.5)
    assert sorted(np.concatenate([part.x[:, 0] for part in parts])) == list(range(len(labels)))
    for part in parts:
        assert np.array_equal(part.y, labels[part.x[:, 0].astype(int)])
        assert np.bincount(part.y, minlength=len(counts)).min() >= 1


def test_shares_of_classes_are_kept_when_many_are_rare(tmp_path):
    labels = np.r_[np.zeros(505, int), np.repeat(np.arange(1, 100), 5)]
    np.savez(tmp_path / "skewed.npz", x=np.zeros((1000, 1)), y=labels)
    loaded = data.load_tested(spec("skewed.npz"), 0, [tmp_path])
    assert np.array_equal(np.bincount(loaded.test.y), [101] + [1] * 99)
    assert np.array_equal(np.bincount(loaded.train.y), [303] + [3] * 99)


def test_equal_classes_get_equal_shares():
    iris = data.load_tested(spec("iris", validation=0.2, test=0.1), 5, [])
    assert [np.bincount(part.y).tolist() for part in (iris.train, iris.validation, iris.test)] == [[35] * 3, [10] * 3, [5] * 3]


def test_the_largest_remainder_gets_the_row_that_is_over(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(30), y=np.repeat([0, 1], [13, 17]))
    assert np.bincount(data.load_tested(spec("a.npz"), 0, [tmp_path]).test.y).tolist() == [3, 3]


def test_the_fingerprint_follows_the_rows(tmp_path):
    prints = set()
    for x, y, more in ((X, Y, {}), (X + 1, Y, {}), (X, 1 - Y, {}), (X, Y, {"weight": np.ones(12)}), (X[..., None], Y, {})):
        np.savez(tmp_path / "a.npz", x=x, y=y, **more)
        prints.add(data.load_tested(spec("a.npz"), 0, [tmp_path]).sha256)
    assert len(prints) == 5


@pytest.mark.parametrize(
    ("x", "y", "told"),
    [
        (X[:-2], Y[:-2], "rows 12 then, 10 now"),
        (X[:, :1], Y, "input_shape [2] then, [1] now"),
        (X, Y / 2, "classes 2 then, None now"),
        (X + 1, Y, "other values"),
    ],
)
def test_other_rows_than_those_of_the_launch_are_refused(tmp_path, x, y, told):
    source, roots = spec("a.npz"), [tmp_path]
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    launched = data.recorded(data.facts(source, roots), data.fingerprint(source, roots))
    assert data.load(source, 0, roots, {**launched, "commit": "0a1b"}).sha256 == launched["sha256"]
    np.savez(tmp_path / "a.npz", x=x, y=y)
    for load in (data.load, data.load_tested):
        with pytest.raises(BadInput, match=re.escape(f"data.source: not the rows that the study was launched with ({told})")):
            load(source, 0, roots, launched)


@given(rows=st.integers(1, 500), seed=st.integers(0, 2**32 - 1), epoch=st.integers(1, 10**6))
def test_an_order_is_a_permutation_decided_by_seed_and_epoch(rows, seed, epoch):
    order = data.order(rows, seed, epoch)
    assert order.dtype == np.int32
    assert np.array_equal(np.sort(order), np.arange(rows))
    assert np.array_equal(order, data.order(rows, seed, epoch))


def test_orders_differ_between_epochs_and_seeds():
    orders = {tuple(data.order(50, seed, epoch)) for seed in range(20) for epoch in range(1, 21)}
    assert len(orders) == 400


def test_orders_never_change():
    """Golden: written down from NumPy 2.4, Philox4x64-10 words of SeedSequence(7, spawn_key=(epoch,)), sorted."""
    assert data.order(10, 7, 1).tolist() == [9, 8, 2, 0, 3, 5, 6, 4, 7, 1]
    assert data.order(10, 7, 2).tolist() == [1, 3, 5, 4, 9, 7, 2, 0, 8, 6]


def test_balanced_weights_make_classes_count_alike():
    split = data.Split(np.zeros((8, 1), np.float32), np.array([0, 0, 0, 0, 0, 1, 1, 2], np.int32), None)
    weights = data.class_weights(split, 3)
    assert weights == pytest.approx([8 / 15, 8 / 6, 8 / 3])
    assert weights[split.y].sum() == pytest.approx(8)


# The test split -------------------------------------------------------------------------------------------------------


class Noting(np.ndarray):
    """Rows that note which of them are taken."""

    taken: ClassVar[set[int]] = set()

    def __getitem__(self, at):
        if isinstance(at, np.ndarray) and at.ndim == 1:
            self.taken.update(at.tolist())
        return np.asarray(self)[at]


@pytest.fixture
def noting():
    """A data set under the name `noting`."""
    x, y = np.arange(100).reshape(100, 1).view(Noting), np.arange(100) % 2
    known.KNOWN["noting"] = known.Known(Facts(100, (1,), 2), ("a", "b"), lambda: (x, y), peak=255)
    yield
    del known.KNOWN["noting"]


@pytest.mark.usefixtures("noting")
def test_a_search_takes_no_row_of_the_test_split_and_has_no_way_to_it():
    asked = spec("noting")
    searched = data.load(asked, 7, [])
    seen = set(Noting.taken)
    assert not hasattr(searched, "test")
    tested, refitted = (data.load_tested(asked, 7, [], refit=refit) for refit in (False, True))
    held_back = set(tested.test.x[:, 0].tolist())
    assert len(held_back) == 20
    assert (seen & held_back, seen | held_back) == (set(), set(range(100)))
    assert np.array_equal(tested.train.x, searched.train.x)
    assert np.array_equal(tested.validation.x, searched.validation.x)
    assert np.array_equal(refitted.train.x, np.concatenate([searched.train.x, searched.validation.x]))
    assert np.array_equal(refitted.test.x, tested.test.x)
