"""The data sets that have a name: scikit-learn's bundled ones, and three that Keras downloads on first use."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tuner.data.rows import Array, Facts, Rows, Source, Target, Task, finite, reason
from tuner.errors import BadInput

Arrays = tuple[Array, Array]
_DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Known:
    """A row of the table: the facts, the names of the classes, and how its arrays `x` and `y` are had.

    `peak` is the largest value a pixel can have; None for tables.
    """

    facts: Facts
    class_names: tuple[str, ...]
    arrays: Callable[[], Arrays]
    peak: float | None = None
    downloaded: bool = False


def opened(name: str, task: Task | None) -> Source:
    """The source of that name, which must be in `KNOWN`."""
    known = KNOWN[name]
    if task not in (None, known.facts.task):
        raise BadInput(f"data.task: {name} is for {known.facts.task}")
    return Source(known.facts, lambda: _read(known), small=False)


def _read(known: Known) -> Rows:
    x, y = known.arrays()
    if known.facts.classes is None:
        return Rows(finite(x, "x"), Target(finite(y, "y")))
    x = finite(x, "x") if known.peak is None else x.astype(np.uint8).reshape(-1, *known.facts.input_shape)
    return Rows(x, Target(y.astype(np.int32).reshape(-1), known.class_names), peak=known.peak)


def _bundled(*names: str, delimiter: str | None = ",", header: int = 0) -> Callable[[], Arrays]:
    """From scikit-learn's own files, the last column the targets; to import scikit-learn takes longer than all else here."""

    def arrays() -> Arrays:
        (package,) = find_spec("sklearn").submodule_search_locations  # type: ignore[union-attr, misc]
        files = (Path(package) / "datasets" / "data" / name for name in names)
        columns = np.column_stack([np.loadtxt(file, delimiter=delimiter, skiprows=header) for file in files])
        return columns[:, :-1], columns[:, -1]

    return arrays


def _from_keras(name: str) -> Callable[[], Arrays]:
    def arrays() -> Arrays:
        import keras

        try:
            (x, y), (more_x, more_y) = getattr(keras.datasets, name).load_data()
        except Exception as error:  # noqa: BLE001 a bare Exception is what Keras raises when a download fails
            failed = f"{name} is not cached and cannot be downloaded ({reason(error)})"
            raise BadInput(f"data.source: {failed}; give a local folder with --data") from None
        return np.concatenate([x, more_x]), np.concatenate([y, more_y])

    return arrays


def _images(name: str, rows: int, shape: tuple[int, ...], class_names: tuple[str, ...]) -> Known:
    return Known(Facts(rows, shape, 10), class_names, _from_keras(name), peak=255, downloaded=True)


_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_DIABETES = ("diabetes_data_raw.csv.gz", "diabetes_target.csv.gz")
_IRIS = ("setosa", "versicolor", "virginica")
_WINE = ("class_0", "class_1", "class_2")

KNOWN = {
    "digits": Known(Facts(1797, (8, 8, 1), 10), _DIGITS, _bundled("digits.csv.gz"), peak=16),
    "breast_cancer": Known(Facts(569, (30,), 2), ("malignant", "benign"), _bundled("breast_cancer.csv", header=1)),
    "wine": Known(Facts(178, (13,), 3), _WINE, _bundled("wine_data.csv", header=1)),
    "iris": Known(Facts(150, (4,), 3), _IRIS, _bundled("iris.csv", header=1)),
    # The scaled form of scikit-learn is normalised with the statistics of all rows, test rows included.
    "diabetes": Known(Facts(442, (10,), None), (), _bundled(*_DIABETES, delimiter=None)),
    "mnist": _images("mnist", 70_000, (28, 28, 1), _DIGITS),
    "fashion_mnist": _images("fashion_mnist", 70_000, (28, 28, 1), _FASHION),
    "cifar10": _images("cifar10", 60_000, (32, 32, 3), _CIFAR10),
}
