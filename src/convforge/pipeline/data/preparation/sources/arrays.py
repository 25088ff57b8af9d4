"""What all sources of arrays share: images of one shape with whole-number labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convforge.errors import InputError
from convforge.pipeline.data.preparation.containers import Watch, slices
from convforge.pipeline.data.preparation.containers.streams import (
    DAMAGE,
    ByteStream,
    StreamedFiles,
)
from convforge.pipeline.data.preparation.index.item_index import Index
from convforge.pipeline.data.preparation.index.items import Entry
from convforge.pipeline.pluralize import pluralize
from convforge.serving.decode import RawPixels

# Bytes that are read at a time.
_BLOCK = 1 << 16
#: What damaged arrays raise.
ARRAY_DAMAGE = (*DAMAGE, ValueError, KeyError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, as its header describes it.

    Args:
        name: what its items are called after.
        shown: what it is called in errors.
        stream: the file.
        shape: of the array.
        dtype: of its values.
        start: the offset of the first.
    """

    name: str
    shown: str
    stream: ByteStream
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    start: int

    @property
    def end(self) -> int:
        """Where the file ends, if it holds what its header says."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize

    def refuse_damage(self) -> None:
        """Read to the end, where a checksum is.

        Raises:
            InputError: it is damaged, or is shorter or longer than its header says.
        """
        length = 0
        try:
            with self.stream.open() as file:
                if not self.stream.forward_only:
                    length = self.stream.path.stat().st_size
                while self.stream.forward_only and length <= self.end:
                    part = file.read(_BLOCK)
                    length += len(part)
                    if not part:
                        break
        except ARRAY_DAMAGE as error:
            raise InputError(f"{self.shown} is damaged: {error}") from error
        self.refuse_other_length(length)

    def refuse_other_length(self, length: int) -> None:
        """Refuse a file of another `length` than its header says."""
        if length != self.end:
            more = "at least " if length > self.end and self.stream.forward_only else ""
            raise InputError(
                f"{self.shown} has {more}{length:,} bytes, its header says {self.end:,}"
            )

    def blocks(self) -> Iterator[NDArray[np.generic]]:
        """Its values in one dimension, a few thousand at a time."""
        with self.stream.open() as file:
            file.seek(self.start)
            size = max(_BLOCK // self.dtype.itemsize, 1) * self.dtype.itemsize
            while block := file.read(size):
                yield np.frombuffer(block, self.dtype)


@dataclass(frozen=True)
class LabelledArrays:
    """Images and labels in arrays, split by split.

    Args:
        path: what the config names.
        paths: the files.
        contents: the arrays of images, in the order of `arrays`.
        codec: their shape.
        names: of the classes, or None for the number itself.
        arrays: split → its images and its labels.
    """

    path: Path
    paths: tuple[Path, ...]
    contents: StreamedFiles
    codec: RawPixels
    names: tuple[str, ...] | None
    arrays: Mapping[str, tuple[StoredArray, StoredArray]]

    @classmethod
    def of(
        cls,
        path: Path,
        arrays: Mapping[str, tuple[StoredArray, StoredArray]],
        class_names: Sequence[str] | None,
    ) -> LabelledArrays:
        """Those at `path`, by what their headers say.

        Raises:
            InputError: the arrays do not belong together, or are not of images and labels.
        """
        shapes = {_image_shape(images) for images, _ in arrays.values()}
        if len(shapes) > 1:
            raise InputError(
                f"data.path={path}: the images of its splits differ in shape, {shapes}"
            )
        for images, labels in arrays.values():
            _check_labels(labels, images.shape[0])
        return cls(
            path,
            tuple(dict.fromkeys(one.stream.path for pair in arrays.values() for one in pair)),
            StreamedFiles(path, tuple(images.stream for images, _ in arrays.values())),
            RawPixels(*shapes.pop()),
            _check_names(class_names),
            arrays,
        )

    def scan(self, index: Index, watch: Watch) -> None:
        """Enter all images."""
        for stream, (split, (images, labels)) in enumerate(self.arrays.items()):
            watch(stream / len(self.arrays))
            images.refuse_damage()
            labels.refuse_damage()
            index.add(
                array_entries(
                    images.name,
                    split,
                    labels.blocks(),
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


def array_entries(
    prefix: str,
    split: str,
    blocks: Iterable[NDArray[np.generic]],
    *,
    names: Sequence[str] | None,
    stream: int,
    start: int,
    step: int,
    size: int,
) -> Iterator[Entry]:
    """The items of one array: `prefix[0]`, `prefix[1]` and so on.

    Args:
        prefix: the array's name.
        split: where its images belong.
        blocks: the labels of all, some at a time.
        names: of the classes, or None for the number itself.
        stream: the array's place among the source's streams.
        start: offset of the first image in it.
        step: from one image to the next, in bytes.
        size: of an image in bytes.
    """
    labels = (label for block in blocks for label in block.tolist())
    for number, label in enumerate(labels):
        problem = None
        if label < 0:
            problem = f"label {label} is negative"
        elif names is not None and label >= len(names):
            known = pluralize(len(names), "class", "classes")
            problem = f"label {label} is none of the {known} of data.class_names"
        name = str(label) if names is None or problem else names[label]
        locator = slices(start + number * step, stream)
        yield Entry(f"{prefix}[{number}]", size, locator, split, name, problem=problem)


def order_of(names: Sequence[str] | None, labels: Iterable[str]) -> list[str]:
    """The classes in the order of their numbers."""
    if names is None:
        return sorted(labels, key=int)
    known = set(labels)
    return [name for name in names if name in known]


def _check_names(names: Sequence[str] | None) -> tuple[str, ...] | None:
    """The config's names of the classes, refused where two classes would become one."""
    if names is not None and len(set(names)) < len(names):
        raise InputError(f"data.class_names={list(names)} must name each class once")
    return None if names is None else tuple(names)


def _check_labels(labels: StoredArray, images: int) -> None:
    """Refuse another number of labels than of images, and what is no whole number."""
    if labels.shape not in ((images,), (images, 1)) or labels.dtype.kind not in "iu":
        raise InputError(
            f"{labels.name} is {labels.dtype} of shape {labels.shape}: give "
            f"{pluralize(images, 'whole number')}, one for each image"
        )


def _image_shape(images: StoredArray) -> tuple[int, int, int]:
    shape = images.shape if len(images.shape) == 4 else (*images.shape, 1)
    if images.dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3, 4) or not all(shape):
        raise InputError(
            f"{images.shown} is {images.dtype} of shape {images.shape}: give uint8 pixels 0..255 "
            "of shape (n, height, width), or with 1, 3 or 4 channels last"
        )
    return shape[1:]
