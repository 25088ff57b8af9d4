"""Files whose items lie one behind the other, plain or compressed with gzip."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from convforge.errors import BadItemError
from convforge.pipeline.data.preparation.containers import Read, slice_of

#: What damaged compressed data raise.
DAMAGE = (EOFError, OSError, zlib.error, zipfile.BadZipFile)


@dataclass(frozen=True)
class ByteStream:
    """A file, or a member of a zip, after decompression."""

    path: Path
    gzipped: bool = False
    #: The member's name where `path` is a zip.
    member: str | None = None

    @property
    def forward_only(self) -> bool:
        """Whether going back means starting again."""
        return self.gzipped or self.member is not None

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Opens it at its start."""
        if self.member is not None:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                yield file
        elif self.gzipped:
            with gzip.open(self.path) as file:
                yield file  # type: ignore[misc]
        else:
            with self.path.open("rb") as file:
                yield file


def is_gzipped(path: Path) -> bool:
    """Whether a file begins as gzip does, whatever its name."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextmanager
def stream_reader(streams: tuple[ByteStream, ...]) -> Iterator[Read]:
    """Reads slices of `streams`; a stream is opened at its first slice."""
    with ExitStack() as stack:
        opened: dict[int, IO[bytes]] = {}

        def read(locator: bytes, size: int) -> bytes:
            number, offset = slice_of(locator)
            try:
                if number not in opened:
                    opened[number] = stack.enter_context(streams[number].open())
                opened[number].seek(offset)
                content = opened[number].read(size)
            except DAMAGE as error:
                raise BadItemError(f"cannot be read: {error}") from None
            if len(content) != size:
                raise BadItemError("cut off")
            return content

        yield read


@dataclass(frozen=True)
class StreamedFiles:
    """Files that are arrays: `streams` are read, and `path` is what the config names."""

    path: Path
    streams: tuple[ByteStream, ...]

    @property
    def forward_only(self) -> bool:
        """Whether any of them is."""
        return any(stream.forward_only for stream in self.streams)

    def reader(self) -> AbstractContextManager[Read]:
        """Reads slices."""
        return stream_reader(self.streams)
