"""Whether files have changed, by their names, sizes and dates."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def stamp(path: Path) -> str:
    """Another text whenever the file `path`, or a file in the folder `path`, is another."""
    digest = hashlib.sha256(os.fsencode(path.resolve()))
    if not path.is_dir():
        _add(digest, path, path.stat())
    for folder, subfolders, names in os.walk(path, followlinks=False):
        subfolders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if file.exists():
                _add(digest, file, file.stat())
    return digest.hexdigest()


def _add(digest: hashlib._Hash, file: Path, status: os.stat_result) -> None:
    digest.update(os.fsencode(file))
    digest.update(f" {status.st_size} {status.st_mtime_ns}\n".encode())
