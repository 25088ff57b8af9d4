"""From decoded images to shard files and the training split's statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convforge.data.manifest import Shard, Statistics
from convforge.data.tfrecord import encode_chunk, write_records

# Large enough that reading a record costs nothing beside its bytes, small enough that a few of
# them are always in memory.
_CHUNK_BYTES = 4 << 20


def write_shards(
    folder: Path,
    split: str,
    pixels: NDArray[np.uint8],
    order: Sequence[int],
    answers: NDArray[np.int64] | NDArray[np.float32],
    *,
    shard_examples: int,
) -> list[Shard]:
    """Write the rows `order` of `pixels` `(n, height, width, channels)` as shards.

    `answers` are the labels `(len(order),)`, or the targets `(len(order), targets)`.

    An example's index is its place in `order`; augmentation is drawn from it.

    Returns:
        The shards, `shard_examples` images each and the rest in the last.
    """
    starts = range(0, len(order), shard_examples)
    shards = []
    for number, start in enumerate(starts):
        path = folder / f"{split}-{number:05d}-of-{len(starts):05d}.tfrecord"
        stop = min(start + shard_examples, len(order))
        write_records(path, _chunks(pixels, order, answers, start, stop))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shards.append(Shard(file=path.name, examples=stop - start, sha256=digest))
    return shards


def _chunks(
    pixels: NDArray[np.uint8],
    order: Sequence[int],
    answers: NDArray[np.int64] | NDArray[np.float32],
    start: int,
    stop: int,
) -> Iterator[bytes]:
    step = max(1, _CHUNK_BYTES // pixels[0].nbytes)
    for first in range(start, stop, step):
        last = min(first + step, stop)
        yield encode_chunk(
            pixels[list(order[first:last])],
            answers[first:last],
            np.arange(first, last, dtype=np.int64),
        )


@dataclass
class PixelMoments:
    """Running sums of pixels and of their products, exact in integers."""

    channels: int
    pixels: int = 0
    total: NDArray[np.int64] = field(init=False)
    products: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.total = np.zeros(self.channels, np.int64)
        self.products = np.zeros((self.channels, self.channels), np.int64)

    def add(self, image: NDArray[np.uint8]) -> None:
        """Count in one image `(height, width, channels)`."""
        flat = image.reshape(-1, self.channels).astype(np.float64)
        self.pixels += len(flat)
        # Exact: a float64 holds every integer up to 2**53, an image's sums stay below 2**40.
        self.total += flat.sum(0).astype(np.int64)
        self.products += (flat.T @ flat).astype(np.int64)

    def statistics(self) -> Statistics:
        """Mean, standard deviation and covariance."""
        mean = self.total / self.pixels
        covariance = self.products / self.pixels - np.outer(mean, mean)
        return Statistics(
            mean=mean.tolist(),
            std=np.sqrt(np.clip(np.diag(covariance), 0, None)).tolist(),
            covariance=covariance.tolist(),
        )
