"""A .zip, read in place."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from convforge.errors import BadItemError, InputError
from convforge.pipeline.data.preparation.containers import Member, Read, Watch, leaves
from convforge.pipeline.printable import printable

# Where the member's header is, the size of its data, the checksum and the method.
_LOCATOR = struct.Struct("<QQIH")
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True)
class ZipContainer:
    """The members of a zip, in the order of its directory.

    The directory is in memory while it is listed, about 0.6 KB for each member.
    """

    path: Path
    forward_only: bool = False

    def members(self, watch: Watch) -> Iterator[Member]:
        """Files and folders; what is encrypted, linked or oddly compressed is reported."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                found = archive.infolist()
        except _DAMAGE as error:
            raise InputError(f"data.path={self.path} is not a readable zip: {error}") from error
        for number, member in enumerate(found):
            watch(number / len(found))
            yield _member(member)

    @contextmanager
    def reader(self) -> Iterator[Read]:
        """Reads members by the offset of their header, without the directory."""
        with self.path.open("rb") as file:

            def read(locator: bytes, size: int) -> bytes:
                try:
                    return _content(file, locator, size)
                except (OSError, OverflowError, struct.error, zlib.error):
                    raise BadItemError("damaged in its archive") from None

            yield read


def _member(member: zipfile.ZipInfo) -> Member:
    # Some programs on Windows write their own separator.
    name = printable(member.filename.replace("\\", "/"))
    if name.endswith("/") and not leaves(name):
        return Member(name.rstrip("/"), is_folder=True)
    problem = None
    if member.flag_bits & 1:
        problem = "encrypted"
    elif stat.S_ISLNK(member.external_attr >> 16):
        problem = "a link"
    elif leaves(name):
        problem = "its path leaves the archive"
    elif member.compress_type not in _METHODS:
        problem = f"compressed by a method that is not read ({member.compress_type})"
    # In a damaged directory an offset may come out below zero.
    elif member.header_offset < 0:
        problem = "damaged in its archive"
    if problem is not None:
        return Member(name, problem=problem)
    locator = _LOCATOR.pack(
        member.header_offset, member.compress_size, member.CRC, member.compress_type
    )
    return Member(name, member.file_size, locator)


def _content(file: IO[bytes], locator: bytes, size: int) -> bytes:
    offset, stored_size, checksum, method = _LOCATOR.unpack(locator)
    if stored_size > os.fstat(file.fileno()).st_size:
        raise BadItemError("damaged in its archive")
    file.seek(offset)
    signature, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if signature != b"PK\x03\x04":
        raise BadItemError("damaged in its archive")
    file.seek(name_length + extra_length, os.SEEK_CUR)
    content = file.read(stored_size)
    if method == zipfile.ZIP_DEFLATED:
        # One byte more than it says shows a bomb without unpacking it.
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
    if len(content) != size or zlib.crc32(content) != checksum:
        raise BadItemError("damaged in its archive")
    return content
