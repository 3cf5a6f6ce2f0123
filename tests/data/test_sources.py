"""Every source: its facts, its splits, and its rows as they were written."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from sklearn import datasets

from tests.data.sources import RNG, ROWS, SPECIES, refusal, spec, write_csv, write_idx, write_images
from tuner import data
from tuner.data import known

MNIST = Path(__file__).parents[2].parent / "shared/data/mnist-t10k"
BUNDLED = ("digits", "breast_cancer", "wine", "iris", "diabetes")
SOURCES = {
    "idx": {},
    "idx-plain": {},
    "images": {},
    "floats.npz": {},
    "pixels.npz": {},
    "table.csv": {"target": "kind", "weight": "trust"},
    "table.parquet": {"target": "price"},
}
EVERY_SOURCE = [*((name, {}) for name in BUNDLED), *SOURCES.items()]


@pytest.mark.parametrize(("name", "options"), EVERY_SOURCE)
def test_facts_are_those_of_the_loaded_rows(root, name, options):
    asked = spec(name, **options)
    known, loaded = data.facts(asked, [root]), data.load_tested(asked, 0, [root])
    assert known == loaded.facts
    assert data.fingerprint(asked, [root]) == loaded.sha256
    assert known.task == ("classification" if loaded.class_names else "regression")
    assert known.outputs == (len(loaded.class_names) or 1)
    for part in (loaded.train, loaded.validation, loaded.test):
        assert part.x.shape == (len(part.y), *known.input_shape)
        assert part.x.dtype in (np.uint8, np.float32)
        assert part.y.dtype == (np.int32 if known.classes else np.float32)


@pytest.mark.parametrize(("name", "options"), EVERY_SOURCE)
def test_splits_hold_every_row_once_in_the_order_of_the_seed(root, name, options):
    asked = spec(name, **options)
    first, again, other = (data.load_tested(asked, seed, [root]) for seed in (3, 3, 4))
    parts = (first.train, first.validation, first.test)
    assert sum(len(part.y) for part in parts) == first.facts.rows
    assert len(first.train.y) == data.training_rows(first.facts.rows, asked)
    assert all(np.array_equal(a.x, b.x) for a, b in zip(parts, (again.train, again.validation, again.test), strict=True))
    assert not np.array_equal(first.train.x, other.train.x)
    assert first.sha256 == other.sha256
    everything = [np.concatenate([d.train.x, d.validation.x, d.test.x]) for d in (first, other)]
    assert np.array_equal(*(np.sort(rows.reshape(len(rows), -1), axis=0) for rows in everything))


def test_digits_are_small_images_of_sixteen_greys():
    digits = data.load_tested(spec("digits"), 0, [])
    assert digits.train.x.dtype == np.uint8
    assert digits.train.x.max() == 16
    assert np.all(digits.offset == 0)
    assert np.all(digits.scale == 1 / 16)


def test_diabetes_is_not_scaled_with_the_statistics_of_test_rows():
    ages = data.load_tested(spec("diabetes"), 0, []).train.x[:, 0]
    assert np.array_equal(ages, ages.round())
    assert ages.min() > 10


@pytest.mark.parametrize(("name", "rows", "shape"), [("mnist", 70_000, (28, 28, 1)), ("cifar10", 60_000, (32, 32, 3))])
def test_facts_of_a_download_need_no_download(name, rows, shape):
    assert data.facts(spec(name), []) == data.Facts(rows, shape, 10)


def test_a_folder_of_idx_files_replaces_the_download_of_its_name(tmp_path):
    without, within = tmp_path / "a", tmp_path / "b"
    (without / "mnist").mkdir(parents=True)
    within.mkdir()
    write_idx(within / "mnist", np.zeros((12, 2, 2)), np.arange(12) % 2)
    assert data.facts(spec("mnist"), [without]).rows == 70_000
    assert data.facts(spec("mnist"), [without, within]).rows == 12


def test_a_real_idx_folder_has_the_rows_its_bytes_say(tmp_path):
    folder = MNIST
    if not folder.is_dir():
        folder = tmp_path / "mnist-t10k"
        write_idx(folder, RNG.integers(0, 256, (200, 28, 28)), np.arange(200) % 10)
    labels = np.frombuffer(gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:], np.uint8)
    pixels = np.frombuffer(gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16:], np.uint8)
    loaded = data.load_tested(spec(folder.name), 1, [folder.parent])
    assert loaded.facts == data.Facts(len(labels), (28, 28, 1), 10)
    parts = (loaded.train, loaded.validation, loaded.test)
    assert np.array_equal(sum(np.bincount(part.y) for part in parts), np.bincount(labels))
    assert sum(int(part.x.sum(dtype=np.int64)) for part in parts) == int(pixels.sum(dtype=np.int64))


def test_all_idx_pairs_count_and_of_twins_one(tmp_path):
    images, labels = RNG.integers(0, 256, (12, 2, 3)), np.arange(12) % 2
    write_idx(tmp_path / "all", images, labels, "train")
    write_idx(tmp_path / "all", images, labels, "t10k")
    write_idx(tmp_path / "all", images, labels, "t10k", zipped=False)
    assert data.facts(spec("all"), [tmp_path]) == data.Facts(24, (2, 3, 1), 2)


def test_idx_labels_may_be_learned_as_numbers(root):
    assert data.facts(spec("idx", task="regression"), [root]).classes is None


@pytest.mark.parametrize(
    ("mode", "ending", "channels"),
    [
        ("1", "png", 1),
        ("L", "png", 1),
        ("RGB", "bmp", 3),
        ("RGB", "jpg", 3),
        ("RGBA", "png", 4),
        ("P", "png", 3),
        ("P", "gif", 3),
    ],
)
def test_images_keep_their_channels(tmp_path, mode, ending, channels):
    write_images(tmp_path / "pictures", mode, ending)
    loaded = data.load_tested(spec("pictures"), 0, [tmp_path])
    assert loaded.facts == data.Facts(10, (4, 6, channels), 2)
    assert loaded.class_names == ("cat", "dog")
    assert loaded.train.x.dtype == np.uint8


def test_images_are_read_as_they_were_saved(tmp_path):
    folder = write_images(tmp_path / "pictures")
    (folder / "cat" / ".hidden").write_text("no image")
    (folder / "README").write_text("no class")
    saved = [np.asarray(Image.open(path)) for path in sorted(folder.glob("*/*.png"))]
    loaded = data.load_tested(spec("pictures"), 0, [tmp_path])
    read = np.concatenate([loaded.train.x, loaded.validation.x, loaded.test.x])
    assert sorted(image.tobytes() for image in saved) == sorted(image.tobytes() for image in read)


def test_npz_arrays_may_have_other_names_and_orders(tmp_path):
    x = RNG.normal(size=(ROWS, 2, 3))
    np.savez(tmp_path / "a.npz", x=np.asfortranarray(x).astype(">f8"), kind=np.array(SPECIES)[:, None], trust=np.ones(ROWS))
    loaded = data.load_tested(spec("a.npz", target="kind", weight="trust"), 0, [tmp_path])
    assert loaded.facts == data.Facts(ROWS, (2, 3), 3)
    assert loaded.class_names == ("ant", "bee", "cat")
    assert np.sort(loaded.test.x.ravel())[-1] in x.astype(np.float32)
    assert loaded.offset.shape == (3,)


def test_npz_images_get_a_channel_and_a_single_number_becomes_a_vector(tmp_path):
    np.savez(tmp_path / "wide.npz", x=np.full((12, 5, 4), 65535, ">u2"), y=np.arange(12) % 2)
    np.savez(tmp_path / "line.npz", x=np.arange(12), y=np.arange(12) / 3)
    wide, line = (data.load_tested(spec(name), 0, [tmp_path]) for name in ("wide.npz", "line.npz"))
    assert wide.facts.input_shape == (5, 4, 1)
    assert np.allclose((wide.train.x - wide.offset) * wide.scale, 1)
    assert line.facts == data.Facts(12, (1,), None)


def test_a_table_becomes_numbers_and_one_feature_per_text(tmp_path):
    write_csv(tmp_path / "t.csv", size=range(12), fur=["thin", "long"] * 6, wild=["true", "false", "true"] * 4, price=range(12))
    loaded = data.load_tested(spec("t.csv", target="price", task="regression", normalise="none"), 0, [tmp_path])
    assert loaded.facts == data.Facts(12, (5,), None)
    price = loaded.train.y.astype(int)
    expected = np.stack([price, price % 2, 1 - price % 2, price % 3 == 1, price % 3 != 1], axis=1)
    assert np.array_equal(loaded.train.x, expected)


def test_the_same_table_in_both_formats_gives_the_same_rows(root):
    csv, parq = (data.load_tested(spec(f"table.{kind}", target="price"), 0, [root]) for kind in ("csv", "parquet"))
    assert csv.sha256 == parq.sha256


def test_what_pandas_and_databases_write_is_understood(tmp_path):
    zone, cost = pa.array(["north", "south", "west"] * 4).dictionary_encode(), pa.array(range(12)).cast(pa.decimal128(21, 2))
    table = pa.table({"__index_level_0__": range(12), "zone": zone, "cost": cost, "y": [True, False] * 6})
    parquet.write_table(table, tmp_path / "t.parquet")
    loaded = data.load_tested(spec("t.parquet", target="y", normalise="none"), 0, [tmp_path])
    assert loaded.facts == data.Facts(12, (4,), 2)
    assert loaded.class_names == ("False", "True")
    assert np.array_equal(loaded.train.x[:, 3] % 2, 1 - loaded.train.y)


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (np.arange(12) % 2, None, 2),
        (np.arange(12) % 2, "regression", None),
        (np.arange(12) % 2 / 2, None, None),
        (np.arange(12) % 2 * 1.0, "classification", 2),
        (np.arange(12), "regression", None),
    ],
)
def test_the_task_follows_from_the_target_unless_it_is_said(tmp_path, values, task, classes):
    write_csv(tmp_path / "t.csv", a=range(12), y=values)
    assert data.facts(spec("t.csv", target="y", task=task), [tmp_path]).classes == classes


def test_weights_have_mean_one_in_each_split_and_are_no_feature(root):
    loaded = data.load_tested(spec("table.csv", target="price", weight="trust"), 0, [root])
    unweighted = data.load_tested(spec("table.csv", target="price"), 0, [root])
    assert loaded.facts.input_shape == (unweighted.facts.input_shape[0] - 1,)
    for part in (loaded.train, loaded.validation, loaded.test):
        assert part.weight.dtype == np.float32
        assert part.weight.mean() == pytest.approx(1)
    assert unweighted.train.weight is None


def test_links_within_the_data_folders_are_followed(root, tmp_path):
    (tmp_path / "link.csv").symlink_to(root / "table.csv")
    assert data.facts(spec("link.csv", target="kind"), [tmp_path, root]).rows == ROWS
    assert "lies outside the data folders" in refusal("link.csv", [tmp_path], target="kind")


def test_facts_load_only_what_the_source_needs(root):
    code = """if True:
        import json, sys
        from pathlib import Path
        from tuner import data
        from tuner.spec import DataSpec
        root = [Path(sys.argv[1])]
        for source in ("digits", "mnist", "idx", "floats.npz"):
            data.facts(DataSpec(source=source), root)
        early = sorted(sys.modules)
        data.facts(DataSpec(source="table.csv", target="kind"), root)
        print(json.dumps([early, sorted(sys.modules)]))
    """
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
    early, late = (set(modules) for modules in json.loads(done.stdout))
    assert not early & {"tensorflow", "keras", "sklearn", "pandas", "pyarrow", "PIL"}
    assert not late & {"tensorflow", "keras", "sklearn", "pandas", "PIL"}


@pytest.mark.parametrize("name", [name for name, its in known.KNOWN.items() if not its.downloaded])
def test_a_bundled_set_is_what_scikit_learn_makes_of_its_files(name):
    options = {"scaled": False} if name == "diabetes" else {}
    theirs = getattr(datasets, f"load_{name}")(return_X_y=True, **options)
    for mine, its in zip(known.KNOWN[name].arrays(), theirs, strict=True):
        np.testing.assert_array_equal(mine, its)
