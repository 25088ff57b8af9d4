"""ImageNet's layout: train/SYNSET/*.JPEG, and a validation split whose labels are in a list.

The list is Kaggle's `LOC_val_solution.csv`, or the development kit's
`ILSVRC2012_validation_ground_truth.txt` of numbers, which mean something only together with
`meta.mat` or `map_clsloc.txt`. Names for people come from those two, from Kaggle's
`LOC_synset_mapping.txt`, or from `synset_words.txt`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from convforge.errors import InputError
from convforge.pipeline.data.preparation.containers import Container, Watch
from convforge.pipeline.data.preparation.index.item_index import Index
from convforge.pipeline.data.preparation.sources.class_folders import SPLIT_NAMES
from convforge.pipeline.data.preparation.sources.files import enter_members, open_container
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.settings.data import ImageNetData
from convforge.serving.decode import ImageFiles

UNLABELLED = "test images, which have no public labels"
_TRUTHS = ("LOC_val_solution.csv", "ILSVRC2012_validation_ground_truth.txt")
_NAMES = ("LOC_synset_mapping.txt", "synset_words.txt", "map_clsloc.txt", "meta.mat")
_CLASS_FOLDERS = (
    "class folders alone are read with data=folder 'data.size=[256,256]' data.geometry=center_crop"
)
_UNPACK = "archives within it must be unpacked first, such as n01440764.tar into train/n01440764/"
_SYNSET, _SYNSET_LENGTH = r"n\d{8}", 9
_FOLDER = re.compile(rf"(?:^|/)(train|val|validation)/({_SYNSET})$")
_FLAT = re.compile(r"(?:^|/)(val|validation|test)$")


@dataclass(frozen=True)
class Synsets:
    """What is known of the classes."""

    #: WordNet's number of the class → the first of its names.
    names: dict[str, str] = field(default_factory=dict)
    #: The development kit's number → that of WordNet.
    by_number: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageNet:
    """A folder or an archive in ImageNet's layout."""

    contents: Container
    truth: Path | None
    synsets: Synsets
    lists: tuple[Path, ...]
    codec: ImageFiles = field(default_factory=ImageFiles)

    @classmethod
    def open(cls, settings: ImageNetData, path: Path) -> ImageNet:
        """The one at `path`; its lists are looked for in it, or beside it if it is an archive.

        Raises:
            InputError: a list that the config names is not there, or is none.
        """
        contents = open_container(path, follow_links=settings.follows_links)
        around = path if path.is_dir() else path.parent
        truth = _list_at(around, settings.ground_truth, "ground_truth", _TRUTHS)
        names = _list_at(around, settings.class_names, "class_names", _NAMES)
        synsets = Synsets() if names is None else read_synsets(names)
        lists = tuple(found for found in (truth, names) if found is not None)
        return cls(contents, truth, synsets, lists)

    @property
    def path(self) -> Path:
        """The folder or archive."""
        return self.contents.path

    @property
    def paths(self) -> tuple[Path, ...]:
        """The images and the lists."""
        return (self.contents.path, *self.lists)

    def scan(self, index: Index, watch: Watch) -> None:
        """Enter all images with their synset."""
        enter_members(self.contents, index, watch)
        for path in self.lists:
            index.folders.remove_files(path.name)
        flat = []
        folders = index.folders.of_items()
        if not any(_FOLDER.search(folder) or _FLAT.search(folder) for folder in folders):
            raise InputError(
                f"data.path={self.path} holds no train/SYNSET/ and no val/: "
                + (_UNPACK if index.folders.hold_tars() else _CLASS_FOLDERS)
            )
        for folder in folders:
            split = synset = problem = None
            if found := _FOLDER.search(folder):
                split, synset = SPLIT_NAMES[found[1]], found[2]
            elif found := _FLAT.search(folder):
                flat.append((found[1], folder))
                continue
            else:
                problem = "not in train/SYNSET/ nor in val/"
            index.folders.label_items(folder, split=split, label=synset, problem=problem)
        for kind, folder in flat:
            if kind == "test":
                index.pass_over(UNLABELLED, index.folders.remove_items(folder))
            else:
                self._label_validation(index, folder)
        for synset, name in self.synsets.names.items():
            index.rename_label(synset, f"{synset} {name}")

    def class_order(self, labels: Iterable[str]) -> list[str]:
        """By WordNet's number, as everybody numbers ImageNet's classes."""
        return sorted(labels)

    def _label_validation(self, index: Index, folder: str) -> None:
        if self.truth is None:
            raise InputError(
                f"{folder}/ holds images without class folders: give data.ground_truth, a file "
                f"{'there' if self.path.is_dir() else 'beside the archive'} such as "
                f"{' or '.join(_TRUTHS)}"
            )
        index.folders.give_split(folder, "validation")
        images = index.folders.names_of_good_items(folder)
        listed = dict(self._truths(images))
        labels = ((name, listed.get(_stem(name))) for name in images)
        index.folders.label_files(labels, f"not in {self.truth.name}")

    def _truths(self, images: list[str]) -> Iterator[tuple[str, str]]:
        """Stem of the file and synset of each validation image."""
        assert self.truth is not None
        lines = self.truth.read_text(encoding="utf-8", errors="replace").splitlines()
        if self.truth.suffix == ".csv":
            for row in csv.DictReader(lines):
                boxes = row.get("PredictionString") or ""
                yield row.get("ImageId") or "", self._synset(boxes[:_SYNSET_LENGTH])
            return
        lines = [line.strip() for line in lines if line.strip()]
        if len(lines) != len(images):
            raise InputError(
                f"data.ground_truth={self.truth} has {pluralize(len(lines), 'line')} for "
                f"{pluralize(len(images), 'image')}"
            )
        for name, line in zip(images, lines, strict=True):
            yield _stem(name), self._synset(line)

    def _synset(self, line: str) -> str:
        if re.fullmatch(_SYNSET, line):
            return line
        if line.isdecimal() and int(line) in self.synsets.by_number:
            return self.synsets.by_number[int(line)]
        raise InputError(
            f"data.ground_truth={self.truth}: {line!r} is no synset; a number needs meta.mat or "
            "map_clsloc.txt as data.class_names"
        )


def _stem(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[0]


def _list_at(around: Path, given: str | None, key: str, known: tuple[str, ...]) -> Path | None:
    """The list that the config names, or one of a known name."""
    if given is None:
        return next((around / name for name in known if (around / name).is_file()), None)
    path = around / given
    if not path.is_file():
        raise InputError(f"data.{key}={path} is not there, or is no file")
    return path


def read_synsets(path: Path) -> Synsets:
    """The classes in one of the files that say them.

    Raises:
        InputError: it is none of them.
    """
    synsets = Synsets()
    rows = _kit_rows(path) if path.suffix == ".mat" else _text_rows(path)
    for synset, number, names in rows:
        synsets.names[synset] = names.split(",")[0].strip().replace("_", " ")
        if number is not None:
            synsets.by_number[number] = synset
    if not synsets.names:
        raise InputError(f"data.class_names={path} names no synset")
    return synsets


def _text_rows(path: Path) -> Iterator[tuple[str, int | None, str]]:
    """`n01440764 tench, Tinca tinca`, or `n02119789 1 kit_fox`."""
    line_of = re.compile(rf"({_SYNSET})\s+(?:(\d+)\s+)?(\S.*)")
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        found = line_of.fullmatch(line.strip())
        if found is None:
            raise InputError(f"data.class_names={path}: {line!r} does not begin with a synset")
        yield found[1], int(found[2]) if found[2] else None, found[3]


def _kit_rows(path: Path) -> Iterator[tuple[str, int | None, str]]:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise InputError(
            f"data.class_names={path}: reading it needs `pip install scipy`"
        ) from error
    try:
        for row in loadmat(path, squeeze_me=True)["synsets"]:
            yield str(row["WNID"]), int(row["ILSVRC2012_ID"]), str(row["words"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(f"data.class_names={path} is not the development kit's") from error
