"""SQLite for the modules of this room, which alone write SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Database:
    """The database at `path`, made with the tables of `schema` if it is not there."""

    def __init__(self, path: Path, schema: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        # A killed process leaves what it has committed; a power cut may cost the whole index,
        # which is then made again.
        self._connection.execute("PRAGMA synchronous = OFF")
        if not self.all("SELECT 1 FROM sqlite_master"):
            self._connection.executescript(f"BEGIN; {schema} COMMIT;")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside, or nothing of it."""
        self._connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def run(self, statement: str, *values: Any) -> int:
        """Execute one statement; the number of rows that it changed."""
        return self._connection.execute(statement, values).rowcount

    def run_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute one statement for each of `rows`."""
        self._connection.executemany(statement, rows)

    def all(self, statement: str, *values: Any) -> list[Any]:
        """All rows of a query, for those that are few."""
        return self._connection.execute(statement, values).fetchall()

    def column(self, statement: str, *values: Any) -> list[Any]:
        """The values of a query of one column, for those that are few."""
        return [value for (value,) in self.all(statement, *values)]

    def each(self, statement: str, *values: Any) -> Iterator[Any]:
        """The rows of a query one by one."""
        return iter(self._connection.execute(statement, values))

    def one(self, statement: str, *values: Any) -> Any:
        """The one value of a query."""
        return self._connection.execute(statement, values).fetchone()[0]
