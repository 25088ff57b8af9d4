"""A folder that appears complete or not at all, and whose making can be continued."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convforge.errors import InputError, UnfinishedError
from convforge.pipeline.filesystem.atomic_file import flush
from convforge.pipeline.filesystem.lock import BusyError, hold

#: A file in it that says what its content follows from.
KEY = "key"


@contextmanager
def locked(out: Path, *, wait: bool) -> Iterator[None]:
    """The right to write `out`, which one process has at a time.

    Raises:
        InputError: another has it, and `wait` is false; or `out` is where no folder can be.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{out} cannot be written: {error.filename} is not a folder") from error
    try:
        held = hold(out.with_name(f".{out.name}.lock"), seconds=-1 if wait else 0)
    except BusyError as error:
        raise InputError(f"another process is writing {out}: wait for its end") from error
    with held:
        yield


@contextmanager
def atomic_folder(out: Path, key: str) -> Iterator[Path]:
    """A folder beside `out` to fill, which takes its place when the block ends without an error.

    What an earlier, stopped block with the same `key` left in it is still there; with another key
    it is empty. After an InputError it is removed, since what it holds follows from input that
    must change; after anything else it is kept.

    Only the caller that holds `locked(out)` may use it.
    """
    work = out.with_name(f".{out.name}.partial")
    if not _has_key(work, key):
        _empty(work)
        (work / KEY).write_text(key, encoding="utf-8")
    try:
        yield work
    except InputError as error:
        if not isinstance(error, UnfinishedError):
            shutil.rmtree(work, ignore_errors=True)
        raise
    _install(work, out)


def _has_key(work: Path, key: str) -> bool:
    try:
        return (work / KEY).read_text(encoding="utf-8") == key
    except (OSError, ValueError):
        return False


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def _install(work: Path, out: Path) -> None:
    """Put `work` in the place of `out`, on the disk and not in memory only."""
    for path in [*(path for path in work.iterdir() if path.is_file()), work]:
        flush(path)
    before = out.with_name(f".{out.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    if out.exists():
        out.replace(before)
    work.replace(out)
    flush(out.parent)
    (out / KEY).unlink()
    shutil.rmtree(before, ignore_errors=True)
