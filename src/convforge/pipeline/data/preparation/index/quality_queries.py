"""What the report on the data's quality asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from convforge.pipeline.data.preparation.index.database import Database
from convforge.pipeline.data.preparation.index.split_queries import VALIDATION_IN_TEST

# Training images that are held out as well and were not dropped for it.
_KEPT_TWINS = "FROM items WHERE twin IS NOT NULL AND split IS NOT NULL AND problem IS NULL"


class QualityQueries:
    """Copies, classes that cannot be learned, and names that do not fit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def labels_of_one_item(self) -> list[str]:
        """The classes of a single image."""
        return self._database.column(
            "SELECT label FROM items WHERE split IS NOT NULL GROUP BY label HAVING COUNT(*) = 1 "
            "ORDER BY label"
        )

    def labels_not_in_train(self, split: str) -> list[str]:
        """The classes of `split` that no training image has."""
        return self._database.column(
            "SELECT DISTINCT label FROM items AS held WHERE split = ? AND NOT EXISTS (SELECT 1 "
            "FROM items WHERE split = 'train' AND label = held.label) ORDER BY label",
            split,
        )

    def twins(self) -> Iterator[tuple[str, str]]:
        """Every good item that has a twin in another split, with its name."""
        return self._database.each(
            "SELECT name, twin FROM items WHERE twin IS NOT NULL AND problem IS NULL ORDER BY id"
        )

    def count_kept_twins(self) -> int:
        """How many training images are held out as well."""
        return int(self._database.one(f"SELECT COUNT(*) {_KEPT_TWINS}"))

    def kept_twins(self, most: int) -> list[tuple[str, str]]:
        """Up to `most` training images that are held out as well, with their twins."""
        return self._database.all(f"SELECT name, twin {_KEPT_TWINS} ORDER BY id LIMIT ?", most)

    def validation_in_test(self) -> list[tuple[str, str]]:
        """Every validation image that is a test image as well, with its twin."""
        return self._database.all(VALIDATION_IN_TEST)

    def in_several_classes(self) -> list[tuple[str, str]]:
        """Two names of each image that stands in more than one class."""
        return self._database.all(
            "SELECT MIN(name), MAX(name) FROM items WHERE problem IS NULL GROUP BY hash "
            "HAVING COUNT(DISTINCT label) > 1 ORDER BY MIN(name)"
        )

    def count_copies_within_splits(self) -> int:
        """How many images are copies of another in their split."""
        return int(
            self._database.one(
                "SELECT COALESCE(SUM(copies - 1), 0) FROM (SELECT COUNT(*) AS copies FROM items "
                "WHERE split IS NOT NULL GROUP BY hash, split)"
            )
        )

    def count_named(self, kind: str, endings: Sequence[str]) -> int:
        """How many good items of the format `kind` have a name that ends in one of `endings`."""
        query = f"SELECT COUNT(*) {_named(endings)}"
        return int(self._database.one(query, kind, *endings))

    def first_named(self, kind: str, endings: Sequence[str]) -> str:
        """The first of those that `count_named` counts."""
        query = f"SELECT name {_named(endings)} ORDER BY id LIMIT 1"
        return str(self._database.one(query, kind, *endings))


def _named(endings: Sequence[str]) -> str:
    clause = " OR ".join("lower(name) LIKE '%' || ?" for _ in endings)
    return f"FROM items WHERE format = ? AND problem IS NULL AND ({clause})"
