"""Which item is in which split, and in which order."""

from __future__ import annotations

from typing import NamedTuple

from convforge.pipeline.data.preparation.index.database import Database

# What a split that the data lack may be taken out of.
_TAKEABLE = "split = 'train' AND twin IS NULL"
#: Images of the validation split that are test images too, each with its twin.
VALIDATION_IN_TEST = (
    "SELECT one.split || '/' || one.name, other.split || '/' || other.name FROM items AS one "
    "JOIN items AS other ON other.hash = one.hash "
    "WHERE one.split = 'validation' AND other.split = 'test'"
)


class HashPart(NamedTuple):
    """Some bytes of each item's hash, a number of its own."""

    first: int
    """The first of them, counted from one as SQL does."""
    length: int


class SplitQueries:
    """The items by their splits."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def some_lack_one(self) -> bool:
        """Whether the source says a split of some good items and of others none."""
        kinds = "SELECT COUNT(DISTINCT given IS NULL) FROM items WHERE problem IS NULL"
        return bool(self._database.one(kinds) > 1)

    def name_of_one_without(self) -> str:
        """A good item of which the source says no split."""
        return str(
            self._database.one(
                "SELECT name FROM items WHERE problem IS NULL AND given IS NULL LIMIT 1"
            )
        )

    def start_from_given(self) -> None:
        """Put every good item where its source says, or else into train."""
        self._database.run(
            "UPDATE items SET split = COALESCE(given, 'train') WHERE problem IS NULL"
        )
        self._database.run("CREATE INDEX items_by_label ON items (split, label)")
        self._database.run("CREATE INDEX items_by_hash ON items (hash)")

    def has_items(self, split: str) -> bool:
        """Whether anything is in `split`."""
        return bool(self._database.all("SELECT 1 FROM items WHERE split = ? LIMIT 1", split))

    def count(self, split: str) -> int:
        """How many items are in `split`, those included that proved bad since."""
        return int(self._database.one("SELECT COUNT(*) FROM items WHERE split = ?", split))

    def find_twins(self) -> None:
        """Note, for each training image that is also in a split held out, its twin there."""
        twins = "FROM items AS twin WHERE twin.hash = items.hash AND twin.split <> 'train'"
        self._database.run(
            f"UPDATE items SET twin = (SELECT twin.split || '/' || twin.name {twins} "
            f"ORDER BY twin.id LIMIT 1) WHERE {_TAKEABLE} AND EXISTS (SELECT 1 {twins})"
        )

    def drop_twins(self) -> None:
        """Take the training images that have a twin out of training."""
        self._database.run("UPDATE items SET split = NULL WHERE twin IS NOT NULL")

    def in_two_splits(self) -> list[tuple[str, str]]:
        """Every image that stands in two splits, with its twin in the other."""
        return self._database.all(
            "SELECT split || '/' || name, twin FROM items WHERE twin IS NOT NULL UNION ALL "
            f"{VALIDATION_IN_TEST}"
        )

    def count_takeable_by_label(self) -> dict[str, int]:
        """How many training images of each class may be held out."""
        return dict(
            self._database.all(
                f"SELECT label, COUNT(*) FROM items WHERE {_TAKEABLE} GROUP BY label ORDER BY label"
            )
        )

    def hold_out_below(self, split: str, number: HashPart, threshold: bytes) -> None:
        """Take for `split` the training images of a number below `threshold`."""
        self._database.run(
            f"UPDATE items SET split = ? WHERE {_TAKEABLE} AND substr(hash, ?, ?) < ?",
            *(split, *number, threshold),
        )

    def hold_out_first(self, split: str, number: HashPart, label: str, count: int) -> None:
        """Take for `split` the `count` training images of a class that have the least numbers."""
        self._database.run(
            f"UPDATE items SET split = ? WHERE id IN (SELECT id FROM items WHERE {_TAKEABLE} "
            "AND label = ? ORDER BY substr(hash, ?, ?), name, id LIMIT ?)",
            *(split, label, *number, count),
        )

    def order_by(self, number: HashPart) -> None:
        """Give every item its position in its split."""
        self._database.run(
            "UPDATE items SET position = rank FROM (SELECT id AS item, ROW_NUMBER() OVER ("
            "PARTITION BY split ORDER BY substr(hash, ?, ?), name, id) - 1 AS rank "
            "FROM items WHERE split IS NOT NULL) WHERE id = item",
            *number,
        )
        self._database.run("CREATE INDEX items_by_position ON items (split, position)")
