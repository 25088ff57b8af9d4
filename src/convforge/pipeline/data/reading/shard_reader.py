"""From shards back to pixels, a record at a time, in any order, without TensorFlow.

TensorFlow's own reader copies a record five times. Here the pixels go from the file into the
memory where they stay, which is aligned so that TensorFlow takes it as it is.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from convforge.errors import BadItemError, InputError
from convforge.pipeline.data.decoding import decoding_of
from convforge.pipeline.data.manifest import RECORDS, Manifest
from convforge.pipeline.data.tfrecord import (
    Labels,
    Record,
    masked_crc,
    parse,
    parse_numbers,
    pixels_at,
)
from convforge.pipeline.settings.data import DataSettings
from convforge.serving.decode import ImageFiles

# TensorFlow shares the memory of arrays that begin at a multiple of this.
_ALIGNMENT = 64


class Examples(NamedTuple):
    """The examples of one record."""

    #: `(n, height, width, channels)` uint8.
    images: NDArray[np.uint8]
    #: Classes `(n,)` int64, or targets `(n, targets)` float32.
    labels: Labels
    #: Their numbers within the split `(n,)`: rising, with gaps where an item turned out bad.
    indices: NDArray[np.int64]


class ShardReader:
    """Reads the records of one prepared data set; each is checked when it is first read.

    Args:
        folder: what `convforge preprocess` made.
        manifest: of that folder.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        self._checked: set[tuple[str, int]] = set()
        settings: DataSettings = TypeAdapter(DataSettings).validate_python(manifest.config)
        #: Whether reading means decoding image files.
        self.decodes = settings.store == "encoded"
        self._decoding = decoding_of(settings)

    @cached_property
    def records(self) -> dict[str, list[Record]]:
        """Where the records of each shard are.

        Raises:
            InputError: `records.json` is missing or damaged.
        """
        try:
            found = json.loads((self.folder / RECORDS).read_bytes())
            return {file: [Record(*record) for record in rows] for file, rows in found.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise self._damaged(RECORDS) from error

    def check_sizes(self) -> None:
        """Look whether all shards are there and as long as they were made, before any is read.

        Raises:
            InputError: one is not.
        """
        for split in self.manifest.splits.values():
            for shard in split.shards:
                if shard.file not in self.records:
                    raise self._damaged(RECORDS)
                path = self.folder / shard.file
                if not path.is_file() or path.stat().st_size != shard.bytes:
                    raise self._damaged(shard.file)

    def read(self, file: str, number: int) -> Examples:
        """The examples of record `number` of the shard `file`.

        Raises:
            InputError: it is damaged.
        """
        record = self.records[file][number]
        if self.decodes:
            return self._decoded(file, number, record)
        shape = (record.examples, *self.manifest.image_shape)
        size = int(np.prod(shape))
        start = pixels_at(record.length, size)
        data = self._content(file, number, record, start)
        labels, indices = parse_numbers(data[start + size :].tobytes(), self._targets)
        return Examples(data[start : start + size].reshape(shape), labels, indices)

    def read_named(self, file: bytes, number: int) -> Examples:
        """As `read`, for TensorFlow, to which a text is bytes."""
        return self.read(file.decode(), int(number))

    def rows(self, file: str, number: int) -> range:
        """Which of the shard's examples record `number` holds, without reading it."""
        sizes = [record.examples for record in self.records[file][: number + 1]]
        return range(sum(sizes[:-1]), sum(sizes))

    def records_named(
        self, files: NDArray[np.object_]
    ) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
        """File and number of every record in `files`, for TensorFlow."""
        counts = [len(self.records[file.decode()]) for file in files]
        numbers = [np.arange(count) for count in counts]
        return np.repeat(files, counts), np.concatenate([np.empty(0, np.int64), *numbers])

    def _decoded(self, file: str, number: int, record: Record) -> Examples:
        chunk = parse(self._content(file, number, record, 0).tobytes(), self._targets)
        images = np.empty((record.examples, *self.manifest.image_shape), np.uint8)
        for place, (content,) in enumerate(chunk.images):
            try:
                images[place] = ImageFiles().decode(bytes(content), self._decoding)
            except BadItemError as error:
                raise self._damaged(file) from error
        return Examples(images, chunk.labels, chunk.indices)

    def _content(self, file: str, number: int, record: Record, aligned: int) -> NDArray[np.uint8]:
        """The bytes of a record, of which that at `aligned` lies at a multiple of _ALIGNMENT."""
        room = np.empty(record.length + _ALIGNMENT, np.uint8)
        first = -(room.ctypes.data + aligned) % _ALIGNMENT
        data = room[first : first + record.length]
        try:
            with (self.folder / file).open("rb", buffering=0) as shard:
                shard.seek(record.offset)
                length = shard.readinto(data.data)
        except OSError as error:
            raise self._damaged(file) from error
        if length != record.length:
            raise self._damaged(file)
        if (file, number) not in self._checked:
            if int.from_bytes(masked_crc([data]), "little") != record.checksum:
                raise self._damaged(file)
            self._checked.add((file, number))
        return data

    @property
    def _targets(self) -> int:
        return len(self.manifest.targets)

    def _damaged(self, file: str) -> InputError:
        return InputError(
            f"{self.folder / file} is damaged, prepare the data again: `convforge preprocess`"
        )
