"""What holds of normalisation wherever the rows come from."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.sources import RNG, X, Y, spec
from tuner import data


def loaded_with(path: Path, x: np.ndarray, y: np.ndarray = Y, normalise: str | None = None) -> data.Data:
    np.savez(path / "n.npz", x=x, y=y)
    return data.load_tested(spec("n.npz", normalise=normalise), 0, [path])


def normalised(loaded: data.Data) -> np.ndarray:
    assert loaded.offset.dtype == loaded.scale.dtype == np.float32
    return (loaded.train.x - loaded.offset) * loaded.scale


@pytest.mark.parametrize("normalise", [None, "standard", "unit", "none"])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@settings(max_examples=15)
@given(change=st.integers(1, 200), part=st.sampled_from(["validation", "test"]))
def test_held_out_rows_change_nothing_else(tmp_path_factory, normalise, kind, change, part):
    path = tmp_path_factory.getbasetemp()
    x = np.arange(12 * 8).reshape(12, 2, 2, 2).astype(kind)
    y = np.arange(12) / 7
    before = loaded_with(path, x, y, normalise)
    row = int(getattr(before, part).x[0].ravel()[0]) // 8
    x[row] += kind(change)
    y[row] += change
    after = loaded_with(path, x, y, normalise)
    assert not np.array_equal(getattr(before, part).x, getattr(after, part).x)
    assert np.array_equal(before.train.x, after.train.x)
    assert np.array_equal(before.offset, after.offset)
    assert np.array_equal(before.scale, after.scale)
    assert (before.target_offset, before.target_scale) == (after.target_offset, after.target_scale)


def test_standard_gives_mean_0_and_variance_1_to_each_feature(tmp_path):
    x = RNG.normal([1e6, 0, -3], [1, 1e-20, 100], (2000, 3))
    rows = normalised(loaded_with(tmp_path, x, np.arange(2000) / 3)).astype(np.float64)
    assert np.allclose(rows.mean(axis=0), 0, atol=0.1)
    assert np.allclose(rows.std(axis=0), 1, rtol=1e-3)


def test_standard_on_images_is_per_channel(tmp_path):
    x = RNG.integers(0, 100, (12, 9, 8, 3), dtype=np.uint8) * np.array([1, 2, 0], np.uint8) + np.array([5, 0, 9], np.uint8)
    loaded = loaded_with(tmp_path, x, normalise="standard")
    rows = normalised(loaded)
    assert loaded.train.x.dtype == np.uint8
    assert loaded.offset.shape == (3,)
    assert np.allclose(rows.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    assert np.allclose(rows.std(axis=(0, 1, 2)), [1, 1, 0], atol=1e-5)


@pytest.mark.parametrize("constant", [0.1, 1e30, -7.0])
def test_constant_features_become_0(tmp_path, constant):
    for normalise in ("standard", "unit"):
        loaded = loaded_with(tmp_path, np.full((1001, 2), constant), np.arange(1001) % 2, normalise)
        assert np.all(loaded.scale == 1)
        assert np.all(normalised(loaded) == 0)


def test_what_is_lost_of_float64_is_rounding_alone(tmp_path):
    noise = np.array([0.3, 0.1 + 0.2])[np.arange(24) % 2]
    whole = np.array([2**24 + 2, 2**24 + 4], float)[np.arange(24) % 2]
    loaded = loaded_with(tmp_path, np.stack([noise, whole], axis=1), np.arange(24) % 2, "unit")
    assert normalised(loaded)[:, 0].max() == 0
    assert set(normalised(loaded)[:, 1]) == {0, 1}


def test_unit_brings_numbers_to_between_0_and_1(tmp_path):
    rows = normalised(loaded_with(tmp_path, RNG.normal(5, 3, (200, 4)), np.arange(200) % 2, "unit"))
    assert rows.min(axis=0) == pytest.approx(0)
    assert rows.max(axis=0) == pytest.approx(1)


def test_unit_brings_pixels_to_between_0_and_1_by_their_type(tmp_path):
    loaded = loaded_with(tmp_path, np.full((12, 2, 2, 3), 51, np.uint8))
    assert loaded.train.x.dtype == np.uint8
    assert np.allclose(normalised(loaded), 0.2)


def test_none_leaves_numbers_alone(tmp_path):
    loaded = loaded_with(tmp_path, X, normalise="none")
    assert np.array_equal(normalised(loaded), loaded.train.x)


def test_targets_are_kept_in_their_units_and_scaled_by_training_rows():
    diabetes = data.load_tested(spec("diabetes"), 0, [])
    assert diabetes.train.y.max() > 100
    assert diabetes.target_offset == pytest.approx(diabetes.train.y.mean(), rel=1e-6)
    assert diabetes.target_scale == pytest.approx(diabetes.train.y.std(), rel=1e-6)
    wine = data.load_tested(spec("wine"), 0, [])
    assert (wine.target_offset, wine.target_scale) == (0, 1)
