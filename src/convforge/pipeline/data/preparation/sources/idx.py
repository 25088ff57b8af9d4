"""IDX files: MNIST, Fashion-MNIST, EMNIST and their kin, compressed with gzip or not.

A folder of four: images and labels to train on, images and labels to test on.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from convforge.errors import InputError
from convforge.pipeline.data.preparation.containers.streams import DAMAGE, ByteStream, is_gzipped
from convforge.pipeline.data.preparation.sources.arrays import LabelledArrays, StoredArray
from convforge.pipeline.data.preparation.sources.missing import how_to_get
from convforge.pipeline.settings.data import IdxData

# How the files of a split are called.
_SPLITS = {"train": ("train",), "test": ("t10k", "test")}
_UNSIGNED_BYTES = 0x08


def open_idx(settings: IdxData, path: Path) -> LabelledArrays:
    """The files in the folder `path`.

    Raises:
        InputError: some are missing, or not of this format.
    """
    if not path.is_dir():
        raise InputError(f"data.path={path} is no folder: give the one of the IDX files")
    arrays = {
        split: (
            _stored_array(_the_one(settings, path, words, "images"), 3),
            _stored_array(_the_one(settings, path, words, "labels"), 1),
        )
        for split, words in _SPLITS.items()
    }
    return LabelledArrays.of(path, arrays, settings.class_names)


def _stored_array(path: Path, dimensions: int) -> StoredArray:
    """The array in an IDX file, by its header.

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
    start = 4 + 4 * dimensions
    return StoredArray(path.name, str(path), stream, shape, np.dtype(np.uint8), start)


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
