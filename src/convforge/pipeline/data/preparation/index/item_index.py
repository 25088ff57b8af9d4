"""What a source holds, item by item, in a database on disk.

Sorting, counting and joining happen there, so that memory stays flat whatever the number of
images, and a stopped run finds again what it knew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_SCHEMA = """
CREATE TABLE facts (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE folders (name TEXT);
CREATE TABLE findings (text TEXT);
CREATE TABLE passed_over (reason TEXT PRIMARY KEY, files INTEGER) WITHOUT ROWID;
CREATE TABLE items (
    id INTEGER PRIMARY KEY,  -- in the order of the source
    name TEXT NOT NULL,
    folder TEXT NOT NULL,    -- the part of the name before its last slash
    size INTEGER NOT NULL,   -- of the content in bytes
    place BLOB NOT NULL,
    given TEXT,              -- the split that the source says
    label TEXT,              -- its class; of an item with targets the empty text
    targets BLOB,            -- float64
    problem TEXT,            -- why it is left out
    hash BLOB,               -- BLAKE2b of the content
    format TEXT, height INTEGER, width INTEGER,
    split TEXT,              -- where it goes
    twin TEXT,               -- the same image in a split that keeps it
    position INTEGER         -- within its split
);
"""


class Entry(NamedTuple):
    """One item as its source enters it."""

    name: str
    size: int = 0
    place: bytes = b""
    given: str | None = None
    label: str | None = None
    targets: tuple[float, ...] | None = None
    problem: str | None = None


class Stored(NamedTuple):
    """What is needed to read one item."""

    id: int
    size: int
    place: bytes


class Facts(NamedTuple):
    """What reading an item told of it: all that is known, or the problem."""

    id: int
    hash: bytes | None = None
    format: str | None = None
    height: int | None = None
    width: int | None = None
    problem: str | None = None


class Index:
    """The database at `path`, made if it is not there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = sqlite3.connect(path, isolation_level=None)
        # A killed process leaves what it has committed; a power cut may cost the whole index,
        # which is then made again.
        self._database.execute("PRAGMA synchronous = OFF")
        if not self.all("SELECT 1 FROM sqlite_master"):
            self._database.executescript(f"BEGIN; {_SCHEMA} COMMIT;")

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside, or nothing of it."""
        self._database.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def run(self, statement: str, *values: Any) -> int:
        """Execute one statement; the number of rows that it changed."""
        return self._database.execute(statement, values).rowcount

    def run_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute one statement for each of `rows`."""
        self._database.executemany(statement, rows)

    def all(self, statement: str, *values: Any) -> list[Any]:
        """All rows of a query, for those that are few."""
        return self._database.execute(statement, values).fetchall()

    def each(self, statement: str, *values: Any) -> Iterator[Any]:
        """The rows of a query one by one."""
        return iter(self._database.execute(statement, values))

    def one(self, statement: str, *values: Any) -> Any:
        """The one value of a query."""
        return self._database.execute(statement, values).fetchone()[0]

    def set_fact(self, key: str, value: Any) -> None:
        """Remember one value of the whole."""
        self.run("INSERT OR REPLACE INTO facts VALUES (?, ?)", key, value)

    def fact(self, key: str) -> Any:
        """A value that `set_fact` remembered, or None."""
        found = self.all("SELECT value FROM facts WHERE key = ?", key)
        return found[0][0] if found else None

    def find(self, text: str) -> None:
        """Note something about the data as a whole that a person should know."""
        self.run("INSERT INTO findings VALUES (?)", text)

    def findings(self) -> list[str]:
        """What was noted."""
        return [text for (text,) in self.all("SELECT text FROM findings ORDER BY rowid")]

    def pass_over(self, reason: str, files: int = 1) -> None:
        """Count files that are no items."""
        self.run(
            "INSERT INTO passed_over VALUES (?1, ?2) ON CONFLICT DO UPDATE SET files = files + ?2",
            reason,
            files,
        )

    def add(self, entries: Iterable[Entry]) -> None:
        """Enter items, in the order of the source."""
        self.run_many(
            "INSERT INTO items (name, folder, size, place, given, label, targets, problem) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            map(_row, entries),
        )


def _row(entry: Entry) -> tuple[Any, ...]:
    folder, _, _ = entry.name.rpartition("/")
    # The database holds 63 bits; what is as large as that is reported as too large.
    size = min(entry.size, 1 << 62)
    targets = None if entry.targets is None else np.array(entry.targets, np.float64).tobytes()
    return (
        entry.name,
        folder,
        size,
        entry.place,
        entry.given,
        entry.label,
        targets,
        entry.problem,
    )
