"""A table of file names: CSV or Parquet, with a class column or columns of numbers."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from convforge.errors import BadItemError, InputError
from convforge.pipeline.data.preparation.containers import Container, Watch, leaves
from convforge.pipeline.data.preparation.index.item_index import Index
from convforge.pipeline.data.preparation.index.table_queries import ListedFile
from convforge.pipeline.data.preparation.sources.class_folders import SPLIT_NAMES
from convforge.pipeline.data.preparation.sources.files import enter_members, open_container
from convforge.pipeline.printable import printable
from convforge.pipeline.settings.data import TableData
from convforge.serving.decode import ImageFiles

NOT_LISTED = "not in the table"
_CSV, _PARQUET = (".csv",), (".parquet", ".pq")
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Table:
    """The files that a table lists."""

    settings: TableData
    path: Path
    contents: Container
    codec: ImageFiles = field(default_factory=ImageFiles)

    @classmethod
    def open(cls, settings: TableData, path: Path) -> Table:
        """The table at `path`, and the folder or archive of its files.

        Raises:
            InputError: one of them is not there, or is of no known kind.
        """
        if not path.is_file() or path.suffix.lower() not in (*_CSV, *_PARQUET):
            raise InputError(f"data.path={path} is not a .csv or .parquet file")
        files = path.parent / (settings.images or "")
        return cls(settings, path, open_container(files, follow_links=settings.follows_links))

    @property
    def paths(self) -> tuple[Path, ...]:
        """The table and the files."""
        return (self.path, self.contents.path)

    def scan(self, index: Index, watch: Watch) -> None:
        """Enter the listed files; those that are not listed are counted."""
        enter_members(self.contents, index, watch)
        index.table.enter(map(self._listed, self._rows()))
        unlisted = index.table.remove_unlisted()
        if unlisted:
            index.pass_over(NOT_LISTED, unlisted)
        if not index.count():
            first = index.table.first_name()
            example = ": it has no rows" if first is None else f"; the first is {first!r}"
            raise InputError(
                f"data.path={self.path} lists no file that is in {self.contents.path}, from where "
                f"its names count{example}"
            )
        index.table.join()

    def class_order(self, labels: Iterable[str]) -> list[str]:
        """By name."""
        return sorted(labels)

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        settings = self.settings
        columns = {settings.file_column: "file_column"}
        columns |= dict.fromkeys(settings.target_columns, "target_columns")
        if settings.class_column is not None:
            columns[settings.class_column] = "class_column"
        if settings.split_column is not None:
            columns[settings.split_column] = "split_column"
        return read_rows(self.path, columns)

    def _listed(self, row: Mapping[str, Any]) -> ListedFile:
        settings = self.settings
        name = str(row[settings.file_column] or "").replace("\\", "/").removeprefix("./")
        try:
            if leaves(name):
                raise BadItemError("its path leaves the folder")
            split = _split(row, settings.split_column) if settings.split_column else None
            label, targets = "", None
            if settings.class_column is not None:
                label = _class(row, settings.class_column)
            else:
                numbers = [_number(row, column) for column in settings.target_columns]
                targets = np.array(numbers, np.float64).tobytes()
        except BadItemError as error:
            return ListedFile(name, problem=str(error))
        return ListedFile(name, split, label, targets)


def _split(row: Mapping[str, Any], column: str) -> str:
    split = SPLIT_NAMES.get(str(row[column]).strip().lower())
    if split is None:
        raise BadItemError(f"{column}={row[column]!r} is not train, validation or test")
    return split


def _class(row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    # Parquet says a missing number as NaN.
    if value is None or value != value or not str(value).strip():
        raise BadItemError(f"{column} is empty")
    return printable(str(value).strip())


def _number(row: Mapping[str, Any], column: str) -> float:
    value = row[column]
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise BadItemError(f"{column}={value!r} is not a number") from None
    # What the shards hold is float32.
    if not math.isfinite(number) or abs(number) > float(np.finfo(np.float32).max):
        raise BadItemError(f"{column}={value!r} is not finite")
    return number


def read_rows(path: Path, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The rows of a table, a few at a time in memory.

    Args:
        path: a .csv with a header line, in UTF-8, or a .parquet.
        columns: the columns to read, and the config keys that ask for them.

    Raises:
        InputError: it is no such table, or a column is not there.
    """
    rows = _csv_rows if path.suffix.lower() in _CSV else _parquet_rows
    return rows(path, columns)


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
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(columns)):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"data.path={path} is not a readable Parquet file: {error}") from error


def _refuse_missing(path: Path, columns: Mapping[str, str], there: Sequence[str]) -> None:
    for name, key in columns.items():
        if name not in there:
            raise InputError(f"data.{key}={name!r} is no column of {path}{_described(there)}")


def _described(there: Sequence[str]) -> str:
    """The columns that are there, or why there is one only."""
    if not there:
        return ": it has no header line"
    for separator, called in ((";", "semicolons"), ("\t", "tabs")):
        parts = [part.strip() for part in there[0].split(separator)]
        if len(there) == 1 and len(parts) > 1:
            return f": its columns are separated by {called}, write commas instead"
    return f": {', '.join(there)}"
