"""What a prepared data set says of itself: `manifest.json` beside the shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from convforge.errors import InputError

FILE_NAME = "manifest.json"


def is_prepared(folder: Path) -> bool:
    """Whether `folder` holds a prepared data set."""
    return (folder / FILE_NAME).is_file()


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shard(_Entry):
    """One TFRecord file."""

    file: str
    examples: int
    sha256: str


class Split(_Entry):
    """The shards of one split; `class_counts` goes with `Manifest.classes`."""

    examples: int
    class_counts: list[int]
    shards: list[Shard]


class Statistics(_Entry):
    """Of the training split's pixels, per channel, in units of 0..255."""

    mean: list[float]
    std: list[float]
    #: Between the channels, over all pixels; PCA colour takes its eigenvectors from it.
    covariance: list[list[float]]


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


class Manifest(_Entry):
    """A prepared data set."""

    format_version: Literal[2] = 2
    name: str
    #: SHA-256 over classes, splits, labels and the content of every image.
    digest: str
    #: The `data` group of the config that made it.
    config: dict[str, Any]
    source: str
    #: Empty where the examples carry numbers to predict, and then `targets` names these.
    classes: list[str]
    targets: list[Target]
    #: Height, width, channels.
    image_shape: Annotated[list[int], Field(min_length=3, max_length=3)]
    splits: dict[str, Split]
    statistics: Statistics
    bad_items: list[BadItem]
    #: How many files of operating systems were passed over.
    litter: int

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into `folder`."""
        text = json.dumps(self.model_dump(), indent=2) + "\n"
        (folder / FILE_NAME).write_text(text, encoding="utf-8")

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
