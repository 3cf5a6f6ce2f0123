"""The winner for others: a Keras file, a SavedModel, or ONNX, each of which answers as the model that was scored.

All take rows as they are in the data and give probabilities, or predictions in the units of the targets. What is written stands
under its name only after it was read again and compared on the rows of the test split.
"""

import importlib
import os
import shutil
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tuner.errors import BadInput, TunerError
from tuner.trial import Checkpoint
from tuner.winner import load

TOLERANCE = 1e-5  # of a probability, or of a prediction in relation to itself where that is above 1
NEEDED = ("tf2onnx", "onnx", "onnxruntime")

Answer = Callable[[NDArray[np.float32]], NDArray[Any]]
"""What a model says of rows: [N, ...] -> [N, C]."""


class Differs(TunerError):
    """What was written does not answer as the model that was scored."""


def check_needs(form: str) -> None:
    """Raise `BadInput` when packages are missing."""
    missing = [name for name in NEEDED if find_spec(name) is None] if form == "onnx" else []
    if missing:
        raise BadInput(f"--to onnx: {', '.join(missing)} missing: pip install {' '.join(missing)}")


def export(kept: Checkpoint, form: str, out: Path, x: NDArray[Any]) -> float:
    """Write the winner to `out`, a file or, as a SavedModel, a folder; returns how far its answers on the rows `x` are apart.

    Raises `BadInput` when there is something already, and `Differs` when they are apart by more than `TOLERANCE`; `out` is not
    written then.
    """
    if out.exists():
        raise BadInput(f"--out: {out} exists already")
    rows, model = x.astype(np.float32), load(kept)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        made = Path(folder) / f"model.{form}"
        apart = _apart(_predict(model, rows), _FORMS[form](model, kept, made)(rows))
        if not apart <= TOLERANCE:
            raise Differs(f"--to {form}: the answers are {apart:.1e} apart from the trained model's; tolerated is {TOLERANCE:g}")
        os.replace(made, out)
    return apart


def _apart(expected: NDArray[Any], found: NDArray[Any]) -> float:
    return float(np.max(np.abs(found - expected) / np.maximum(1.0, np.abs(expected))))


def _predict(model: keras.Model, rows: NDArray[np.float32]) -> NDArray[Any]:
    found: NDArray[Any] = model.predict(rows, verbose=0)
    return found


def _keras(model: keras.Model, kept: Checkpoint, made: Path) -> Answer:
    del model  # its file is the very thing
    shutil.copyfile(kept.path, made)
    again = load(Checkpoint(made, kept.epoch, kept.sha256))
    return lambda rows: _predict(again, rows)


def _savedmodel(model: keras.Model, kept: Checkpoint, made: Path) -> Answer:
    del kept
    model.export(made, format="tf_saved_model", verbose=False)
    again = tf.saved_model.load(made)
    return lambda rows: again.serve(tf.constant(rows)).numpy()


def _onnx(model: keras.Model, kept: Checkpoint, made: Path) -> Answer:
    del kept
    half = {layer.compute_dtype for layer in model._flatten_layers()} - {"float32"}
    if half:
        raise BadInput(
            f"--to onnx: the network computes in {', '.join(half)}, which ONNX does not on every device; try savedmodel"
        )
    with warnings.catch_warnings(action="ignore"):  # tf2onnx 1.17 against NumPy 2
        _teach_erfc()
        model.export(made, format="onnx", verbose=False)
    session = importlib.import_module("onnxruntime").InferenceSession(made, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return lambda rows: session.run(None, {given.name: rows})[0]


def _teach_erfc() -> None:
    """Let tf2onnx, which does not know it, write TensorFlow's `Erfc` as 1 - erf; the exact GELU consists of it."""
    decorate = importlib.import_module("tf2onnx.handler").tf_op
    numpy_one = np.array(1.0, np.float32)

    @decorate("Erfc")
    class Erfc:
        @classmethod
        def version_9(cls, ctx: Any, node: Any, **_: Any) -> None:
            erf = ctx.make_node("Erf", node.input)
            one = ctx.make_const(f"{node.name}_one", numpy_one)
            shapes, dtypes = [ctx.get_shape(node.output[0])], [ctx.get_dtype(node.output[0])]
            ctx.remove_node(node.name)
            ctx.make_node(
                "Sub", [one.output[0], erf.output[0]], name=node.name, outputs=node.output, shapes=shapes, dtypes=dtypes
            )

    del Erfc


_FORMS: dict[str, Callable[[keras.Model, Checkpoint, Path], Answer]] = {
    "keras": _keras,
    "savedmodel": _savedmodel,
    "onnx": _onnx,
}
