"""What sources of image files ask of folders, and say of the items in them."""

from __future__ import annotations

from collections.abc import Iterable

from convforge.pipeline.data.preparation.index.database import Database


class FolderQueries:
    """Items by the folder that they lie in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def enter(self, names: Iterable[str]) -> None:
        """Remember folders themselves, which may hold nothing."""
        self._database.run_many("INSERT INTO folders VALUES (?)", ((name,) for name in names))

    def entered(self) -> list[str]:
        """The folders that `enter` remembered, by name."""
        return self._database.column("SELECT name FROM folders ORDER BY name")

    def make_findable(self) -> None:
        """Let the items of one folder be found without reading all."""
        self._database.run("CREATE INDEX items_by_folder ON items (folder)")

    def of_items(self) -> list[str]:
        """Every folder that an item lies in."""
        return self._database.column("SELECT DISTINCT folder FROM items")

    def of_good_items(self) -> list[str]:
        """Every folder that a good item lies in."""
        return self._database.column("SELECT DISTINCT folder FROM items WHERE problem IS NULL")

    def of_bad_items(self) -> list[str]:
        """Every folder that a bad item lies in."""
        return self._database.column("SELECT DISTINCT folder FROM items WHERE problem IS NOT NULL")

    def label_good_items(
        self, folder: str, *, split: str | None, label: str | None, problem: str | None
    ) -> None:
        """Give the good items of `folder` a split and a class, or a problem."""
        self._database.run(
            "UPDATE items SET given = ?, label = ?, problem = ? "
            "WHERE folder = ? AND problem IS NULL",
            *(split, label, problem, folder),
        )

    def label_items(
        self, folder: str, *, split: str | None, label: str | None, problem: str | None
    ) -> None:
        """Give all items of `folder` a split and a class; a problem that one has already, stays."""
        self._database.run(
            "UPDATE items SET given = ?, label = ?, problem = COALESCE(problem, ?) "
            "WHERE folder = ?",
            *(split, label, problem, folder),
        )

    def give_split(self, folder: str, split: str) -> None:
        """Say of all items of `folder` that their source puts them into `split`."""
        self._database.run("UPDATE items SET given = ? WHERE folder = ?", split, folder)

    def names_of_good_items(self, folder: str) -> list[str]:
        """The good items of `folder`, by name."""
        return self._database.column(
            "SELECT name FROM items WHERE folder = ? AND problem IS NULL ORDER BY name", folder
        )

    def label_files(self, labels: Iterable[tuple[str, str | None]], problem: str) -> None:
        """Give each of these files its class; one of no class has `problem` instead."""
        self._database.run_many(
            "UPDATE items SET label = ?, problem = CASE WHEN ?1 IS NULL THEN ? END WHERE name = ?",
            ((label, problem, name) for name, label in labels),
        )

    def remove_items(self, folder: str) -> int:
        """Forget the items of `folder`; how many they were."""
        return self._database.run("DELETE FROM items WHERE folder = ?", folder)

    def remove_files(self, name: str) -> None:
        """Forget the files of that name, whatever their folder."""
        self._database.run("DELETE FROM items WHERE name = ?1 OR name LIKE '%/' || ?1", name)

    def hold_tars(self) -> bool:
        """Whether any item is an archive."""
        return bool(self._database.one("SELECT COUNT(*) FROM items WHERE lower(name) LIKE '%.tar'"))
