"""What all sources of arrays share: images of one shape with whole-number labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from convforge.errors import InputError
from convforge.pipeline.data.preparation.containers import slices
from convforge.pipeline.data.preparation.containers.streams import DAMAGE, ByteStream
from convforge.pipeline.data.preparation.index.item_index import Entry
from convforge.pipeline.pluralize import pluralize

# Labels that are in memory at once.
_BLOCK = 1 << 16


def array_entries(
    prefix: str,
    split: str,
    labels: Iterable[NDArray[np.integer]],
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
        labels: of each, in blocks.
        names: of the classes, or None for the number itself.
        stream: the array's place among the source's streams.
        start: offset of the first image in it.
        step: from one image to the next, in bytes.
        size: of an image in bytes.
    """
    each = chain.from_iterable(block.tolist() for block in labels)
    for number, label in enumerate(each):
        problem = None
        if label < 0:
            problem = f"label {label} is negative"
        elif names is not None and label >= len(names):
            known = pluralize(len(names), "class", "classes")
            problem = f"label {label} is none of the {known} of data.class_names"
        name = str(label) if names is None or problem else names[label]
        place = slices(start + number * step, stream)
        yield Entry(f"{prefix}[{number}]", size, place, split, name, problem=problem)


def check_names(names: Sequence[str] | None) -> tuple[str, ...] | None:
    """The config's names of the classes.

    Raises:
        InputError: two are the same, so that two classes would become one.
    """
    if names is not None and len(set(names)) < len(names):
        raise InputError(f"data.class_names={list(names)} must name each class once")
    return None if names is None else tuple(names)


def order_of(names: Sequence[str] | None, labels: Iterable[str]) -> list[str]:
    """The classes in the order of their numbers."""
    if names is None:
        return sorted(labels, key=int)
    known = set(labels)
    return [name for name in names if name in known]


def check_labels(shape: Sequence[int], dtype: np.dtype[Any], images: int, what: str) -> None:
    """Refuse labels that a header announces and that are not one whole number for each image.

    Raises:
        InputError: there is another number of them, or they are no whole numbers.
    """
    if tuple(shape) not in ((images,), (images, 1)) or not np.issubdtype(dtype, np.integer):
        raise InputError(
            f"{what} is {dtype} of shape {tuple(shape)}: give "
            f"{pluralize(images, 'whole number')}, one for each image"
        )


def label_blocks(
    stream: ByteStream, start: int, count: int, dtype: np.dtype[Any]
) -> Iterator[NDArray[np.integer]]:
    """The `count` numbers from offset `start` on, a block at a time, however many there are.

    Raises:
        InputError: the stream is damaged, or ends before.
    """
    left = count * dtype.itemsize
    try:
        with stream.open() as file:
            _read_exactly(file, start)
            while left:
                block = _read_exactly(file, min(left, _BLOCK * dtype.itemsize))
                left -= len(block)
                yield np.frombuffer(block, dtype)
    except (*DAMAGE, ValueError, KeyError, NotImplementedError, RuntimeError) as error:
        what = stream.path if stream.member is None else f"{stream.member} in {stream.path}"
        raise InputError(f"{what} is damaged: {error}") from error


def _read_exactly(file: IO[bytes], size: int) -> bytes:
    found = file.read(size)
    if len(found) < size:
        raise EOFError("it ends before its labels do")
    return found


def refuse_folder(path: Path, wanted: str) -> None:
    """Refuse a folder where a file is needed."""
    if not path.is_file():
        raise InputError(f"data.path={path} is not a file: give {wanted}")
