"""A folder of files on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FolderSource:
    """All files below `path`, sorted by name."""

    path: Path

    def files(self) -> Iterator[tuple[str, bytes]]:
        """The name relative to `path`, with `/`, and the content of every file."""
        for folder, subfolders, names in os.walk(self.path):
            subfolders.sort()
            for name in sorted(names):
                file = Path(folder) / name
                yield file.relative_to(self.path).as_posix(), file.read_bytes()
