"""IDX files: MNIST, Fashion-MNIST, EMNIST and their kin, compressed with gzip or not.

A folder of four: images and labels to train on, images and labels to test on.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convforge.errors import InputError
from convforge.pipeline.data.preparation.containers import Watch
from convforge.pipeline.data.preparation.containers.streams import (
    DAMAGE,
    ByteStream,
    StreamedFiles,
    is_gzipped,
)
from convforge.pipeline.data.preparation.index.item_index import Index
from convforge.pipeline.data.preparation.sources.arrays import (
    array_entries,
    check_labels,
    check_names,
    label_blocks,
    order_of,
)
from convforge.pipeline.data.preparation.sources.missing import how_to_get
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.settings.data import IdxData
from convforge.serving.decode import RawPixels

# How the files of a split are called.
_SPLITS = {"train": ("train",), "test": ("t10k", "test")}
_UNSIGNED_BYTES = 0x08


@dataclass(frozen=True)
class IdxFile:
    """One array of bytes and where its data begin."""

    stream: ByteStream
    shape: tuple[int, ...]

    @property
    def start(self) -> int:
        """Bytes of the header."""
        return 4 + 4 * len(self.shape)


@dataclass(frozen=True)
class Idx:
    """A folder of IDX files."""

    contents: StreamedFiles
    codec: RawPixels
    names: tuple[str, ...] | None
    #: Split → its images, which stand in the same order as the streams of `contents`, and labels.
    arrays: dict[str, tuple[IdxFile, IdxFile]]

    @classmethod
    def open(cls, settings: IdxData, path: Path) -> Idx:
        """The files in the folder `path`.

        Raises:
            InputError: some are missing, or not of this format.
        """
        if not path.is_dir():
            raise InputError(f"data.path={path} is no folder: give the one of the IDX files")
        arrays = {
            split: (
                open_idx(_the_one(settings, path, words, "images"), 3),
                open_idx(_the_one(settings, path, words, "labels"), 1),
            )
            for split, words in _SPLITS.items()
        }
        sizes = {images.shape[1:] for images, _ in arrays.values()}
        if len(sizes) > 1:
            raise InputError(f"data.path={path}: the images of its splits differ in size, {sizes}")
        ((height, width),) = sizes
        for images, labels in arrays.values():
            if images.shape[0] != labels.shape[0]:
                raise InputError(
                    f"{labels.stream.path} has {pluralize(labels.shape[0], 'label')} for "
                    f"{pluralize(images.shape[0], 'image')}"
                )
        streams = tuple(images.stream for images, _ in arrays.values())
        names = check_names(settings.class_names)
        return cls(StreamedFiles(path, streams), RawPixels(height, width, 1), names, arrays)

    @property
    def path(self) -> Path:
        """Their folder."""
        return self.contents.path

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(file.stream.path for pair in self.arrays.values() for file in pair)

    def scan(self, index: Index, watch: Watch) -> None:
        """Enter all images."""
        for stream, (split, (images, labels)) in enumerate(self.arrays.items()):
            watch(stream / len(self.arrays))
            refuse_other_length(images)
            refuse_other_length(labels)
            count, bytes_ = images.shape[0], np.dtype(np.uint8)
            check_labels(labels.shape, bytes_, count, str(labels.stream.path))
            index.add(
                array_entries(
                    images.stream.path.name,
                    split,
                    label_blocks(labels.stream, labels.start, count, bytes_),
                    names=self.names,
                    stream=stream,
                    start=images.start,
                    step=self.codec.size,
                    size=self.codec.size,
                )
            )

    def class_order(self, labels: Iterable[str]) -> list[str]:
        """By number."""
        return order_of(self.names, labels)


def open_idx(path: Path, dimensions: int) -> IdxFile:
    """The header of an IDX file.

    Raises:
        InputError: it is none, or holds something else than bytes in `dimensions` dimensions.
    """
    stream = ByteStream(path, gzipped=is_gzipped(path))
    try:
        with stream.open() as file:
            magic = file.read(4)
            if magic[:3] != bytes((0, 0, _UNSIGNED_BYTES)) or magic[3:] != bytes((dimensions,)):
                raise InputError(f"{path} is no IDX file of bytes in {dimensions} dimensions")
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
    except (*DAMAGE, struct.error) as error:
        raise InputError(f"{path} is not a readable IDX file: {error}") from error
    if not all(shape):
        raise InputError(f"{path} is empty: its shape is {shape}")
    return IdxFile(stream, shape)


def refuse_other_length(file: IdxFile) -> None:
    """Refuse a file that is shorter or longer than its header says.

    Raises:
        InputError: it is, or it is damaged.
    """
    wanted, length = file.start + math.prod(file.shape), 0
    try:
        with file.stream.open() as stream:
            if not file.stream.gzipped:
                length = file.stream.path.stat().st_size
            while file.stream.gzipped and (part := stream.read(1 << 20)) and length <= wanted:
                length += len(part)
    except DAMAGE as error:
        raise InputError(f"{file.stream.path} is damaged: {error}") from error
    if length != wanted:
        more = "at least " if length > wanted else ""
        raise InputError(
            f"{file.stream.path} has {more}{length:,} bytes, its header says {wanted:,}"
        )


def _the_one(settings: IdxData, folder: Path, words: tuple[str, ...], kind: str) -> Path:
    """The one file of `folder` whose name holds one of `words`, and `kind`."""
    found = sorted(
        path
        for path in folder.iterdir()
        if kind in path.name and "ubyte" in path.name and any(word in path.name for word in words)
    )
    if len(found) != 1:
        there = ", ".join(path.name for path in found) or "none"
        hint = "" if found else how_to_get(settings, folder)
        raise InputError(
            f"data.path={folder} must hold one file such as {words[0]}-{kind}-idx"
            f"{3 if kind == 'images' else 1}-ubyte.gz, and holds {there}{hint}"
        )
    return found[0]
