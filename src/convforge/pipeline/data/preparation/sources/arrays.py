"""What all sources of arrays share: images of one shape with whole-number labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convforge.errors import InputError
from convforge.pipeline.data.preparation.containers import slices
from convforge.pipeline.data.preparation.index.item_index import Entry
from convforge.pipeline.pluralize import pluralize


def array_entries(
    prefix: str,
    split: str,
    labels: NDArray[np.integer],
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
        labels: of each.
        names: of the classes, or None for the number itself.
        stream: the array's place among the source's streams.
        start: offset of the first image in it.
        step: from one image to the next, in bytes.
        size: of an image in bytes.
    """
    for number, label in enumerate(labels.tolist()):
        problem = None
        if label < 0 or (names is not None and label >= len(names)):
            problem = f"label {label} is none of the {len(names or ())} classes"
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


def check_labels(labels: NDArray[np.generic], images: int, what: str) -> NDArray[np.int64]:
    """`labels` as whole numbers `(images,)`.

    Raises:
        InputError: there is another number of them, or they are no whole numbers.
    """
    labels = labels.reshape(-1) if labels.shape[1:] in ((), (1,)) else labels
    if labels.shape != (images,) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"{what} is {labels.dtype} of shape {labels.shape}: give "
            f"{pluralize(images, 'whole number')}, one for each image"
        )
    return labels.astype(np.int64)


def refuse_folder(path: Path, wanted: str) -> None:
    """Refuse a folder where a file is needed."""
    if not path.is_file():
        raise InputError(f"data.path={path} is not a file: give {wanted}")
