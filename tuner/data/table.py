"""CSV and Parquet files: one target column, perhaps one of weights, all others features.

Numbers become one feature each; texts, true/false and categories one feature per value, values sorted. Neither pandas nor
`pyarrow.scalar`, which loads it, is used: that would cost a second.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from tuner.data.rows import (
    Array,
    Rows,
    Source,
    Target,
    check_rows,
    check_size,
    classes,
    finite,
    nearest,
    numbers_or_classes,
    reason,
    short,
    weights,
)
from tuner.errors import BadInput
from tuner.spec import DataSpec

MAX_COLUMNS = 100_000
MAX_CATEGORIES = 1_000  # of one column
MAX_HEADER_BYTES = 16 * 2**20
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")  # what pandas adds to a Parquet file is no feature


@dataclass(frozen=True)
class _Categories:
    """A column of texts: `codes` [N] into the sorted `names`."""

    codes: Array
    names: tuple[str, ...]

    @property
    def width(self) -> int:
        return len(self.names)

    def write(self, x: Array) -> None:
        """Set the feature of each row's value; `x` [N, width] is zero."""
        x[np.arange(len(x)), self.codes] = 1


@dataclass(frozen=True)
class _Numbers:
    """A column of numbers, `values` [N]."""

    values: Array
    width: int = 1

    def write(self, x: Array) -> None:
        """Copy the numbers; `x` is [N, 1]."""
        x[:, 0] = self.values


def opened(path: Path, spec: DataSpec) -> Source:
    """A table, read whole: what its columns hold is not known before."""
    table = _csv(path) if path.suffix.lower() == ".csv" else _parquet(path)
    check_rows(table.num_rows)
    columns = {name: table.column(at) for at, name in enumerate(table.column_names) if not _PANDAS_INDEX.fullmatch(name)}
    rows = _rows(columns, spec)
    return Source(rows.facts, lambda: rows, small=True)


def _rows(columns: Mapping[str, Any], spec: DataSpec) -> Rows:
    if spec.target is None:
        raise BadInput(f"data.target: name the column to predict{nearest('', columns)}")
    for key, name in (("target", spec.target), ("weight", spec.weight)):
        if name is not None and name not in columns:
            raise BadInput(f"data.{key}: no column {short(name)}{nearest(name, columns)}")
    if spec.weight == spec.target:
        raise BadInput(f"data.weight: column {short(spec.target)} is the target")
    features = {name: column for name, column in columns.items() if name not in (spec.target, spec.weight)}
    if not features:
        raise BadInput("data.source: no column is left to learn from")
    target = _target(_column(spec.target, columns[spec.target], "data.target"), spec)
    weight = None if spec.weight is None else _weight(spec.weight, columns[spec.weight])
    return Rows(_features(features, len(target.y)), target, weight)


def _features(columns: Mapping[str, Any], rows: int) -> Array:
    parts = [_feature(name, column) for name, column in columns.items()]
    width = sum(part.width for part in parts)
    check_size(rows * width * 4)
    x = np.zeros((rows, width), np.float32)
    at = 0
    for part in parts:
        part.write(x[:, at : at + part.width])
        at += part.width
    return x


def _feature(name: str, column: Any) -> _Numbers | _Categories:
    values = _column(name, column, "data.source")
    if isinstance(values, _Numbers):
        return _Numbers(finite(values.values, f"data.source: column {short(name)}"))
    if values.width > MAX_CATEGORIES:
        raise BadInput(
            f"data.source: column {short(name)} has {values.width} different texts; at most {MAX_CATEGORIES} are told apart"
        )
    _refuse_stray_text(name, values)
    return values


def _refuse_stray_text(name: str, values: _Categories) -> None:
    """A column of many numbers and a few other marks, such as `?`, is a column of numbers with a fault."""
    other = [code for code, text in enumerate(values.names) if not _is_number(text)]
    if values.width > 20 and 0 < len(other) < values.width / 10:
        row = int(np.argmax(values.codes == other[0])) + 1
        raise BadInput(f"data.source: column {short(name)}, row {row}: {short(values.names[other[0]])} among numbers")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _target(values: _Numbers | _Categories, spec: DataSpec) -> Target:
    what = f"column {short(str(spec.target))}"
    if isinstance(values, _Numbers):
        return numbers_or_classes(values.values, spec.task, what)
    return classes(values.codes, values.names, spec.task, what)


def _weight(name: str, column: Any) -> Array:
    values = _column(name, column, "data.weight")
    if not isinstance(values, _Numbers):
        raise BadInput(f"data.weight: column {short(name)} does not hold numbers")
    return weights(values.values, f"column {short(name)}")


def _column(name: str, column: Any, key: str) -> _Numbers | _Categories:
    """The values of a column, none of them missing, as they are stored."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count:
        row = int(np.argmax(_numpy(column.is_null().cast(pa.uint8())))) + 1
        raise BadInput(f"{key}: column {short(name)}, row {row} is empty or not a number")
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _Numbers(_numpy(column))
    if pa.types.is_decimal(kind):
        return _Numbers(_numpy(column.cast(pa.float64())))
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _categories(name, column, key)
    raise BadInput(f"{key}: column {short(name)} holds {short(str(kind))}; numbers, texts and true/false can be read")


def _categories(name: str, column: Any, key: str) -> _Categories:
    encoded = column.dictionary_encode().unify_dictionaries()
    values = encoded.chunk(0).dictionary.to_pylist()
    codes = np.concatenate([np.from_dlpack(chunk.indices) for chunk in encoded.chunks])
    if "" in values:
        raise BadInput(f"{key}: column {short(name)}, row {int(np.argmax(codes == values.index(''))) + 1} is empty")
    ordered = sorted(range(len(values)), key=values.__getitem__)
    rank = np.empty(len(values), np.int32)
    rank[ordered] = np.arange(len(values))
    return _Categories(rank[codes], tuple(str(values[at]) for at in ordered))


def _numpy(column: Any) -> Array:
    return np.from_dlpack(column.combine_chunks())


def _csv(path: Path) -> Any:
    with path.open("rb") as file:
        header = file.readline(MAX_HEADER_BYTES)
    _check_columns(header.count(b",") + 1)
    if len(header) == MAX_HEADER_BYTES:
        raise BadInput(f"data.source: {short(path.name)} has a first line of more than {MAX_HEADER_BYTES // 2**20} MiB")
    check_size(path.stat().st_size)
    with _arrow_errors(path):
        table = csv.read_csv(pa.OSFile(str(path)), parse_options=csv.ParseOptions(newlines_in_values=True))
        _check_names(table.column_names)
    for field in table.schema:
        if pa.types.is_binary(field.type):  # what pyarrow makes of texts in another encoding
            raise BadInput(f"data.source: column {short(field.name)} is not UTF-8 text; save the file in this encoding")
    return table


def _parquet(path: Path) -> Any:
    with _arrow_errors(path), parquet.ParquetFile(path) as file:
        meta = file.metadata
        _check_columns(meta.num_columns)
        check_size(meta.num_rows * meta.num_columns * 4)
        check_size(sum(meta.row_group(at).total_byte_size for at in range(meta.num_row_groups)))
        _check_names(file.schema_arrow.names)
        table = file.read()
        table.validate(full=True)
    return table


def _check_columns(count: int) -> None:
    if count > MAX_COLUMNS:
        raise BadInput(f"data.source: {count} columns; at most {MAX_COLUMNS} are read")


def _check_names(names: list[str]) -> None:
    seen: set[str] = set()
    for at, name in enumerate(names, 1):
        if not name:
            raise BadInput(f"data.source: column {at} has no name; if it is a row number, write the file without it")
        if name in seen:
            raise BadInput(f"data.source: two columns are called {short(name)}")
        seen.add(name)


@contextmanager
def _arrow_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise BadInput(f"data.source: {short(path.name)} cannot be read: {reason(error)}") from None
