"""A .tar or .tar.gz, read in place."""

from __future__ import annotations

import struct
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from convforge.errors import InputError
from convforge.pipeline.data.preparation.containers import Member, Read, Watch, leaves, slices
from convforge.pipeline.data.preparation.containers.streams import (
    DAMAGE,
    ByteStream,
    is_gzipped,
    stream_reader,
)
from convforge.pipeline.printable import printable

# What tarfile raises for hostile headers, beside what decompression does.
_DAMAGE = (*DAMAGE, tarfile.TarError, ValueError, OverflowError, struct.error)
# A header of this size holds a path of a million letters.
_MOST_HEADER_BYTES = 1 << 20


@dataclass(frozen=True)
class TarContainer:
    """The members of a tar, in its order."""

    path: Path

    @property
    def forward_only(self) -> bool:
        """A compressed tar can only be read from its start."""
        return is_gzipped(self.path)

    def members(self, watch: Watch) -> Iterator[Member]:
        """Files and folders; links, devices and files with holes are reported."""
        size = max(self.path.stat().st_size, 1)
        try:
            with self._stream().open() as stream:
                headers = _Headers(stream)
                with tarfile.open(fileobj=headers, mode="r:") as archive:  # type: ignore[call-overload]
                    while (member := archive.next()) is not None:
                        # tarfile would keep every member it has seen.
                        archive.members = []
                        watch(min(headers.position() / size, 1))
                        yield _member(member)
                headers.refuse_early_end()
                while stream.read(1 << 20):
                    pass  # To the checksum of a compressed one.
        except _DAMAGE as error:
            raise InputError(f"data.path={self.path} is not a readable tar: {error}") from error

    def _stream(self) -> ByteStream:
        return ByteStream(self.path, gzipped=self.forward_only)

    def reader(self) -> AbstractContextManager[Read]:
        """Reads members by their offset in the uncompressed tar."""
        return stream_reader((self._stream(),))


def _member(member: tarfile.TarInfo) -> Member:
    name = printable(member.name.removeprefix("./"))
    if member.isdir() and not leaves(name):
        return Member(name, is_folder=True)
    problem = None
    if member.issym() or member.islnk():
        problem = "a link"
    elif leaves(name):
        problem = "its path leaves the archive"
    elif member.issparse() or not member.isreg() or member.size < 0:
        problem = "not a plain file"
    return Member(name, member.size, slices(member.offset_data), problem)


class _Headers:
    """The file that tarfile reads headers from: none too large, and the last one remembered."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._last = b""
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > _MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        self._last = self._file.read(size)
        return self._last

    def position(self) -> int:
        """How far into the file on disk reading is."""
        file: Any = getattr(self._file, "fileobj", self._file)
        return int(file.tell())

    def refuse_early_end(self) -> None:
        """Tarfile takes a damaged header for the end, and would drop all that follows it."""
        if self._last.strip(b"\0"):
            raise tarfile.ReadError("a damaged header")
