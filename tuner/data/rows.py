"""What every reader hands back, and what holds for rows wherever they come from.

Shapes: N rows, C classes. Rows are counted from 1 in messages, the header line of a CSV file not among them.
"""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tuner.errors import BadInput

MAX_BYTES = 8 * 2**30  # of a source, uncompressed
SMALL_BYTES = 16 * 2**20  # sources up to here are read before a study exists, so that it hears of bad rows at once
MIN_ROWS = 10
MIN_PER_CLASS = 3  # one for each split
MAX_CLASSES_UNASKED = 100
MIN_STEPS = 16  # of 32-bit numbers in the range of a feature or target
NOISE = 1e-12  # relative, of sums in float64

Array = NDArray[Any]
Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Facts:
    """What networks need to know of a source: rows, the shape of one row's input, and C (None: regression)."""

    rows: int
    input_shape: tuple[int, ...]
    classes: int | None

    @property
    def outputs(self) -> int:
        """How many numbers a network gives for a row."""
        return self.classes or 1

    @property
    def task(self) -> Task:
        """What is learned."""
        return "regression" if self.classes is None else "classification"


@dataclass(frozen=True)
class Target:
    """What is to be predicted: `y` [N] is int32 indices into `names`, or float32 numbers when there are no names."""

    y: Array
    names: tuple[str, ...] = ()

    @property
    def classes(self) -> int | None:
        """How many classes there are; None for regression."""
        return len(self.names) or None


@dataclass(frozen=True)
class Rows:
    """All rows of a source, finite: `x` [N, ...] uint8 or float32, `weight` [N] float32.

    `peak` is the largest value a pixel can have; None when `x` holds no pixels.
    """

    x: Array
    target: Target
    weight: Array | None = None
    peak: float | None = None

    @property
    def facts(self) -> Facts:
        """The facts of these rows."""
        return Facts(len(self.x), self.x.shape[1:], self.target.classes)


@dataclass(frozen=True)
class Source:
    """A source whose headers and targets are known to be good; `read` checks the rest, which is little when `small`."""

    facts: Facts
    read: Callable[[], Rows]
    small: bool


def check_size(size: int) -> None:
    """Refuse a source of more than `MAX_BYTES`."""
    if size > MAX_BYTES:
        raise BadInput(f"data.source: {size / 2**30:.1f} GiB of values; at most {MAX_BYTES / 2**30:g} GiB are read")


def finite(values: Array, what: str) -> NDArray[np.float32]:
    """`values` [N, ...] as float32.

    `what` begins the line that says which row holds NaN, infinity or too large a number, or that numbers become one.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = values.astype(np.float32)
    bad = ~np.isfinite(numbers)
    if bad.any():
        at = int(np.argmax(bad))
        row = at // int(np.prod(values.shape[1:])) + 1
        raise BadInput(f"{what}, row {row}: {values.reshape(-1)[at]} is not a finite 32-bit number")
    if len(values) and values.dtype != np.float32:
        _check_steps(values.reshape(len(values), -1), numbers.reshape(len(values), -1), what)
    return numbers


def weights(values: Array, what: str) -> NDArray[np.float32]:
    """Row weights [N]: finite, none below 0, not all 0."""
    if values.dtype.kind not in "iuf":
        raise BadInput(f"data.weight: {what} does not hold numbers")
    weight = finite(values, f"data.weight: {what}")
    if (weight < 0).any():
        row = int(np.argmax(weight < 0)) + 1
        raise BadInput(f"data.weight: {what}, row {row}: {values[row - 1]} is below 0")
    if not weight.any():
        raise BadInput(f"data.weight: {what} is 0 in every row")
    return weight


def numbers_or_classes(values: Array, task: Task | None, what: str) -> Target:
    """The target that `values` [N] of whole numbers or fractions stand for; `what` names their column or array."""
    check_rows(len(values))
    if values.dtype.kind == "f":
        numbers = finite(values, f"data.target: {what}")
        if task != "classification":
            return _varied(numbers, what)
        if (fractions := values % 1 != 0).any():
            row = int(np.argmax(fractions)) + 1
            raise BadInput(f"data.task: {what}, row {row}: {values[row - 1]} is no class; classes are whole numbers")
    elif task == "regression":
        return _varied(finite(values, f"data.target: {what}"), what)
    distinct, codes = np.unique(values, return_inverse=True)
    if task is None and len(distinct) > min(MAX_CLASSES_UNASKED, len(values) / 2):
        raise BadInput(f'data.task: {what} has {len(distinct)} distinct whole numbers; say "classification" or "regression"')
    return classes(codes, [str(int(value)) for value in distinct], task, what)


def classes(codes: Array, names: Iterable[str], task: Task | None, what: str) -> Target:
    """The target of `codes` [N] into the sorted `names`; every class must have rows enough for three splits."""
    check_rows(len(codes))
    target = Target(codes.astype(np.int32), tuple(names))
    if task == "regression":
        raise BadInput(f"data.task: {what} holds the names of classes; regression needs numbers")
    counts = np.bincount(target.y, minlength=len(target.names))
    if len(counts) < 2:
        raise BadInput(f"data.target: {what} has a single class, {short(target.names[0])}; at least 2 are needed")
    few = int(np.argmin(counts))
    if counts[few] < MIN_PER_CLASS:
        name = short(target.names[few])
        raise BadInput(f"data.target: {what}: class {name} has {counts[few]} rows; each needs at least {MIN_PER_CLASS}")
    return target


def check_rows(rows: int) -> None:
    """Refuse a source that is empty or has too few rows."""
    if rows < MIN_ROWS:
        raise BadInput(f"data.source: {rows} rows; at least {MIN_ROWS} are needed")


def short(text: str) -> str:
    """`text` from a file as it may stand in a line of output: quoted, control characters escaped, cut."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


def reason(error: Exception) -> str:
    """What a library says, as the end of a line of output."""
    return "".join(char for char in " ".join(str(error).split()) if char.isprintable())[:200]


def nearest(word: str, words: Iterable[str]) -> str:
    """The end of a line that refuses `word`: the nearest of `words`, or the first ten."""
    known = list(words)
    if near := difflib.get_close_matches(word, known, n=1):
        return f"; did you mean {short(near[0])}?"
    more = ", ..." if len(known) > 10 else ""
    return f"; there are {', '.join(short(name) for name in known[:10])}{more}" if known else ""


def _check_steps(values: Array, numbers: NDArray[np.float32], what: str) -> None:
    """Refuse features [N, F] whose range is so small beside their size that as 32-bit `numbers` little is left of it.

    A float64 that was meant to be constant varies in its last digits and passes: nothing is lost.
    """
    low, high = values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
    spread, size = high - low, np.maximum(np.abs(low), np.abs(high))
    step = np.spacing(size.astype(np.float32)).astype(np.float64)
    for f in np.flatnonzero((spread > NOISE * size) & (spread < MIN_STEPS * step)):
        if np.abs(numbers[:, f].astype(np.float64) - values[:, f]).max() > spread[f] / (2 * MIN_STEPS):
            near = f"values from {low[f]:.17g} to {high[f]:.17g}, where 32-bit numbers are {step[f]:g} apart"
            raise BadInput(f"{what}: {near}; subtract the smallest")


def _varied(numbers: NDArray[np.float32], what: str) -> Target:
    if numbers.min() == numbers.max():
        raise BadInput(f"data.target: {what} has the same value in every row, {numbers[0]:g}")
    return Target(numbers)
