"""A folder of files on disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convforge.errors import BadItemError
from convforge.pipeline.data.preparation.containers import Member, Read, Watch
from convforge.pipeline.printable import printable

_LEAVES = "a link that leaves the folder: data.links=follow reads what it leads to"


@dataclass(frozen=True)
class FolderContainer:
    """Everything below `path`, sorted by name; `path` itself may be a link.

    A link that leads to nothing, or back to a folder above, is reported.

    Args:
        path: the folder.
        follow_links: whether links lead out of it. Otherwise those that do are reported: what is
            not in the folder, such as a stranger's `a/0.png` that links to a private file, is not
            a part of the data set unless somebody says so.
    """

    path: Path
    follow_links: bool = False
    forward_only: bool = False

    def members(self, watch: Watch) -> Iterator[Member]:
        """Folders and files; a locator is the path of a file as the system spells it."""
        status = self.path.stat()
        yield from self._below("", {(status.st_dev, status.st_ino)})

    def _below(self, folder: str, above: set[tuple[int, int]]) -> Iterator[Member]:
        try:
            with os.scandir(self.path / folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            yield Member(printable(folder), problem=f"cannot be listed: {error.strerror}")
            return
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            shown = printable(name)
            try:
                status = entry.stat()
            except OSError as error:
                link = "a link to nothing" if entry.is_symlink() else error.strerror
                yield Member(shown, problem=link)
                continue
            if entry.is_symlink() and not self._may_follow(entry.path):
                yield Member(shown, problem=_LEAVES)
                continue
            identity = (status.st_dev, status.st_ino)
            if stat.S_ISREG(status.st_mode):
                yield Member(shown, status.st_size, os.fsencode(name))
            elif not stat.S_ISDIR(status.st_mode):
                yield Member(shown, problem="neither a file nor a folder")
            elif identity in above:
                yield Member(shown, problem="a link back to a folder above")
            else:
                yield Member(shown, is_folder=True)
                yield from self._below(name, {*above, identity})

    def _may_follow(self, link: str) -> bool:
        if self.follow_links:
            return True
        target, folder = (os.path.realpath(path) for path in (link, self.path))
        return Path(target).is_relative_to(folder)

    @contextmanager
    def reader(self) -> Iterator[Read]:
        """Reads files."""

        def read(locator: bytes, size: int) -> bytes:
            try:
                with (self.path / os.fsdecode(locator)).open("rb", buffering=0) as file:
                    content = file.read(size + 1)
            except OSError as error:
                raise BadItemError(f"cannot be read: {error.strerror}") from None
            if len(content) != size:
                raise BadItemError("changed while it was read")
            return content

        yield read
