"""NumPy archives of arrays: Keras' own data-set files, MedMNIST's, and their kin."""

from __future__ import annotations

import zipfile
from pathlib import Path

from numpy.lib import format as npy

from convforge.errors import InputError
from convforge.pipeline.data.preparation.containers.streams import ByteStream
from convforge.pipeline.data.preparation.sources.arrays import (
    ARRAY_DAMAGE,
    LabelledArrays,
    StoredArray,
)
from convforge.pipeline.settings.data import NpzData

# Split → how images and labels of it are called.
_NAMES = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("x", "y")),
    "validation": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}


def open_npz(settings: NpzData, path: Path) -> LabelledArrays:
    """The archive at `path`.

    Raises:
        InputError: it is none, or its arrays are not of images and labels.
    """
    if not path.is_file():
        raise InputError(f"data.path={path} is not a file: give a .npz")
    try:
        with zipfile.ZipFile(path) as archive:
            there = {name.removesuffix(".npy") for name in archive.namelist()}
    except ARRAY_DAMAGE as error:
        raise InputError(f"data.path={path} is not a readable .npz: {error}") from error
    arrays = {
        split: (_stored_array(path, images), _stored_array(path, labels))
        for split, pairs in _NAMES.items()
        for images, labels in pairs
        if there.issuperset((images, labels))
    }
    if "train" not in arrays:
        raise InputError(
            f"data.path={path} has no x_train and y_train, but {', '.join(sorted(there))}"
        )
    return LabelledArrays.of(path, arrays, settings.class_names)


def _stored_array(path: Path, name: str) -> StoredArray:
    """One array, by its header.

    Raises:
        InputError: there is none, the array is of Python objects, or is not as long as it says.
    """
    stream = ByteStream(path, member=f"{name}.npy")
    shown = f"{name} in data.path={path}"
    try:
        with stream.open() as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read(file)
            start = file.tell()
        with zipfile.ZipFile(path) as archive:
            length = archive.getinfo(f"{name}.npy").file_size
    except ARRAY_DAMAGE as error:
        raise InputError(f"{shown} is damaged: {error}") from error
    if dtype.hasobject:
        raise InputError(
            f"{shown} holds Python objects, which are pickled and can run code: save numbers"
        )
    if fortran and len(shape) > 1:
        raise InputError(f"{shown} is in Fortran order: save np.ascontiguousarray of it")
    array = StoredArray(name, shown, stream, shape, dtype, start)
    array.refuse_other_length(length)
    return array
