"""Every refusal: places, formats and files that are no data, each in one line."""

import gzip
import io
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from tests.data.sources import SPECIES, X, Y, idx_bytes, refusal, spec, write_csv, write_idx, write_images
from tuner import data
from tuner.errors import BadInput


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
    "target without steps": (
        {"a": range(12), "y": [1e9 + n + 0.5 for n in range(12)]},
        {},
        "data.target: column 'y': values from 1000000000.5 to 1000000011.5, where 32-bit numbers are 64 apart",
    ),
    "seconds without steps": ({**GOOD, "b": range(1_700_000_000, 1_700_000_012)}, {}, "column 'b': values from 1700000000 to"),
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
        (b"a,y\n" + b"\xe9,1\n\xe9,2\n" * 6, "column 'a' is not UTF-8 text"),
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


BAD_NPZ: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no x": ({"a": X, "y": Y}, {}, "data.source: no array 'x'; there are 'a', 'y'"),
    "no y": ({"x": X, "label": Y}, {"target": "labels"}, "data.target: no array 'labels' beside x; did you mean 'label'?"),
    "objects": ({"x": np.array([[1], "a"] * 6, object), "y": Y}, {}, "array 'x' holds Python objects"),
    "objects as target": ({"x": X, "y": np.array(SPECIES[:12], object)}, {}, "array 'y' holds Python objects"),
    "lengths": ({"x": X, "y": np.arange(11) % 2}, {}, "array 'x' has 12 rows, 'y' 11"),
    "weights": ({"x": X, "y": Y, "weight": np.ones(11)}, {}, "array 'x' has 12 rows, 'weight' 11"),
    "weight shape": ({"x": X, "y": Y, "weight": X}, {}, "data.weight: array 'weight' has shape (12, 2)"),
    "weight text": ({"x": X, "y": Y, "weight": np.array(["a"] * 12)}, {}, "array 'weight' does not hold numbers"),
    "no steps": ({"x": np.add(X, [0, 2**25 + 0.5]), "y": Y}, {}, "array 'x': values from 33554433.5 to 33554455.5, where"),
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
@settings(max_examples=40, derandomize=True)
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
