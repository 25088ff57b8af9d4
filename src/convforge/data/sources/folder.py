"""A folder of files on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from convforge.data.sources.watch import Watch, ignore


@dataclass(frozen=True)
class FolderSource:
    """All files below `path`, sorted by name."""

    path: Path

    def files(self, watch: Watch = ignore) -> Iterator[tuple[str, bytes]]:
        """The name relative to `path`, with `/`, and the content of every file."""
        total = sum(len(names) for _, _, names in os.walk(self.path))
        read = 0
        for folder, subfolders, names in os.walk(self.path):
            subfolders.sort()
            for name in sorted(names):
                watch(read / total)
                read += 1
                file = Path(folder) / name
                yield file.relative_to(self.path).as_posix(), _content(file)


def _content(file: Path) -> bytes:
    """The bytes of `file`, or none where they cannot be read: decoding then reports it."""
    try:
        return file.read_bytes() if file.is_file() else b""
    except OSError:
        return b""
