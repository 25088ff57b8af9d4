"""NumPy archives of arrays: Keras' own data-set files, MedMNIST's, and their kin."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from convforge.errors import InputError
from convforge.pipeline.data.preparation.containers import Watch
from convforge.pipeline.data.preparation.containers.streams import DAMAGE, ByteStream, StreamedFiles
from convforge.pipeline.data.preparation.index.item_index import Index
from convforge.pipeline.data.preparation.sources.arrays import (
    array_entries,
    check_labels,
    check_names,
    label_blocks,
    order_of,
    refuse_folder,
)
from convforge.pipeline.settings.data import NpzData
from convforge.serving.decode import RawPixels

# Split → how images and labels of it are called.
_NAMES = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("x", "y")),
    "validation": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
_DAMAGE = (*DAMAGE, ValueError, KeyError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Header:
    """What a .npy says of its array, and where the data begin."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    start: int


@dataclass(frozen=True)
class Npz:
    """An archive of images and labels by split."""

    path: Path
    contents: StreamedFiles
    codec: RawPixels
    names: tuple[str, ...] | None
    #: Split → the names of its images and labels.
    arrays: dict[str, tuple[str, str]]

    @classmethod
    def open(cls, settings: NpzData, path: Path) -> Npz:
        """The archive at `path`.

        Raises:
            InputError: it is none, or its arrays are not of images.
        """
        refuse_folder(path, "a .npz")
        try:
            with zipfile.ZipFile(path) as archive:
                there = {name.removesuffix(".npy") for name in archive.namelist()}
        except _DAMAGE as error:
            raise InputError(f"data.path={path} is not a readable .npz: {error}") from error
        arrays = {
            split: pair
            for split, pairs in _NAMES.items()
            for pair in pairs
            if there.issuperset(pair)
        }
        if "train" not in arrays:
            raise InputError(
                f"data.path={path} has no x_train and y_train, but {', '.join(sorted(there))}"
            )
        streams = tuple(ByteStream(path, member=f"{images}.npy") for images, _ in arrays.values())
        shapes = {
            _image_shape(path, images, read_header(stream))
            for stream, (images, _) in zip(streams, arrays.values(), strict=True)
        }
        if len(shapes) > 1:
            raise InputError(
                f"data.path={path}: the images of its splits differ in shape, {shapes}"
            )
        names = check_names(settings.class_names)
        return cls(path, StreamedFiles(path, streams), RawPixels(*shapes.pop()), names, arrays)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The archive."""
        return (self.path,)

    def scan(self, index: Index, watch: Watch) -> None:
        """Enter all images."""
        for stream, (split, (images, labels)) in enumerate(self.arrays.items()):
            watch(stream / len(self.arrays))
            header = read_header(self.contents.streams[stream])
            of_labels = ByteStream(self.path, member=f"{labels}.npy")
            found = read_header(of_labels)
            check_labels(found.shape, found.dtype, header.shape[0], labels)
            _refuse_damage(self.contents.streams[stream])
            index.add(
                array_entries(
                    images,
                    split,
                    label_blocks(of_labels, found.start, header.shape[0], found.dtype),
                    names=self.names,
                    stream=stream,
                    start=header.start,
                    step=self.codec.size,
                    size=self.codec.size,
                )
            )

    def class_order(self, labels: Iterable[str]) -> list[str]:
        """By number."""
        return order_of(self.names, labels)


def _refuse_damage(stream: ByteStream) -> None:
    """Read to the end, where the checksum is."""
    try:
        with stream.open() as file:
            while file.read(1 << 20):
                pass
    except _DAMAGE as error:
        raise InputError(f"{stream.member} in data.path={stream.path}: {error}") from error


def read_header(stream: ByteStream) -> Header:
    """The header of one array.

    Raises:
        InputError: there is none, the array is of Python objects, or is not as long as it says.
    """
    what = f"{stream.member} in data.path={stream.path}"
    try:
        with stream.open() as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read(file)
            start = file.tell()
        with zipfile.ZipFile(stream.path) as archive:
            length = archive.getinfo(stream.member or "").file_size
    except _DAMAGE as error:
        raise InputError(f"{what} is damaged: {error}") from error
    if dtype.hasobject:
        raise InputError(
            f"{what} holds Python objects, which are pickled and can run code: save numbers"
        )
    if fortran and len(shape) > 1:
        raise InputError(f"{what} is in Fortran order: save np.ascontiguousarray of it")
    wanted = start + math.prod(shape) * dtype.itemsize
    if wanted != length:
        raise InputError(f"{what} has {length:,} bytes, its header says {wanted:,}")
    return Header(shape, dtype, start)


def _image_shape(path: Path, name: str, header: Header) -> tuple[int, int, int]:
    shape = header.shape if len(header.shape) == 4 else (*header.shape, 1)
    if header.dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3, 4) or not all(shape):
        raise InputError(
            f"{name} in data.path={path} is {header.dtype} of shape {header.shape}: give uint8 "
            "pixels 0..255 of shape (n, height, width), or with 1, 3 or 4 channels last"
        )
    return shape[1:]
