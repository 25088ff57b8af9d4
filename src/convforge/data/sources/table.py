"""A table of file names: CSV or Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from convforge.errors import InputError

CSV, PARQUET = (".csv",), (".parquet", ".pq")


def read_rows(path: Path, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The rows of a table, a few at a time in memory.

    Args:
        path: a .csv with a header line, in UTF-8, or a .parquet.
        columns: the columns to read, and the config keys that ask for them.

    Raises:
        InputError: it is no such table, or a column is not there.
    """
    if not path.is_file():
        raise InputError(f"data.path={path} is not there, or is no file")
    kind = path.suffix.lower()
    if kind in CSV:
        return _csv_rows(path, columns)
    if kind in PARQUET:
        return _parquet_rows(path, columns)
    raise InputError(f"data.path={path} is not a .csv or .parquet")


def _csv_rows(path: Path, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    try:
        # What spreadsheets write before the first column's name would become a part of it.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            _refuse_missing(path, columns, reader.fieldnames or [])
            for row in reader:
                yield {name: row[name] for name in columns}
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"data.path={path} is not a readable CSV in UTF-8: {error}") from error


def _parquet_rows(path: Path, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            _refuse_missing(path, columns, file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=4096, columns=list(columns)):
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise InputError(f"data.path={path} is not a readable Parquet file: {error}") from error


def _refuse_missing(path: Path, columns: Mapping[str, str], there: Sequence[str]) -> None:
    for name, key in columns.items():
        if name not in there:
            raise InputError(f"data.{key}={name!r} is no column of {path}: {', '.join(there)}")
