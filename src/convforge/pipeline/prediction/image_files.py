"""The images that paths name: files, folders and archives, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convforge.errors import BadItemError, InputError
from convforge.pipeline.data.preparation.sources.files import (
    is_archive,
    is_litter,
    open_container,
)
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.printable import one_line, printable
from convforge.pipeline.progress import Progress
from convforge.serving.model_card import ModelCard
from convforge.serving.predictor import decode_image


class ImageFile(NamedTuple):
    """What was read of one image file."""

    name: str
    #: Its bytes, or why there are none.
    content: bytes | str


def image_files(paths: Sequence[Path]) -> Iterator[ImageFile]:
    """All files at `paths`; what operating systems leave in folders is passed over.

    A file in an archive is called `ARCHIVE/MEMBER`. What cannot be read is said, and the rest goes
    on.
    """
    for path in paths:
        try:
            if path.is_dir() or is_archive(path):
                yield from _members(path)
            else:
                yield ImageFile(str(path), path.read_bytes())
        except OSError as error:
            yield ImageFile(str(path), error.strerror or str(error))


def decoded(
    paths: Sequence[Path], card: ModelCard, tell: Callable[[str], None]
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Name and pixels of each image at `paths`, as a model takes them; `tell` hears of the rest."""
    for name, content in image_files(paths):
        try:
            if isinstance(content, str):
                raise BadItemError(content)
            yield name, decode_image(content, card)
        except BadItemError as error:
            tell(one_line(printable(f"{name}: {error}")))


class ImageReading:
    """Decodes the images at `paths`, and tells `progress` of those that cannot be."""

    def __init__(self, paths: Sequence[Path], card: ModelCard, progress: Progress) -> None:
        self._paths, self._card, self._progress = paths, card, progress
        self._last = ""
        #: How many files could not be read so far.
        self.failed = 0

    @property
    def nothing(self) -> str:
        """What to say where no image was found."""
        if self.failed == 1:
            return self._last
        if not self.failed:
            return f"{', '.join(map(str, self._paths))}: holds no files"
        return f"none of {pluralize(self.failed, 'file')} is an image that can be read"

    def images(self) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Name and pixels of each, as they are read."""
        return decoded(self._paths, self._card, self._tell)

    def _tell(self, problem: str) -> None:
        self.failed += 1
        self._last = problem
        if count(self._paths) != 1:  # Else it is the error.
            self._progress.warn(problem)


def count(paths: Sequence[Path]) -> int | None:
    """How many there will be, where no container has to be read to know."""
    with suppress(OSError):
        if not any(path.is_dir() or is_archive(path) for path in paths):
            return len(paths)
    return None


def _members(path: Path) -> Iterator[ImageFile]:
    try:
        container = open_container(path)
        members = [
            member
            for member in container.members(lambda share: None)
            if not member.is_folder and not is_litter(member.name)
        ]
        with container.reader() as read:
            for member in members:
                name = f"{path}/{member.name}"
                try:
                    problem = member.problem
                    content = problem or read(member.locator, member.size)
                except BadItemError as error:
                    content = str(error)
                yield ImageFile(name, content)
    except InputError as error:  # Damaged as a whole, or of another kind.
        yield ImageFile(str(path), str(error))
