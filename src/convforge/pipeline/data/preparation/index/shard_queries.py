"""What goes into the shards, in their order."""

from __future__ import annotations

from collections.abc import Iterator

from convforge.pipeline.data.preparation.index.database import Database
from convforge.pipeline.data.preparation.index.items import ShardRow

_WITHIN = "FROM items WHERE split = ? AND position >= ? AND position < ?"


class ShardQueries:
    """The items by their positions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self, split: str, start: int, stop: int) -> Iterator[ShardRow]:
        """The items of `split` from position `start` to before `stop`."""
        rows = self._database.each(
            f"SELECT id, size, place, label, targets, position {_WITHIN} ORDER BY position",
            *(split, start, stop),
        )
        return map(ShardRow._make, rows)

    def bytes_within(self, split: str, start: int, stop: int) -> int:
        """Of the contents of the items that `rows` gives."""
        return int(self._database.one(f"SELECT SUM(size) {_WITHIN}", split, start, stop))

    def bytes_of_all(self) -> int:
        """Of the contents of the items of all splits."""
        return int(self._database.one("SELECT SUM(size) FROM items WHERE split IS NOT NULL"))

    def contents(self, split: str) -> Iterator[tuple[bytes, str, bytes | None]]:
        """Hash, class and targets of each good item of `split`, in its order."""
        return self._database.each(
            "SELECT hash, label, targets FROM items WHERE split = ? AND problem IS NULL "
            "ORDER BY position",
            split,
        )

    def training_targets(self) -> Iterator[bytes]:
        """The targets of each good training item, in its order."""
        rows = self._database.each(
            "SELECT targets FROM items WHERE split = 'train' AND problem IS NULL ORDER BY position"
        )
        return (targets for (targets,) in rows)
