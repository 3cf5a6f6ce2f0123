"""The winner as other programs take it."""

import hashlib
from pathlib import Path

import keras
import numpy as np
import pytest

from models import ACTIVATIONS
from tuner import export, winner
from tuner.errors import BadCheckpoint, BadInput
from tuner.trial import Checkpoint

ROWS = np.random.default_rng(0).integers(0, 17, (40, 8, 8, 1)).astype(np.uint8)


def kept(folder: Path, precision: str) -> Checkpoint:
    """A network with every layer and every activation that ours become."""
    own = keras.layers
    hidden = [own.Conv2D(4, 3), own.BatchNormalization(), own.GroupNormalization(2), own.LayerNormalization()]
    pooled = [own.MaxPooling2D(2), own.AveragePooling2D(2), own.Flatten(), own.Dropout(0.5)]
    dense = [own.Dense(6, activation) for activation in ACTIVATIONS]
    for layer in (*hidden, *pooled, *dense):
        layer.dtype_policy = keras.DTypePolicy(precision)
    ends = own.Rescaling(1 / 16, np.zeros(1, np.float32)), own.Softmax()
    keras.Sequential([keras.Input((8, 8, 1)), ends[0], *hidden, *pooled, *dense, ends[1]]).save(folder / "its.keras")
    content = (folder / "its.keras").read_bytes()
    return Checkpoint(folder / "its.keras", 1, hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("form", ["keras", "savedmodel", "onnx"])
def test_what_is_exported_answers_as_the_trained_model(form: str, tmp_path: Path) -> None:
    out = tmp_path / "given" / form
    assert export.export(kept(tmp_path, "float32"), form, out, ROWS) <= 1e-5
    assert [file.name for file in (tmp_path / "given").iterdir()] == [form]
    with pytest.raises(BadInput, match="exists already"):
        export.export(kept(tmp_path, "float32"), form, out, ROWS)


def test_what_does_not_answer_alike_is_not_written(tmp_path: Path) -> None:
    broken = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, kernel_initializer=keras.initializers.Constant(np.nan))])
    broken.save(tmp_path / "its.keras")
    its = Checkpoint(tmp_path / "its.keras", 1, hashlib.sha256((tmp_path / "its.keras").read_bytes()).hexdigest())
    with pytest.raises(export.Differs, match="--to savedmodel: the answers are nan apart"):
        export.export(its, "savedmodel", tmp_path / "given" / "out", np.ones((3, 2)))
    assert list((tmp_path / "given").iterdir()) == []


def test_half_precision_is_refused_as_onnx_and_written_otherwise(tmp_path: Path) -> None:
    its = kept(tmp_path, "mixed_bfloat16")
    with pytest.raises(BadInput, match="computes in bfloat16"):
        export.export(its, "onnx", tmp_path / "out", ROWS)
    assert export.export(its, "savedmodel", tmp_path / "out", ROWS) <= 1e-5


def test_a_file_that_was_changed_or_holds_code_is_not_loaded(tmp_path: Path) -> None:
    its = kept(tmp_path, "float32")
    its.path.write_bytes(b"something else")
    with pytest.raises(BadCheckpoint, match="SHA-256"):
        winner.load(its)
    keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)]).save(its.path)
    changed = Checkpoint(its.path, 1, hashlib.sha256(its.path.read_bytes()).hexdigest())
    with pytest.raises(BadInput, match="without code"):
        winner.load(changed)
