"""One shard: from the bytes of its items to a TFRecord file.

A shard is a pure function of its job, which holds no more than names, places and labels; so any
process on any machine that sees the source makes the same bytes of it.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from convforge.errors import BadItemError
from convforge.pipeline.data.preparation.containers import Readable
from convforge.pipeline.data.preparation.pixel_statistics import PixelStatistics
from convforge.pipeline.data.preparation.worker_pool import Stopped, StoppedError
from convforge.pipeline.data.tfrecord import (
    HEAD_BYTES,
    TAIL_BYTES,
    Chunk,
    Labels,
    Record,
    encode,
    frame,
)
from convforge.serving.decode import Codec, Decoding

#: Of 255. What 12 bits reach where they are taken for 16.
DARK = 15
# Large enough that reading a record costs nothing beside its bytes, small enough that a few of
# them are always in memory.
_CHUNK_BYTES = 8 << 20
# Of pixels that are counted and written at once: they should stay in the processor's cache.
_PART_BYTES = 1 << 17
#: How the names of files end that no task has completed.
UNFINISHED = ".partial"


class Example(NamedTuple):
    """One item of a shard."""

    id: int
    size: int
    locator: bytes
    #: The class, or the targets.
    label: int | tuple[float, ...]
    #: Its number within its split.
    number: int


@dataclass(frozen=True)
class ShardJob:
    """All that one shard follows from."""

    file: str
    examples: Sequence[Example]
    contents: Readable
    codec: Codec
    decoding: Decoding
    #: Height, width, channels.
    image_shape: tuple[int, int, int]
    #: Keep the items' own bytes instead of pixels.
    encoded: bool
    #: Gather the pixels' statistics, as for the training split.
    statistics: bool

    @property
    def chunk_examples(self) -> int:
        """Examples in a record."""
        height, width, channels = self.image_shape
        return max(1, _CHUNK_BYTES // (height * width * channels))


@dataclass
class ShardReport:
    """What became of a job; it lies beside the shard until all are made."""

    file: str
    examples: int = 0
    bytes: int = 0
    crc32c: int = 0
    records: list[Record] = field(default_factory=list)
    #: Class → number of images.
    class_counts: dict[int, int] = field(default_factory=dict)
    #: Items of which no pixel is lighter than `DARK`.
    dark: list[int] = field(default_factory=list)
    #: Item and the reason why it is not in the shard.
    bad: list[tuple[int, str]] = field(default_factory=list)
    moments: PixelStatistics = field(default_factory=lambda: PixelStatistics(0))

    @classmethod
    def of_earlier(cls, folder: Path, file: str) -> ShardReport | None:
        """The report of the shard `file` in `folder`, if it was completed there."""
        try:
            content = json.loads(_beside(folder / file).read_text(encoding="utf-8"))
            size = (folder / file).stat().st_size
        except (OSError, ValueError):
            return None
        report = cls(**content)
        report.records = [Record(*record) for record in report.records]
        report.class_counts = {int(label): n for label, n in report.class_counts.items()}
        report.bad = [(item, reason) for item, reason in report.bad]
        report.moments = PixelStatistics(**content["moments"])
        return report if size == report.bytes else None


def write_shard(job: ShardJob, stopped: Stopped, *, folder: Path) -> ShardReport:
    """Make the shard of `job` in `folder`; it appears there when it is complete.

    Args:
        job: what to make.
        stopped: asked before every item whether to end without a result.
        folder: where.

    Raises:
        StoppedError: `stopped` said so.
        OSError: the folder's file system, not the source's.
    """
    report = ShardReport(job.file, moments=PixelStatistics(job.decoding.channels))
    path = folder / job.file
    # A name of its own: on a cluster a task believed lost may still be at the same shard.
    work = path.with_suffix(f".{uuid.uuid4().hex[:8]}{UNFINISHED}")
    with work.open("wb") as file:
        for chunk in _chunks(job, report, stopped):
            _write_record(chunk, file, report)
        file.flush()
        os.fsync(file.fileno())
    work.replace(path)
    work.write_text(json.dumps(asdict(report)), encoding="utf-8")
    work.replace(_beside(path))
    return report


def _beside(path: Path) -> Path:
    return path.with_suffix(".report")


def _write_record(chunk: Chunk, file: IO[bytes], report: ShardReport) -> None:
    record = encode(chunk)
    head, tail = frame(record)
    for part in (head, *record, tail):
        file.write(part if isinstance(part, bytes) else part.data)
        report.crc32c = google_crc32c.extend(report.crc32c, part)
    length = sum(map(len, record))
    examples = len(chunk.indices)
    checksum = int.from_bytes(tail, "little")
    report.records.append(Record(examples, report.bytes + HEAD_BYTES, length, checksum))
    report.examples += examples
    report.bytes += HEAD_BYTES + length + TAIL_BYTES
    if chunk.labels.dtype == np.int64:
        for label, count in zip(*np.unique(chunk.labels, return_counts=True), strict=True):
            label = int(label)
            report.class_counts[label] = report.class_counts.get(label, 0) + int(count)


def _chunks(job: ShardJob, report: ShardReport, stopped: Stopped) -> Iterator[Chunk]:
    """The job's good items, a record's number of them at a time; the others are reported."""
    taken: list[tuple[Example, bytes, NDArray[np.uint8]]] = []
    for example, content in _contents(job, report, stopped):
        try:
            pixels = job.codec.decode(content, job.decoding)
            check_shape(pixels.shape, job.image_shape)
        except BadItemError as error:
            report.bad.append((example.id, str(error)))
            continue
        taken.append((example, content, pixels))
        if len(taken) == job.chunk_examples:
            yield _chunk(job, taken, report)
            taken.clear()
    if taken:
        yield _chunk(job, taken, report)


def _contents(
    job: ShardJob, report: ShardReport, stopped: Stopped
) -> Iterator[tuple[Example, bytes]]:
    with job.contents.reader() as read:
        for example in job.examples:
            if stopped():
                raise StoppedError
            try:
                content = read(example.locator, example.size)
            except BadItemError as error:
                report.bad.append((example.id, str(error)))
                continue
            yield example, content


def _chunk(
    job: ShardJob, taken: Sequence[tuple[Example, bytes, NDArray[np.uint8]]], report: ShardReport
) -> Chunk:
    examples, contents, images = zip(*taken, strict=True)
    parts = _parts(images)
    if job.statistics:
        for part in parts:
            report.moments.add(part)
    dark = np.concatenate([_lightest(part) for part in parts]) <= DARK
    report.dark += [examples[place].id for place in np.flatnonzero(dark)]
    pixels = [part.reshape(-1) for part in parts]
    return Chunk(
        [[content] for content in contents] if job.encoded else [pixels],
        _labels([example.label for example in examples]),
        np.array([example.number for example in examples], np.int64),
    )


def _lightest(part: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The highest level in each image of a part."""
    images = part if part.ndim == 4 else part[None]
    lightest: NDArray[np.uint8] = images.reshape(len(images), -1).max(axis=1)
    return lightest


def _parts(images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """The images as they are where they are large, and several as one where they are small."""
    together = max(1, _PART_BYTES // images[0].nbytes)
    if together == 1:
        return list(images)
    starts = range(0, len(images), together)
    return [np.stack(images[start : start + together]) for start in starts]


def _labels(labels: Sequence[int | tuple[float, ...]]) -> Labels:
    if isinstance(labels[0], tuple):
        return np.array(labels, np.float32)
    return np.array(labels, np.int64)


def check_shape(shape: Sequence[int], wanted: Sequence[int]) -> None:
    """Refuse an image of another size.

    Raises:
        BadItemError: `shape` is not that which is `wanted`; height and width first.
    """
    if tuple(shape[:2]) != tuple(wanted[:2]):
        raise BadItemError(f"{shape[0]}×{shape[1]} pixels, not {wanted[0]}×{wanted[1]}")
