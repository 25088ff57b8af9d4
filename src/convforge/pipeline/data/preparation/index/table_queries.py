"""What a table says of the files that it lists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from convforge.pipeline.data.preparation.index.database import Database


class ListedFile(NamedTuple):
    """One row of a table of files."""

    name: str
    given: str | None = None
    label: str | None = None
    targets: bytes | None = None
    problem: str | None = None


class TableQueries:
    """A table of files, for as long as it is joined with the items."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def enter(self, rows: Iterable[ListedFile]) -> None:
        """Hold the table's rows until `join`."""
        self._database.run(
            "CREATE TEMP TABLE listed (name TEXT, given TEXT, label TEXT, targets BLOB, problem)"
        )
        self._database.run_many("INSERT INTO listed VALUES (?, ?, ?, ?, ?)", rows)
        self._database.run("CREATE INDEX listed_by_name ON listed (name)")
        self._database.run("CREATE INDEX items_by_name ON items (name)")

    def remove_unlisted(self) -> int:
        """Forget the items that the table does not list; how many they were."""
        return self._database.run("DELETE FROM items WHERE name NOT IN (SELECT name FROM listed)")

    def first_name(self) -> str | None:
        """A name that the table lists, or None if it has no rows."""
        names = self._database.column("SELECT name FROM listed LIMIT 1")
        return names[0] if names else None

    def join(self) -> None:
        """Give every item what the table says of it, and forget the table.

        A listed file that is not there becomes a bad item, and so does one that is listed twice
        unless both rows say the same.
        """
        self._database.run(
            "INSERT INTO items (name, folder, size, place, problem) SELECT name, '', 0, x'', "
            "COALESCE(MIN(problem), 'in the table, but not there') FROM listed "
            "WHERE name NOT IN (SELECT name FROM items) GROUP BY name"
        )
        self._database.run(
            "UPDATE items SET given = told.given, label = told.label, targets = told.targets, "
            "problem = COALESCE(items.problem, told.problem) FROM listed AS told "
            "WHERE told.name = items.name"
        )
        self._database.run(
            "UPDATE items SET problem = 'listed more than once, with different answers' "
            "WHERE problem IS NULL AND name IN (SELECT name FROM listed GROUP BY name HAVING COUNT("
            "DISTINCT quote(given) || quote(label) || quote(targets) || quote(problem)) > 1)"
        )
        self._database.run("DROP TABLE listed")
