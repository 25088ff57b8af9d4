"""Archives, read as a stream: nothing is unpacked to disk."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from convforge.data.sources.watch import Watch, ignore
from convforge.errors import InputError


@dataclass(frozen=True)
class ZipSource:
    """The files of a .zip, in the archive's order."""

    path: Path

    def files(self, watch: Watch = ignore) -> Iterator[tuple[str, bytes]]:
        """The name and the content of every file; a member that fails its checksum is empty."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                members = archive.infolist()
                for number, member in enumerate(members):
                    watch(number / len(members))
                    if not member.is_dir():
                        yield member.filename, _content(archive, member)
        except zipfile.BadZipFile as error:
            raise InputError(f"data.path={self.path} is not a readable zip: {error}") from error


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The bytes of `member`, or none where they cannot be read: decoding then reports it."""
    try:
        return archive.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):
        # RuntimeError and its NotImplementedError: encrypted, or an unknown compression.
        return b""


@dataclass(frozen=True)
class TarSource:
    """The regular files of a .tar or .tar.gz, in the archive's order; links are not followed."""

    path: Path

    def files(self, watch: Watch = ignore) -> Iterator[tuple[str, bytes]]:
        """The name and the content of every file."""
        try:
            size = self.path.stat().st_size
            with self.path.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as archive:
                for member in archive:
                    watch(file.tell() / size)
                    stream = archive.extractfile(member) if member.isreg() else None
                    if stream is not None:
                        yield member.name.removeprefix("./"), stream.read()
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise InputError(f"data.path={self.path} is not a readable tar: {error}") from error
