"""Every source, every refusal, and what holds of splits and normalisation wherever the rows come from."""

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet
from sklearn import datasets

from tuner import data
from tuner.data import Facts, known
from tuner.errors import BadInput
from tuner.spec import DataSpec

MNIST = Path(__file__).parents[1].parent / "shared/data/mnist-t10k"
ROWS = 30
RNG = np.random.default_rng(0)
SPECIES = [("ant", "bee", "cat")[row % 3] for row in range(ROWS)]
BUNDLED = ("digits", "breast_cancer", "wine", "iris", "diabetes")


def spec(source: str | Path, **options: Any) -> DataSpec:
    return DataSpec(source=str(source), **options)


def refusal(source: str | Path, roots: list[Path], **options: Any) -> str:
    """The line with which `facts` refuses a source."""
    with pytest.raises(BadInput) as caught:
        data.facts(spec(source, **options), roots)
    line = str(caught.value)
    assert line.startswith("data.")
    assert line.isprintable()
    return line


def idx_bytes(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


def write_idx(folder: Path, images: np.ndarray, labels: np.ndarray, part: str = "t10k", *, zipped: bool = True) -> None:
    folder.mkdir(exist_ok=True)
    for kind, values in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
        if zipped:
            (folder / f"{kind}.gz").write_bytes(gzip.compress(idx_bytes(values)))
        else:
            (folder / kind).write_bytes(idx_bytes(values))


def write_csv(path: Path, **columns: Any) -> Path:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_images(folder: Path, mode: str = "RGB", ending: str = "png", per_class: int = 5) -> Path:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = RNG.integers(0, 256, (4, 6, 4), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / name / f"{number}.{ending}")
    return folder


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """A data folder with a good source of each kind, and one of each target."""
    root = tmp_path_factory.mktemp("data")
    labels, images = np.arange(ROWS) % 3, RNG.integers(0, 256, (ROWS, 5, 4))
    write_idx(root / "idx", images, labels)
    write_idx(root / "idx-plain", images, labels, zipped=False)
    write_images(root / "images")
    numbers = RNG.normal(2, 3, (ROWS, 4))
    np.savez(root / "floats.npz", x=numbers, y=labels, weight=np.arange(ROWS))
    np.savez_compressed(root / "pixels.npz", x=images.astype(np.uint8), y=np.array(SPECIES))
    columns = {"size": numbers[:, 0], "legs": labels * 2, "kind": SPECIES, "price": numbers[:, 1], "trust": np.arange(ROWS)}
    write_csv(root / "table.csv", **columns)
    parquet.write_table(pa.table({**columns, "kind": pa.array(SPECIES).dictionary_encode()}), root / "table.parquet")
    return root


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


# Sources --------------------------------------------------------------------------------------------------------------


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


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["http://169.254.169.254/", "file:///etc/passwd", "s3://bucket/a.csv", "file:a.csv"])
def test_urls_are_refused(tmp_path, source):
    assert "is a URL" in refusal(source, [tmp_path])


@pytest.mark.parametrize("source", ["/etc/shadow", "../..", "../outside.csv", "/dev/zero", "/no/such/file"])
def test_places_outside_the_data_folders_are_refused_whether_they_exist_or_not(tmp_path, source):
    (tmp_path / "outside.csv").touch()
    (tmp_path / "data").mkdir()
    line = refusal(source, [tmp_path / "data"])
    assert line == (
        f"data.source: {source!r} lies outside the data folders ({tmp_path / 'data'}); allow it with --data or TUNER_DATA"
    )


def test_a_home_folder_is_not_looked_for(tmp_path):
    assert "no file or folder '~/.ssh'" in refusal("~/.ssh", [tmp_path])


def test_a_misspelt_name_is_corrected(tmp_path):
    assert "did you mean 'digits'?" in refusal("digts", [tmp_path])


def test_devices_and_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    assert "neither a regular file nor a folder" in refusal("pipe.csv", [tmp_path])
    assert "neither a regular file nor a folder" in refusal("/dev/zero", [Path("/dev")])


def test_links_out_of_the_data_folders_are_refused_inside_folders_too(root, tmp_path):
    write_images(tmp_path / "pictures")
    (tmp_path / "pictures" / "cat" / "9.png").symlink_to(root / "images" / "cat" / "0.png")
    assert "leads out" in refusal("pictures", [tmp_path])
    (tmp_path / "pictures" / "dogs").symlink_to(root / "images" / "dog")
    assert "leads out" in refusal("pictures", [tmp_path])


def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert "No such file" in refusal(".", [tmp_path])


@pytest.mark.parametrize("name", ["model.h5", "rows.pkl", "table.csv.gz", "README"])
def test_other_formats_are_refused(tmp_path, name):
    (tmp_path / name).write_text("a")
    assert "is none of" in refusal(name, [tmp_path])


@pytest.mark.parametrize("source", ["digits", "idx", "images"])
@pytest.mark.parametrize("key", ["target", "weight"])
def test_what_has_no_columns_takes_no_column_names(root, source, key):
    assert refusal(source, [root], **{key: "a"}).startswith(f"data.{key}: {source!r} has no columns")


@pytest.mark.parametrize("source", ["digits", "images", "mnist"])
def test_names_of_classes_are_not_learned_as_numbers(root, source):
    assert refusal(source, [root], task="regression").startswith("data.task:")


def test_an_empty_folder_is_refused(tmp_path):
    assert "holds neither" in refusal(".", [tmp_path])


GOOD = {"a": list(range(12)), "y": ["p", "q"] * 6}
BAD_TABLES = {
    "misspelt target": (GOOD, {"target": "yy"}, "data.target: no column 'yy'; did you mean 'y'?"),
    "no target": (GOOD, {"target": None}, "data.target: name the column to predict; there are 'a', 'y'"),
    "misspelt weight": (GOOD, {"weight": "b"}, "data.weight: no column 'b'"),
    "weight is target": (GOOD, {"weight": "y"}, "data.weight: column 'y' is the target"),
    "weight of text": ({**GOOD, "w": ["x"] * 12}, {"weight": "w"}, "does not hold numbers"),
    "weight below 0": ({**GOOD, "w": [1] * 10 + [-2, 1]}, {"weight": "w"}, "column 'w', row 11: -2 is below 0"),
    "weight 0": ({**GOOD, "w": [0] * 12}, {"weight": "w"}, "data.weight: column 'w' is 0 in every row"),
    "weight infinite": ({**GOOD, "w": ["inf"] + [1.5] * 11}, {"weight": "w"}, "data.weight: column 'w', row 1: inf"),
    "weight missing": ({**GOOD, "w": [""] + [1.5] * 11}, {"weight": "w"}, "data.weight: column 'w', row 1 is empty"),
    "missing number": ({**GOOD, "b": [1.5] * 6 + [""] * 6}, {}, "column 'b', row 7 is empty"),
    "nan": ({**GOOD, "b": [1.5] * 11 + ["nan"]}, {}, "column 'b', row 12 is empty or not a number"),
    "infinity": ({**GOOD, "b": [1.5] * 11 + ["-inf"]}, {}, "column 'b', row 12: -inf is not a finite"),
    "too large": ({**GOOD, "b": [1.5] * 11 + ["1e39"]}, {}, "column 'b', row 12: 1e+39 is not a finite"),
    "missing text": ({**GOOD, "b": ["x"] * 11 + [""]}, {}, "column 'b', row 12 is empty"),
    "missing class": ({"a": range(12), "y": ["p", "q"] * 5 + ["p", ""]}, {}, "data.target: column 'y', row 12 is empty"),
    "empty column": ({**GOOD, "b": [""] * 12}, {}, "column 'b', row 1 is empty"),
    "date": ({**GOOD, "b": ["2024-01-01"] * 12}, {}, "column 'b' holds 'date32[day]'"),
    "few rows": ({"a": range(9), "y": [0, 1, 2] * 3}, {}, "9 rows; at least 10"),
    "no rows": ({"a": [], "y": []}, {}, "0 rows"),
    "only a target": ({"y": ["p", "q"] * 6}, {}, "no column is left"),
    "one class": ({"a": range(12), "y": ["p"] * 12}, {}, "has a single class, 'p'"),
    "rare class": ({"a": range(12), "y": ["p"] * 10 + ["q"] * 2}, {}, "class 'q' has 2 rows; each needs at least 3"),
    "constant target": ({"a": range(12), "y": [1.5] * 12}, {}, "the same value in every row, 1.5"),
    "target nan": ({"a": range(12), "y": [1.5] * 11 + ["inf"]}, {}, "data.target: column 'y', row 12: inf"),
    "fractions as classes": ({"a": range(12), "y": [1.5, 2.5] * 6}, {"task": "classification"}, "row 1: 1.5 is no class"),
    "text as numbers": (GOOD, {"task": "regression"}, "regression needs numbers"),
    "numbers or classes": ({"a": range(12), "y": range(12)}, {}, "data.task: column 'y' has 12 distinct whole numbers"),
    "unnamed column": ({"": range(12), **GOOD}, {}, "column 1 has no name"),
    "many texts": ({"a": [f"n{i}" for i in range(1002)], "y": [0, 1] * 501}, {}, "1002 different texts; at most 1000"),
    "mark among numbers": ({"a": [*range(39), "?"], "y": [0, 1] * 20}, {}, "column 'a', row 40: '?' among numbers"),
    "small test share": (
        {"a": range(30), "y": SPECIES},
        {"test": 0.05},
        "data.test: 0.05 of 30 rows is 2; each of 3 classes needs one",
    ),
    "small validation": ({"a": range(30), "y": SPECIES}, {"validation": 0.05}, "data.validation: 0.05 of 30 rows is 2"),
    "nothing to train on": (
        {"a": range(30), "y": SPECIES},
        {"validation": 0.49, "test": 0.49},
        "data.test: validation and test leave 0 of 30 rows to train on",
    ),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables_are_refused(tmp_path, case):
    columns, options, expected = BAD_TABLES[case]
    write_csv(tmp_path / "t.csv", **columns)
    assert expected in refusal("t.csv", [tmp_path], **{"target": "y", **options})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "Empty CSV file"),
        (b"\n\n", "Empty CSV file"),
        (b"a,y\n1,2\n3\n", "Expected 2 columns, got 1"),
        (b"a,a\n" + b"1,2\n" * 12, "two columns are called 'a'"),
        (b"a\xe9,y\n" + b"1,2\n" * 12, "cannot be read"),
        (b"a,y\n" + b"\xe9,1\n\xe9,2\n" * 6, "column 'a' holds 'binary'"),
        ("a,y\n1,2\n".encode("utf-16"), "cannot be read"),
        (b"a" * 2**24 + b",y\n", "first line of more than 16 MiB"),
        (b"c" + b",c" * 100_000, "100001 columns; at most 100000"),
        (b'"a\nb",y\n' + b"1,p\n,q\n" * 6, r"column 'a\nb', row 2 is empty"),
    ],
)
def test_broken_csv_files_are_refused(tmp_path, content, expected):
    (tmp_path / "t.csv").write_bytes(content)
    assert expected in refusal("t.csv", [tmp_path], target="y")


def test_quoted_texts_may_hold_line_ends_wherever_pyarrow_cuts_the_file(tmp_path):
    text = '"' + "left\n" * 100 + '"'
    write_csv(tmp_path / "t.csv", a=[text, "right"] * 9000, y=["p", "q"] * 9000)
    assert data.facts(spec("t.csv", target="y"), [tmp_path]) == data.Facts(18_000, (2,), 2)


def test_parquet_of_other_things_is_refused(tmp_path):
    parquet.write_table(pa.table({"a": [[1, 2]] * 12, "y": [0, 1] * 6}), tmp_path / "lists.parquet")
    assert "column 'a' holds 'list" in refusal("lists.parquet", [tmp_path], target="y")
    (tmp_path / "no.parquet").write_bytes(b"PAR1 is not enough")
    assert "'no.parquet' cannot be read" in refusal("no.parquet", [tmp_path], target="y")
    parquet.write_table(pa.table({"a": pa.array([None, *range(11)]), "y": [0, 1] * 6}), tmp_path / "null.parquet")
    assert "column 'a', row 1 is empty" in refusal("null.parquet", [tmp_path], target="y")


IMAGES, LABELS = np.zeros((12, 2, 2), np.uint8), np.arange(12) % 2
BAD_IDX: dict[str, tuple[bytes | None, bytes | None, str]] = {
    "no labels": (gzip.compress(idx_bytes(IMAGES)), None, "has no labels file beside it"),
    "no images": (None, idx_bytes(LABELS), "has no images file beside it"),
    "cut gzip": (gzip.compress(idx_bytes(IMAGES))[:-9], idx_bytes(LABELS), "is not a whole gzip file"),
    "damaged gzip": (gzip.compress(idx_bytes(IMAGES))[:-8] + b"\0" * 8, idx_bytes(LABELS), "is not a whole gzip file"),
    "gzip of nothing": (gzip.compress(b""), idx_bytes(LABELS), "begins with nothing"),
    "cut": (idx_bytes(IMAGES)[:-1], idx_bytes(LABELS), "is cut short: 12 x 2 x 2 bytes"),
    "cut header": (idx_bytes(IMAGES)[:10], idx_bytes(LABELS), "is cut short within its header"),
    "longer": (idx_bytes(IMAGES) + b"\0", idx_bytes(LABELS), "is longer than its header says"),
    "swapped": (idx_bytes(LABELS), idx_bytes(IMAGES), "begins with 00000801, not with 00000803 (idx3)"),
    "text": (b"hello", idx_bytes(LABELS), "begins with 68656c6c"),
    "lengths": (idx_bytes(IMAGES), idx_bytes(np.arange(11) % 2), "has 12 images, 'labels-idx1-ubyte' 11 labels"),
    "bomb": (struct.pack(">4B3I", 0, 0, 8, 3, 2**31, 2**12, 2**12), idx_bytes(LABELS), "GiB of values; at most 8 GiB"),
    "no pixels": (idx_bytes(np.zeros((12, 0, 2))), idx_bytes(LABELS), "has images of 0 x 2 pixels"),
    "one class": (idx_bytes(IMAGES), idx_bytes(np.zeros(12)), "has a single class"),
    "rare class": (idx_bytes(IMAGES), idx_bytes(np.arange(12) // 11), "class '1' has 1 rows"),
    "few rows": (idx_bytes(IMAGES[:4]), idx_bytes(LABELS[:4]), "4 rows; at least 10"),
}


@pytest.mark.parametrize("case", BAD_IDX)
def test_bad_idx_folders_are_refused(tmp_path, case):
    images, labels, expected = BAD_IDX[case]
    for name, content in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
    assert expected in refusal(".", [tmp_path])


def test_idx_images_of_two_sizes_are_refused(tmp_path):
    write_idx(tmp_path, IMAGES, LABELS, "train")
    write_idx(tmp_path, np.zeros((12, 3, 2)), LABELS, "t10k")
    assert "differ in size: (2, 2) and (3, 2)" in refusal(".", [tmp_path])


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG file that claims to be that large."""
    chunks = [(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0"))]
    parts = [struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def saved(mode: str, size: tuple[int, int], kind: str = "png") -> bytes:
    Image.new(mode, size).save(buffer := io.BytesIO(), kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("cat/9.png", saved("RGB", (4, 6)), "'cat/9.png' is 4 x 6 RGB, the first image is 6 x 4 RGB"),
        ("cat/9.png", saved("L", (6, 4)), "'cat/9.png' is 6 x 4 L, the first image is 6 x 4 RGB"),
        ("cat/9.jpg", saved("CMYK", (6, 4), "jpeg"), "'cat/9.jpg' has mode CMYK"),
        ("cat/9.png", b"no image", "'cat/9.png' cannot be read as an image"),
        ("cat/9.png", saved("RGB", (6, 4), "tiff"), "'cat/9.png' cannot be read as an image"),
        ("cat/9.png", saved("RGB", (6, 4))[:-40], "'cat/9.png' cannot be read as an image"),
        ("cat/9.png", png(6, 4), "'cat/9.png' cannot be read as an image"),
        ("cat/9.png", png(50_000, 50_000), "'cat/9.png' cannot be read as an image: Image size"),
        ("cat/9.png", png(10_000, 10_000), "'cat/9.png' has 10000 x 10000 pixels; at most"),
        ("cat/9.png", png(6_000, 6_000), "'cat/9.png' has 6000 x 6000 pixels"),
        ("cat/9.webp", b"", "'cat/9.webp' is no image; allowed: .png"),
        ("ant/0.png", saved("RGB", (6, 4)), "class 'ant' has 1 rows"),
        ("dog/more/9.png", saved("RGB", (6, 4)), "'dog/more' is no image"),
    ],
)
def test_bad_images_are_refused_by_name(tmp_path, name, content, expected):
    path = write_images(tmp_path / "pictures") / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert expected in refusal("pictures", [tmp_path])


X, Y = np.arange(24.0).reshape(12, 2), np.arange(12) % 2
BAD_NPZ: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no x": ({"a": X, "y": Y}, {}, "data.source: no array 'x'; there are 'a', 'y'"),
    "no y": ({"x": X, "label": Y}, {"target": "labels"}, "data.target: no array 'labels' beside x; did you mean 'label'?"),
    "objects": ({"x": np.array([[1], "a"] * 6, object), "y": Y}, {}, "array 'x' holds Python objects"),
    "objects as target": ({"x": X, "y": np.array(SPECIES[:12], object)}, {}, "array 'y' holds Python objects"),
    "lengths": ({"x": X, "y": np.arange(11) % 2}, {}, "array 'x' has 12 rows, 'y' 11"),
    "weights": ({"x": X, "y": Y, "weight": np.ones(11)}, {}, "array 'x' has 12 rows, 'weight' 11"),
    "weight shape": ({"x": X, "y": Y, "weight": X}, {}, "data.weight: array 'weight' has shape (12, 2)"),
    "weight text": ({"x": X, "y": Y, "weight": np.array(["a"] * 12)}, {}, "array 'weight' does not hold numbers"),
    "nan": ({"x": np.where(X == 5, np.nan, X), "y": Y}, {}, "array 'x', row 3: nan is not a finite"),
    "infinite y": ({"x": X, "y": np.where(Y, np.inf, 0.5)}, {}, "array 'y', row 2: inf is not a finite"),
    "text": ({"x": X.astype(str), "y": Y}, {}, "array 'x' holds <U"),
    "complex": ({"x": X * 1j, "y": Y}, {}, "array 'x' holds complex128"),
    "records": ({"x": np.zeros(12, "i4,f4"), "y": Y}, {}, "array 'x' holds ["),
    "bytes as target": ({"x": X, "y": np.array([b"a", b"b"] * 6)}, {}, "array 'y' holds |S1"),
    "scalar": ({"x": np.float64(1), "y": Y}, {}, "array 'x' has shape ()"),
    "no features": ({"x": np.zeros((12, 0)), "y": Y}, {}, "array 'x' has shape (12, 0)"),
    "one-hot target": ({"x": X, "y": np.eye(2)[Y]}, {}, "array 'y' has shape (12, 2); one value per row"),
    "empty": ({"x": np.zeros((0, 2)), "y": np.zeros(0, int)}, {}, "0 rows"),
    "many values": ({"x": X, "y": np.arange(12)}, {}, "data.task: array 'y' has 12 distinct whole numbers"),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_bad_archives_are_refused(tmp_path, case):
    arrays, options, expected = BAD_NPZ[case]
    np.savez(tmp_path / "a.npz", **arrays)
    assert expected in refusal("a.npz", [tmp_path], **options)


def test_archives_that_lie_about_their_size_are_refused(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 100000)}"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    small = npy.replace(b"1000000, 100000", b"12, 2          ")
    np.save(y := io.BytesIO(), Y)
    for content, expected in ((npy, "745.1 GiB of values"), (small, "array 'x' has not the 192 bytes"), (b"no", "magic string")):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("x.npy", content)
            archive.writestr("y.npy", y.getvalue())
        assert expected in refusal("a.npz", [tmp_path])


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no zip")
    assert "'a.npz' is not a whole .npz file: File is not a zip file" in refusal("a.npz", [tmp_path])
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", b"")
        archive.writestr("y.npy", b"")
    assert "compressed in a way that NumPy does not write" in refusal("b.npz", [tmp_path])


def test_faults_in_values_that_facts_did_not_read_are_found_by_load(tmp_path):
    x = np.zeros((12, 2**20 // 4))
    x[4, 0] = np.nan
    np.savez_compressed(tmp_path / "large.npz", x=x, y=Y)
    assert data.facts(spec("large.npz"), [tmp_path]).rows == 12
    with pytest.raises(BadInput, match="array 'x', row 5: nan"):
        data.load_tested(spec("large.npz"), 0, [tmp_path])


def test_a_split_whose_weights_are_all_zero_is_refused(tmp_path):
    write_csv(tmp_path / "t.csv", a=range(12), y=np.arange(12) / 7, w=[1] + [0] * 11)
    with pytest.raises(BadInput, match=r"data\.weight: all \d+ \w+ rows have weight 0"):
        data.load_tested(spec("t.csv", target="y", weight="w"), 0, [tmp_path])


@pytest.mark.parametrize(
    ("name", "file", "options"),
    [
        ("idx", "idx/t10k-images-idx3-ubyte.gz", {}),
        ("idx-plain", "idx-plain/t10k-labels-idx1-ubyte", {}),
        ("images", "images/cat/0.png", {}),
        ("floats.npz", "floats.npz", {}),
        ("table.csv", "table.csv", {"target": "kind"}),
        ("table.parquet", "table.parquet", {"target": "price"}),
    ],
)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=3)), max_size=3), end=st.floats(0.2, 2))
@example(edits=[(0.23828125, b"\x03")], end=1.0)  # a Parquet dictionary index out of bounds, which pyarrow reads
def test_damaged_files_load_or_are_refused_in_one_line(root, name, file, options, edits, end):
    path = root / file
    good = path.read_bytes()
    bad = bytearray(good)
    for place, patch in edits:
        at = int(place * len(bad))
        bad[at : at + len(patch)] = patch
    path.write_bytes(bad[: int(end * len(bad)) + 1])
    line = ""
    try:
        data.load_tested(spec(name, **options), 0, [root])
    except BadInput as error:
        line = str(error)
    finally:
        path.write_bytes(good)
    assert line.isprintable()


# Splits ---------------------------------------------------------------------------------------------------------------

shares = st.floats(0.05, 0.45)


@settings(max_examples=60, deadline=None)
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


# Normalisation --------------------------------------------------------------------------------------------------------


def loaded_with(path: Path, x: np.ndarray, y: np.ndarray = Y, normalise: str | None = None) -> data.Data:
    np.savez(path / "n.npz", x=x, y=y)
    return data.load_tested(spec("n.npz", normalise=normalise), 0, [path])


def normalised(loaded: data.Data) -> np.ndarray:
    assert loaded.offset.dtype == loaded.scale.dtype == np.float32
    return (loaded.train.x - loaded.offset) * loaded.scale


@pytest.mark.parametrize("normalise", [None, "standard", "unit", "none"])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@settings(max_examples=15, deadline=None)
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
