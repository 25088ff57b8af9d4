"""Whether files have changed, by their names, sizes and dates."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def file_fingerprint(path: Path, *, follow_links: bool = False) -> str:
    """Another text whenever the file `path`, or a file in the folder `path`, is another.

    Args:
        path: of either.
        follow_links: whether what lies in linked folders counts as well.
    """
    digest = hashlib.sha256(os.fsencode(path.resolve()))
    if not path.is_dir():
        _add(digest, path, path.stat())
    entered: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(path, followlinks=follow_links):
        subfolders.sort()
        if follow_links and _again(folder, entered):
            subfolders.clear()
            continue
        for name in sorted(names):
            file = Path(folder, name)
            if file.exists():
                _add(digest, file, file.stat())
    return digest.hexdigest()


def _again(folder: str, entered: set[tuple[int, int]]) -> bool:
    """Whether links have led to `folder` before, as they may without end."""
    status = Path(folder).stat()
    identity = (status.st_dev, status.st_ino)
    if identity in entered:
        return True
    entered.add(identity)
    return False


def _add(digest: hashlib._Hash, file: Path, status: os.stat_result) -> None:
    digest.update(os.fsencode(file))
    digest.update(f" {status.st_size} {status.st_mtime_ns}\n".encode())
