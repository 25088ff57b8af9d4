"""Class folders, in split folders or not: CLASS/image or SPLIT/CLASS/image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from convforge.errors import InputError
from convforge.pipeline.data.preparation.containers import Container, Watch
from convforge.pipeline.data.preparation.index.item_index import Index
from convforge.pipeline.data.preparation.sources.files import (
    enter_members,
    open_container,
    refuse_other_formats,
)
from convforge.pipeline.settings.data import FolderData
from convforge.serving.decode import ImageFiles

#: How folders and tables name a split → what it is called here.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class ClassFolders:
    """A folder or an archive of class folders."""

    contents: Container
    codec: ImageFiles = field(default_factory=ImageFiles)

    @classmethod
    def open(cls, settings: FolderData, path: Path) -> ClassFolders:
        """The one at `path`."""
        return cls(open_container(path, follow_links=settings.follows_links))

    @property
    def path(self) -> Path:
        """The folder or archive."""
        return self.contents.path

    @property
    def paths(self) -> tuple[Path, ...]:
        """The container's."""
        return (self.contents.path,)

    def scan(self, index: Index, watch: Watch) -> None:
        """Enter all files, and what their folders say."""
        enter_members(self.contents, index, watch)
        refuse_other_formats(self.contents.path, index)
        label_folders(index)

    def class_order(self, labels: Iterable[str]) -> list[str]:
        """By name."""
        return sorted(labels)


class Meaning(NamedTuple):
    """What a folder says of the files in it."""

    split: str | None = None
    label: str | None = None
    problem: str | None = None


def meanings(folders: Sequence[str]) -> dict[str, Meaning]:
    """What each of `folders` says of the files directly in it.

    Folders around the whole, such as the one that an archive was made of, are looked through.

    Raises:
        InputError: some folders name a split and others do not.

    Example:
        >>> meanings(["cifar/train/cat", "cifar/test/cat"])["cifar/test/cat"]
        Meaning(split='test', label='cat', problem=None)
        >>> meanings(["7", "8", "8/more"])["8/more"].problem
        'lies deeper than CLASS/image, in no train/, validation/ or test/'
    """
    paths = {folder: _parts(folder) for folder in folders}
    around = _around([parts for parts in paths.values() if parts])
    found = {folder: _meaning(parts, around) for folder, parts in paths.items()}
    named = [folder for folder, meaning in found.items() if meaning.split]
    for folder, meaning in found.items():
        if named and meaning.label and not meaning.split:
            if meaning.label.lower() not in SPLIT_NAMES:
                raise InputError(
                    f"{folder}/ lies in no train/, validation/ or test/ folder, but "
                    f"{min(named)}/ does"
                )
            found[folder] = Meaning(problem=f"in {meaning.label}/, but in no class folder")
    return found


def _parts(folder: str) -> list[str]:
    return [part for part in folder.split("/") if part not in ("", ".")]


def _around(paths: Sequence[Sequence[str]]) -> int:
    """How many folders lie around all of `paths`: shared by all, and neither split nor class.

    Paths that end on the way are files beside the data, such as a README.
    """
    depth = 0
    while True:
        within = [parts for parts in paths if len(parts) > depth]
        names = {parts[depth] for parts in within}
        has_more = any(len(parts) > depth + 1 for parts in within)
        if len(names) != 1 or not has_more or names.pop().lower() in SPLIT_NAMES:
            return depth
        depth += 1


def _meaning(parts: Sequence[str], around: int) -> Meaning:
    inner = parts[around:]
    if not inner:
        return Meaning(problem="in no class folder")
    if len(inner) == 1:
        return Meaning(label=inner[0])
    split = SPLIT_NAMES.get(inner[0].lower())
    if len(inner) == 2 and split:
        return Meaning(split, inner[1])
    if split:
        return Meaning(problem=f"lies deeper than {inner[0]}/CLASS/image")
    return Meaning(problem="lies deeper than CLASS/image, in no train/, validation/ or test/")


def label_folders(index: Index) -> None:
    """Give every item the split and the class that its folder says.

    Raises:
        InputError: some folders name a split and others do not.
    """
    index.folders.make_findable()
    # A file that is refused by its name or kind says nothing of the others' folders.
    folders = index.folders.of_good_items()
    filled = {*folders, *index.folders.of_bad_items()}
    empty = [
        folder
        for folder in index.folders.entered()
        if folder not in filled and not any(other.startswith(f"{folder}/") for other in filled)
    ]
    found = meanings([*folders, *empty])
    for folder in folders:
        split, label, problem = found[folder]
        index.folders.label_good_items(folder, split=split, label=label, problem=problem)
    for folder in empty:
        if found[folder].label:
            index.add_remark(f"the class folder {folder}/ holds no files")
