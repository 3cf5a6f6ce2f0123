"""Data source + seed → arrays and splits; the same order for the same seed.

A source is the name of a known data set (`known`) or a path: a folder of IDX files (`idx`), a folder of images by class
(`pictures`), a NumPy archive (`npz`), a CSV or Parquet file (`table`). Whatever is wrong with one is a `BadInput` of one line
that begins with the key of the study file.

Shapes: N rows, C classes, F the last axis of the input (features, or channels of an image).
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.data import idx, known, npz
from tuner.data.place import contents, find
from tuner.data.rows import Array, Facts, Rows, Source, short
from tuner.errors import BadInput
from tuner.spec import DataSpec

__all__ = [
    "Data",
    "Facts",
    "Split",
    "Tested",
    "class_weights",
    "facts",
    "fingerprint",
    "load",
    "load_tested",
    "order",
    "recorded",
    "training_rows",
]

_SPLIT = 0  # the stream of a seed that decides the splits; stream n decides the order of epoch n
_BLOCK = 2**16  # rows whose squares are summed at once


@dataclass(frozen=True)
class Split:
    """Rows for one purpose.

    `x` [N, *input_shape] is uint8 for images, else float32; `y` [N] is int32 class indices, or float32 targets in their own
    units; `weight` [N] is float32 with mean 1, or None when the data have no weights.
    """

    x: Array
    y: Array
    weight: Array | None


@dataclass(frozen=True)
class Data:
    """A source split for one seed, without the test split: who has this has no way to it.

    Networks see `(x - offset) * scale`, both float32 [F] and fitted on the training rows only. Regression trains on
    `(y - target_offset) / target_scale`, mean and standard deviation of the training targets; 0 and 1 for classes.
    `sha256` is of all rows and does not depend on the seed.
    """

    facts: Facts
    train: Split
    validation: Split
    offset: NDArray[np.float32]
    scale: NDArray[np.float32]
    target_offset: float
    target_scale: float
    class_names: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Tested(Data):
    """The same with the test split: for the score of a study's winner, and nothing else."""

    test: Split


def facts(spec: DataSpec, roots: Sequence[Path]) -> Facts:
    """What is known of a source from its headers and targets; small sources and tables are read and checked whole.

    Raises `BadInput` for a source outside `roots`, or one that cannot be trained on.
    """
    with _readable(spec):
        source = _open(spec, roots)
        if source.small:
            source.read()
        return source.facts


def fingerprint(spec: DataSpec, roots: Sequence[Path]) -> str | None:
    """The `Data.sha256` of a source; None for one that is too large to be read before a study begins, or is downloaded."""
    bundled = spec.source in known.KNOWN and not known.KNOWN[spec.source].downloaded
    with _readable(spec):
        source = _open(spec, roots)
        return _fingerprint(source.read()) if source.small or bundled else None


def load(spec: DataSpec, seed: int, roots: Sequence[Path], launched: Mapping[str, Any] | None = None) -> Data:
    """The rows of a source that a search may see, split by `seed`; the values of the test rows are not looked at.

    Raises `BadInput` as `facts` does, for faults in values it did not look at, and for rows that are not those of which a study
    has `launched` on record: in other rows the same seed makes other splits, and what was to be tested has been trained on.
    """
    rows, (train, validation, _) = _read(spec, seed, roots)
    found = Data(**_fitted(rows, spec, train, validation))
    _check_same(found, launched or {})
    return found


def load_tested(
    spec: DataSpec, seed: int, roots: Sequence[Path], launched: Mapping[str, Any] | None = None, *, refit: bool = False
) -> Tested:
    """All rows of a source in the same splits; with `refit` the rows of validation are among those to train on as well."""
    rows, (train, validation, test) = _read(spec, seed, roots)
    fitted = _fitted(rows, spec, np.concatenate([train, validation]) if refit else train, validation)
    found = Tested(**fitted, test=_part(rows, "test", test))
    _check_same(found, launched or {})
    return found


def recorded(known: Facts, sha256: str | None) -> dict[str, Any]:
    """What is kept with a study of its rows, to know them again."""
    facts = {"rows": known.rows, "input_shape": list(known.input_shape), "classes": known.classes}
    return {**facts, **({"sha256": sha256} if sha256 else {})}


def _read(spec: DataSpec, seed: int, roots: Sequence[Path]) -> tuple[Rows, tuple[NDArray[np.int32], ...]]:
    with _readable(spec):
        rows = _open(spec, roots).read()
    indices = _split(rows, spec, seed)
    if rows.weight is not None and not rows.weight[indices[2]].any():
        raise _weightless("test", len(indices[2]))
    return rows, indices


def _fitted(rows: Rows, spec: DataSpec, train_at: NDArray[np.int32], validation_at: NDArray[np.int32]) -> dict[str, Any]:
    """The entries of `Data` for these row numbers."""
    train, validation = _part(rows, "training", train_at), _part(rows, "validation", validation_at)
    offset, scale = _normalisation(train.x, rows.peak, spec.normalise)
    target_offset, target_scale = (0.0, 1.0) if rows.target.names else _target_normalisation(train.y)
    return {
        "facts": rows.facts,
        "train": train,
        "validation": validation,
        "offset": offset,
        "scale": scale,
        "target_offset": target_offset,
        "target_scale": target_scale,
        "class_names": rows.target.names,
        "sha256": _fingerprint(rows),
    }


def _check_same(found: Data, launched: Mapping[str, Any]) -> None:
    now = recorded(found.facts, found.sha256)
    differing = [key for key in now if launched.get(key, now[key]) != now[key]]
    if differing:
        key = differing[0]
        how = "other values" if key == "sha256" else f"{key} {launched[key]} then, {now[key]} now"
        raise BadInput(
            f"data.source: not the rows that the study was launched with ({how}); bring those back, or begin a new study"
        )


def order(rows: int, seed: int, epoch: int) -> NDArray[np.int32]:
    """The permutation of `range(rows)` in which an epoch (from 1) visits its rows; the same on every machine."""
    return _permutation(rows, seed, epoch)


def class_weights(split: Split, classes: int) -> NDArray[np.float32]:
    """Weights [C] under which every class counts alike: rows / (classes * rows of the class)."""
    counts = np.bincount(split.y, minlength=classes)
    return (len(split.y) / (classes * counts)).astype(np.float32)


def training_rows(rows: int, spec: DataSpec) -> int:
    """How many of `rows` are left to train on: all but the rounded shares of validation and test, half rounded up."""
    return rows - _share(rows, spec.validation) - _share(rows, spec.test)


# Where the rows come from ---------------------------------------------------------------------------------------------


def _open(spec: DataSpec, roots: Sequence[Path]) -> Source:
    path = _path(spec.source, roots)
    if path is not None:
        source = _open_path(path, spec, roots)
    elif spec.target or spec.weight:
        raise _no_columns(spec)
    else:
        source = known.opened(spec.source, spec.task)
    _check_shares(source.facts, spec)
    return source


def _path(source: str, roots: Sequence[Path]) -> Path | None:
    """Where a source lies; None for a known data set, unless it would be downloaded and a data folder has it as IDX files."""
    if source not in known.KNOWN:
        return find(source, roots, list(known.KNOWN))
    folders = [(root / source).absolute() for root in roots if known.KNOWN[source].downloaded]
    for path in (find(str(folder), roots) for folder in folders if folder.is_dir()):
        if idx.holds_idx(contents(path, roots).files):
            return path
    return None


def _open_path(path: Path, spec: DataSpec, roots: Sequence[Path]) -> Source:
    if path.is_dir():
        return _open_folder(path, spec, roots)
    if path.suffix.lower() == ".npz":
        return npz.opened(path, spec)
    if path.suffix.lower() in (".csv", ".parquet"):
        from tuner.data import table

        return table.opened(path, spec)
    raise BadInput(f"data.source: {short(path.name)} is none of .csv, .parquet, .npz, a folder of IDX files or of images")


def _open_folder(path: Path, spec: DataSpec, roots: Sequence[Path]) -> Source:
    if spec.target or spec.weight:
        raise _no_columns(spec)
    found = contents(path, roots)
    if idx.holds_idx(found.files):
        return idx.opened(found.files, spec.task)
    if not found.folders:
        raise BadInput(f"data.source: {short(str(path))} holds neither IDX files nor a folder of images for each class")
    from tuner.data import pictures

    return pictures.opened(found.folders, roots, spec.task)


def _no_columns(spec: DataSpec) -> BadInput:
    return BadInput(f"data.{'target' if spec.target else 'weight'}: {spec.source!r} has no columns to choose from")


@contextmanager
def _readable(spec: DataSpec) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput(f"data.source: {short(str(error.filename or spec.source))} cannot be read: {error.strerror}") from None


# Splits ---------------------------------------------------------------------------------------------------------------


def _share(rows: int, share: float) -> int:
    return math.floor(rows * share + 0.5)


def _check_shares(facts: Facts, spec: DataSpec) -> None:
    """Every split needs a row, and one of every class."""
    least, why = (facts.classes, f"each of {facts.classes} classes needs one") if facts.classes else (1, "one is needed")
    for key, share in (("validation", spec.validation), ("test", spec.test)):
        if (rows := _share(facts.rows, share)) < least:
            raise BadInput(f"data.{key}: {share:g} of {facts.rows} rows is {rows}; {why}")
    if (rows := training_rows(facts.rows, spec)) < least:
        raise BadInput(f"data.test: validation and test leave {rows} of {facts.rows} rows to train on; {why}")


def _split(rows: Rows, spec: DataSpec, seed: int) -> tuple[NDArray[np.int32], ...]:
    """Row numbers of the training, validation and test rows, each in random order, with equal shares of every class."""
    strata = rows.target.y if rows.target.names else np.zeros(len(rows.x), np.int32)
    counts = np.bincount(strata)
    test = _stratified(counts, _share(len(rows.x), spec.test), counts - 2)
    validation = _stratified(counts, _share(len(rows.x), spec.validation), counts - test - 1)
    per_class = np.stack([counts - validation - test, validation, test], axis=1)

    shuffled = _permutation(len(rows.x), seed, _SPLIT)
    by_class = shuffled[np.argsort(strata[shuffled], kind="stable")]
    part = np.empty(len(rows.x), np.int8)
    part[by_class] = np.repeat(np.tile([0, 1, 2], len(counts)), per_class.ravel())
    return tuple(shuffled[part[shuffled] == which] for which in range(3))


def _stratified(counts: Array, total: int, room: Array) -> Array:
    """`total` rows shared among classes in proportion to `counts`: at least 1, at most `room`, largest remainders first."""
    quota = counts * (total / counts.sum())
    taken: Array = np.clip(np.floor(quota).astype(np.int64), 1, room)
    while missing := total - int(taken.sum()):
        step = 1 if missing > 0 else -1
        free = taken < room if step > 0 else taken > 1
        wanted = np.argsort(np.where(free, step * (taken - quota), np.inf), kind="stable")
        taken[wanted[: min(abs(missing), int(free.sum()))]] += step
    return taken


def _part(rows: Rows, name: str, at: NDArray[np.int32]) -> Split:
    return Split(rows.x[at], rows.target.y[at], None if rows.weight is None else _mean_one(rows.weight[at], name))


def _mean_one(weight: Array, name: str) -> NDArray[np.float32]:
    if not weight.any():
        raise _weightless(name, len(weight))
    mean_one: NDArray[np.float32] = (weight / weight.mean(dtype=np.float64)).astype(np.float32)
    return mean_one


def _weightless(name: str, rows: int) -> BadInput:
    return BadInput(f"data.weight: all {rows} {name} rows have weight 0; another seed or larger shares may help")


def _permutation(rows: int, seed: int, stream: int) -> NDArray[np.int32]:
    """Sorts raw Philox words: NumPy promises to keep those, but not how a `Generator` shuffles."""
    words = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(stream,))).random_raw(rows)
    return np.argsort(words, kind="stable").astype(np.int32)


def _fingerprint(rows: Rows) -> str:
    digest = hashlib.sha256()
    for values in (rows.x, rows.target.y, rows.weight):
        if values is not None:
            digest.update(f"{values.dtype.str}{values.shape}".encode())
            digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


# Normalisation --------------------------------------------------------------------------------------------------------


def _normalisation(x: Array, peak: float | None, how: str | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Offset and scale [F] for training rows `x`, by what `normalise` says.

    "unit" divides pixels by their largest possible value and brings other numbers to 0..1; "standard": mean 0, variance 1.
    """
    zero, one = np.zeros(x.shape[-1], np.float32), np.ones(x.shape[-1], np.float32)
    how = how or ("standard" if peak is None else "unit")
    if how == "none":
        return zero, one
    if how == "unit" and peak is not None:
        return zero, one / np.float32(peak)
    flat = x.reshape(-1, x.shape[-1])
    offset, spread = _moments(flat) if how == "standard" else _range(flat)
    varies = spread > np.finfo(np.float32).tiny
    return offset.astype(np.float32), np.divide(1, spread, out=np.ones_like(spread), where=varies).astype(np.float32)


def _range(flat: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smallest value and distance to the largest [F] of `flat` [N, F]."""
    low, high = flat.min(axis=0).astype(np.float64), flat.max(axis=0).astype(np.float64)
    return low, high - low


def _target_normalisation(y: NDArray[np.float32]) -> tuple[float, float]:
    offset, scale = _normalisation(y[:, None], None, "standard")
    return float(offset[0]), 1 / float(scale[0])


def _moments(flat: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation [F] of `flat` [N, F] in float64, without a float64 copy of it."""
    mean = flat.mean(axis=0, dtype=np.float64)
    squares = np.zeros_like(mean)
    for start in range(0, len(flat), _BLOCK):
        squares += np.square(flat[start : start + _BLOCK] - mean).sum(axis=0)
    return mean, np.sqrt(squares / len(flat))
