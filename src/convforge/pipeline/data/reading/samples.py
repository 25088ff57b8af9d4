"""Some images of a prepared data set, read from its shards without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from math import inf
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.reading.shard_reader import Examples, ShardReader

Kept = TypeVar("Kept")


def read_chunks(folder: Path, manifest: Manifest, split: str) -> Iterator[Examples]:
    """The examples of `split` in `folder`, in the order of its shards, a record at a time.

    Raises:
        InputError: a shard is missing, or is not what the preparation wrote.
    """
    reader = ShardReader(folder, manifest)
    for shard in manifest.splits[split].shards:
        for number in range(len(reader.records[shard.file])):
            yield reader.read(shard.file, number)


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
        for label in np.unique(chunk.labels).tolist():
            wanted = per_class - len(kept[label])
            for row in np.flatnonzero(chunk.labels == label)[:wanted]:
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
        pairs = zip(chunk.images, chunk.labels.tolist(), strict=True)
        kept += ((keep(image), targets) for image, targets in islice(pairs, number - len(kept)))
        if len(kept) >= number:
            break
    return kept
