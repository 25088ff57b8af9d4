"""What a prepared data set says of itself: `manifest.json` beside the shards."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from convforge.errors import InputError
from convforge.pipeline.filesystem.atomic_file import write_text
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.settings.data import DataSettings

FILE_NAME = "manifest.json"
#: Where each record lies in its shard, with its checksum; for readers, not for people.
RECORDS = "records.json"


def is_prepared(folder: Path) -> bool:
    """Whether `folder` holds a prepared data set."""
    return (folder / FILE_NAME).is_file()


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shard(_Entry):
    """One TFRecord file."""

    file: str
    examples: int
    bytes: int
    #: Of the file, as in TFRecord: eight hexadecimal digits.
    crc32c: str


class Split(_Entry):
    """The shards of one split; `class_counts` goes with `Manifest.classes`."""

    examples: int
    class_counts: list[int]
    shards: list[Shard]


class PrincipalComponent(_Entry):
    """An axis along which the colours vary: an eigenvector of the covariance, and its value."""

    variance: float
    direction: list[float]


class Statistics(_Entry):
    """Of the training split's pixels, per channel, in units of 0..255."""

    mean: list[float]
    std: list[float]
    #: Between the channels, over all pixels.
    covariance: list[list[float]]
    #: Of the covariance, the largest first; PCA colour moves along them.
    principal_components: list[PrincipalComponent]


class Target(_Entry):
    """A number that every example carries, and how it is spread over the training split."""

    name: str
    mean: float
    std: float
    min: float
    max: float


class BadItem(_Entry):
    """A file that was left out, and why."""

    name: str
    reason: str


class Duplicate(_Entry):
    """A training image that is held out as well, byte for byte."""

    name: str
    #: The split and the name of its twin.
    same_as: str


class SizeRange(_Entry):
    """Of the images before they were resized: smallest, mean and largest."""

    min: int
    mean: float
    max: int


class Counts(_Entry):
    """What became of all items: found = used + bad + dropped."""

    found: int
    used: int
    bad: int
    #: Training images that are held out as well.
    dropped: int


class Manifest(_Entry):
    """A prepared data set."""

    format_version: Literal[3] = 3
    name: str
    #: SHA-256 over classes, splits, labels, geometry and the content of every image.
    digest: str
    #: The `data` group of the config that made it.
    config: dict[str, Any]
    source: str
    #: By number. Empty where the examples carry numbers to predict: `targets` names these.
    classes: list[str]
    targets: list[Target]
    #: Height, width, channels.
    image_shape: Annotated[list[int], Field(min_length=3, max_length=3)]
    splits: dict[str, Split]
    statistics: Statistics
    height: SizeRange
    width: SizeRange
    counts: Counts
    bad_items: list[BadItem]
    duplicates: list[Duplicate]
    #: What a person should know of the data as a whole.
    findings: list[str]
    #: Files that are no items of the data set, by the reason.
    passed_over: dict[str, int]

    def class_counts(self, number: int) -> list[int]:
        """How many images of class `number` each split has."""
        return [
            split.class_counts[number] if split.class_counts else 0
            for split in self.splits.values()
        ]

    def split_digest(self, split: str) -> str:
        """SHA-256 of the images of one split and their labels, in their order.

        Data sets that differ elsewhere, as by more images to train on, share that of the test
        split: models of both can be compared on it.
        """
        shards = [(shard.examples, shard.crc32c) for shard in self.splits[split].shards]
        targets = [target.name for target in self.targets]
        what = (self.classes, targets, self.image_shape, shards)
        return hashlib.sha256(repr(what).encode()).hexdigest()

    @property
    def labels(self) -> str:
        """What the images are labelled with, in words."""
        if self.targets:
            return f"numbers to predict: {', '.join(target.name for target in self.targets)}"
        return pluralize(len(self.classes), "class", "classes")

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into `folder`."""
        write_text(folder / FILE_NAME, json.dumps(self.model_dump(), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest in `folder`.

        Raises:
            InputError: there is none, or it is of another version.
        """
        path = folder / FILE_NAME
        if not is_prepared(folder):
            raise InputError(f"{folder} holds no prepared data: run `convforge preprocess` first")
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise InputError(
                f"{path} was not written by this version: run `convforge preprocess` again"
            ) from error


def dataset_profile(manifest: Manifest, *splits: str) -> dict[str, Any]:
    """What a tracker says of the data: how many images in `splits`, how many classes, their shape.

    Example of one for the digits: `{"train": 3600, "classes": 10, "image": [28, 28, 1]}`.
    """
    examples = {name: manifest.splits[name].examples for name in splits}
    return {**examples, "classes": len(manifest.classes), "image": manifest.image_shape}


def matching_manifest(settings: DataSettings, folder: Path) -> Manifest:
    """The manifest in `folder`, if it was made by this `data` group of a config.

    Raises:
        InputError: there is none, or it was made by another; names the keys that differ.
    """
    manifest = Manifest.read(folder)
    wanted = settings.model_dump()
    if manifest.config != wanted:
        keys = [f"data.{key}" for key in wanted if manifest.config.get(key) != wanted[key]]
        raise InputError(
            f"{folder} was prepared with another {', '.join(keys)}: run `convforge preprocess` "
            "again"
        )
    return manifest
