"""What holds files: a folder, or an archive that is read in place and never unpacked.

A container lists its members first, without their contents. These are read one by one by their
locator, which is opaque to everybody else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

from convforge.errors import BadItemError

#: Told a share from 0 to 1 of what was read.
Watch: TypeAlias = Callable[[float], None]
#: The content of the item of this locator and size; raises BadItemError where it cannot be read.
Read: TypeAlias = Callable[[bytes, int], bytes]


class Member(NamedTuple):
    """A file or a folder in a container."""

    #: Relative to the container, with `/`, and printable.
    name: str
    size: int = 0
    locator: bytes = b""
    #: Why it cannot be an image, as far as the container knows.
    problem: str | None = None
    is_folder: bool = False


class Readable(Protocol):
    """What the contents of items are read from; it can be sent to another process."""

    @property
    def forward_only(self) -> bool:
        """Whether reading any item means reading all that stands before it."""
        ...

    def reader(self) -> AbstractContextManager[Read]:
        """Opens it; items are read in rising order where it is `forward_only`."""
        ...


class Container(Readable, Protocol):
    """A folder or an archive of files."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    def members(self, watch: Watch) -> Iterator[Member]:
        """Everything in it, always in the same order.

        Raises:
            InputError: it is damaged as a whole.
        """
        ...


@dataclass(frozen=True)
class ReadAlready:
    """Contents in memory, by locator; a text says why one could not be read."""

    contents: Mapping[bytes, bytes | str]
    forward_only: bool = False

    @contextmanager
    def reader(self) -> Iterator[Read]:
        """Looks them up."""

        def read(locator: bytes, size: int) -> bytes:
            content = self.contents[locator]
            if isinstance(content, str):
                raise BadItemError(content)
            return content

        yield read


def leaves(name: str) -> bool:
    """Whether a path would lead out of the archive that holds it.

    Example:
        >>> [leaves(name) for name in ("a/b.png", "../b.png", "/etc/b.png", "C:/b.png")]
        [False, True, True, True]
    """
    return name.startswith("/") or ".." in name.split("/") or name[1:3] == ":/"


def slices(offset: int, stream: int = 0) -> bytes:
    """The locator of an item that begins `offset` bytes into one of several streams."""
    return _SLICE.pack(stream, offset)


def slice_of(locator: bytes) -> tuple[int, int]:
    """Stream and offset of a locator that `slices` made."""
    stream, offset = _SLICE.unpack(locator)
    return stream, offset


_SLICE = struct.Struct("<IQ")
