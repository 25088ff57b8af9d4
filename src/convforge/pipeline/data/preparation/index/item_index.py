"""What a source holds, item by item, in a database on disk.

Sorting, counting and joining happen there, so that memory stays flat whatever the number of
images, and a stopped run finds again what it knew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from convforge.pipeline.data.preparation.index.database import Database
from convforge.pipeline.data.preparation.index.folder_queries import FolderQueries
from convforge.pipeline.data.preparation.index.inspection_queries import InspectionQueries
from convforge.pipeline.data.preparation.index.items import Entry, ItemCounts
from convforge.pipeline.data.preparation.index.quality_queries import QualityQueries
from convforge.pipeline.data.preparation.index.shard_queries import ShardQueries
from convforge.pipeline.data.preparation.index.split_queries import SplitQueries
from convforge.pipeline.data.preparation.index.table_queries import TableQueries

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


class Index:
    """The database at `path`, made if it is not there.

    What one step of the preparation asks stands in the class that is named after it.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA)
        self.folders = FolderQueries(self._database)
        self.table = TableQueries(self._database)
        self.inspection = InspectionQueries(self._database)
        self.splits = SplitQueries(self._database)
        self.quality = QualityQueries(self._database)
        self.shards = ShardQueries(self._database)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def transaction(self) -> AbstractContextManager[None]:
        """All that is written inside, or nothing of it."""
        return self._database.transaction()

    def set_fact(self, key: str, value: Any) -> None:
        """Remember one value of the whole."""
        self._database.run("INSERT OR REPLACE INTO facts VALUES (?, ?)", key, value)

    def fact(self, key: str) -> Any:
        """A value that `set_fact` remembered, or None."""
        found = self._database.column("SELECT value FROM facts WHERE key = ?", key)
        return found[0] if found else None

    def add_remark(self, text: str) -> None:
        """Note something about the data as a whole that a person should know."""
        self._database.run("INSERT INTO findings VALUES (?)", text)

    def remarks(self) -> list[str]:
        """What was noted."""
        return self._database.column("SELECT text FROM findings ORDER BY rowid")

    def pass_over(self, reason: str, files: int = 1) -> None:
        """Count files that are no items."""
        self._database.run(
            "INSERT INTO passed_over VALUES (?1, ?2) ON CONFLICT DO UPDATE SET files = files + ?2",
            reason,
            files,
        )

    def passed_over(self) -> dict[str, int]:
        """How many files were passed over, by reason."""
        return dict(self._database.all("SELECT reason, files FROM passed_over ORDER BY reason"))

    def add(self, entries: Iterable[Entry]) -> None:
        """Enter items, in the order of the source."""
        self._database.run_many(
            "INSERT INTO items (name, folder, size, place, given, label, targets, problem) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            map(_row, entries),
        )

    def first_names(self, most: int) -> list[str]:
        """The names of up to `most` items."""
        return self._database.column("SELECT name FROM items LIMIT ?", most)

    def name_of(self, item: int) -> str:
        """The name of the item of that id."""
        return str(self._database.one("SELECT name FROM items WHERE id = ?", item))

    def count(self) -> int:
        """How many items there are, bad ones included."""
        return int(self._database.one("SELECT COUNT(*) FROM items"))

    def counts(self) -> ItemCounts:
        """How many items there are, and how many of them are not used."""
        rows = self._database.all(
            "SELECT COUNT(*), COUNT(problem), "
            "COUNT(CASE WHEN problem IS NULL AND split IS NULL THEN 1 END) FROM items"
        )
        return ItemCounts._make(rows[0])

    def total_bytes(self) -> int:
        """Of the contents of all items."""
        return int(self._database.one("SELECT COALESCE(SUM(size), 0) FROM items"))

    def labels(self) -> list[str]:
        """Every class that a good item has."""
        return self._database.column("SELECT DISTINCT label FROM items WHERE problem IS NULL")

    def rename_label(self, old: str, new: str) -> None:
        """Call a class otherwise."""
        self._database.run("UPDATE items SET label = ? WHERE label = ?", new, old)

    def bad_items(self) -> Iterator[tuple[str, str]]:
        """Name and problem of each item that is left out, in the order of the source."""
        return self._database.each(
            "SELECT name, problem FROM items WHERE problem IS NOT NULL ORDER BY id"
        )

    def set_problems(self, problems: Iterable[tuple[int, str]]) -> None:
        """Leave items out: the id of each, and why."""
        self._database.run_many(
            "UPDATE items SET problem = ?2 WHERE id = ?1",
            problems,
        )

    def range_of_sides(self, side: Literal["height", "width"]) -> tuple[int, float, int]:
        """The least, the mean and the greatest height or width of the good items."""
        least, mean, most = self._database.all(
            f"SELECT MIN({side}), AVG({side}), MAX({side}) FROM items WHERE problem IS NULL"
        )[0]
        return least, mean, most


def _row(entry: Entry) -> Sequence[Any]:
    folder, _, _ = entry.name.rpartition("/")
    # The database holds 63 bits; what is as large as that is reported as too large.
    size = min(entry.size, 1 << 62)
    targets = None if entry.targets is None else np.array(entry.targets, np.float64).tobytes()
    return (
        entry.name,
        folder,
        size,
        entry.locator,
        entry.given,
        entry.label,
        targets,
        entry.problem,
    )
