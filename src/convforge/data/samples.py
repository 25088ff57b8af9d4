"""Some images of a prepared data set, read from its shards without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import inf
from pathlib import Path
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from convforge.data.manifest import Manifest
from convforge.data.tfrecord import _Example
from convforge.errors import InputError

Kept = TypeVar("Kept")

# Length, its checksum | data | the checksum of these.
_HEAD, _TAIL = struct.Struct("<QI"), 4


@dataclass(frozen=True)
class Chunk:
    """The examples of one record: images `(n, height, width, channels)` and the right answers."""

    images: NDArray[np.uint8]
    #: The classes `(n,)`, or where the data bring numbers, these `(n, targets)`.
    answers: NDArray[np.int64] | NDArray[np.float32]


def read_chunks(folder: Path, manifest: Manifest, split: str) -> Iterator[Chunk]:
    """The examples of `split` in `folder`, in the order of its shards, a record at a time.

    Raises:
        InputError: a shard is missing, or is not what the preparation wrote.
    """
    for shard in manifest.splits[split].shards:
        path = folder / shard.file
        try:
            with path.open("rb") as file:
                while head := file.read(_HEAD.size):
                    length, _ = _HEAD.unpack(head)
                    yield _chunk(file.read(length), manifest)
                    file.read(_TAIL)
        except (OSError, struct.error, DecodeError, ValueError) as error:
            raise InputError(f"{path} is damaged, prepare the data again: {error}") from error


def _chunk(record: bytes, manifest: Manifest) -> Chunk:
    feature = _Example.FromString(record).features.feature
    (pixels,) = feature["images"].bytes_list.value
    images = np.frombuffer(pixels, np.uint8).reshape(-1, *manifest.image_shape)
    if manifest.targets:
        numbers = np.asarray(feature["targets"].float_list.value, np.float32)
        return Chunk(images, numbers.reshape(len(images), len(manifest.targets)))
    labels = np.asarray(feature["labels"].int64_list.value, np.int64)
    return Chunk(images, labels.reshape(len(images)))


def sample_classes(
    folder: Path,
    manifest: Manifest,
    *,
    per_class: int,
    keep: Callable[[NDArray[np.uint8]], Kept],
    split: str = "train",
    most_bytes: int | None = None,
) -> list[list[Kept]]:
    """The first `per_class` images of every class.

    The shards are in the order of the images' hashes, so the first are as good as drawn at
    random, and always the same.

    Args:
        folder: of the prepared data.
        manifest: its manifest.
        per_class: how many of each class at most.
        keep: makes of an image what is to stay in memory, such as a thumbnail.
        split: of which split.
        most_bytes: of shards to read; reading ends sooner when every class has enough. A rare
            class may stay without images.

    Returns:
        A list for each class, in the order of `manifest.classes`.
    """
    kept: list[list[Kept]] = [[] for _ in manifest.classes]
    counts = manifest.splits[split].class_counts or [0] * len(kept)
    missing = sum(min(per_class, count) for count in counts)
    left = inf if most_bytes is None else most_bytes
    for chunk in read_chunks(folder, manifest, split):
        left -= chunk.images.nbytes
        for label in np.unique(chunk.answers).tolist():
            wanted = per_class - len(kept[label])
            for row in np.flatnonzero(chunk.answers == label)[:wanted]:
                kept[label].append(keep(chunk.images[row]))
                missing -= 1
        if not missing or left <= 0:
            break
    return kept


def sample_targets(
    folder: Path,
    manifest: Manifest,
    *,
    number: int,
    keep: Callable[[NDArray[np.uint8]], Kept],
    split: str = "train",
) -> list[tuple[Kept, list[float]]]:
    """The first `number` images and their targets; as good as drawn at random, see above."""
    kept: list[tuple[Kept, list[float]]] = []
    for chunk in read_chunks(folder, manifest, split):
        pairs = zip(chunk.images, chunk.answers.tolist(), strict=True)
        kept += ((keep(image), targets) for image, targets in islice(pairs, number - len(kept)))
        if len(kept) >= number:
            break
    return kept
