"""Which items are still to be looked at, and what was seen of them."""

from __future__ import annotations

from collections.abc import Iterable

from convforge.pipeline.data.preparation.index.database import Database
from convforge.pipeline.data.preparation.index.items import InspectedItem, Stored

_LEFT = "hash IS NULL AND problem IS NULL"


class InspectionQueries:
    """The items by whether they were inspected, and by what that told."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def refuse_larger_contents(self, most: int) -> None:
        """Leave out the items of more than `most` bytes."""
        self._database.run(
            "UPDATE items SET problem = size || ' bytes, more than an image of "
            "data.max_pixels can have' WHERE size > ? AND problem IS NULL",
            most,
        )

    def count_left(self) -> int:
        """How many items are still to be inspected."""
        return int(self._database.one(f"SELECT COUNT(*) FROM items WHERE {_LEFT}"))

    def left_after(self, item: int, most: int) -> list[Stored]:
        """Up to `most` items that are still to be inspected, of ids above `item`."""
        rows = self._database.all(
            f"SELECT id, size, place FROM items WHERE id > ? AND {_LEFT} ORDER BY id LIMIT ?",
            *(item, most),
        )
        return [Stored(*row) for row in rows]

    def enter(self, items: Iterable[InspectedItem]) -> None:
        """Remember what was seen."""
        self._database.run_many(
            "UPDATE items SET hash = ?, format = ?, height = ?, width = ?, problem = ? "
            "WHERE id = ?",
            ((*item[1:], item.id) for item in items),
        )

    def first_image_size(self) -> tuple[int, int] | None:
        """Height and width of the first good item, or None if there is none."""
        sizes = self._database.all(
            "SELECT height, width FROM items WHERE problem IS NULL ORDER BY id LIMIT 1"
        )
        return sizes[0] if sizes else None

    def refuse_other_image_sizes(self, height: int, width: int) -> None:
        """Leave out the images of another height or width."""
        self._database.run(
            "UPDATE items SET problem = height || '×' || width || ' pixels, not ' || ? "
            "WHERE problem IS NULL AND (height <> ? OR width <> ?)",
            *(f"{height}×{width}", height, width),
        )
