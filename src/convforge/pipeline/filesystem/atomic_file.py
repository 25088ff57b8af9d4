"""A file that is there whole or not at all, whatever stops the process that writes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, *, flushed: bool = False) -> Iterator[Path]:
    """A file beside `path` to write, which takes its place when the block ends without an error.

    Args:
        path: of the file; its folder is there.
        flushed: whether it is on the disk when the block has ended, so that a loss of power does
            not take it either.
    """
    work = path.with_name(f"{path.name}.new")
    try:
        yield work
        if flushed:
            flush(work)
        work.replace(path)
    except BaseException:
        work.unlink(missing_ok=True)
        raise
    if flushed:
        flush(path.parent)


def write_text(path: Path, text: str, *, flushed: bool = False) -> None:
    """Have `text` in the file `path`, whole or not at all.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "state.json")
        >>> write_text(path, "{}")
        >>> path.read_text()
        '{}'
    """
    with replacing(path, flushed=flushed) as work:
        work.write_text(text, encoding="utf-8")


def flush(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
