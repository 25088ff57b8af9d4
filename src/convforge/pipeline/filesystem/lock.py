"""Locks between processes: who holds one is the only one, until it ends, however it ends."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout


class BusyError(Exception):
    """Another process holds the lock."""


def hold(path: Path, *, seconds: float = 0.0) -> FileLock:
    """The lock whose file is `path`, taken; `release()` gives it back, as does its `with` block.

    Any thread of this process may release it.

    Args:
        path: of the lock's file; its folder is there.
        seconds: to wait for another process; -1 waits as long as it takes.

    Raises:
        BusyError: another process still holds it.
    """
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        raise BusyError(f"another process holds {path}") from None
    return lock


def is_held(path: Path) -> bool:
    """Whether a living process, this one included, holds the lock whose file is `path`."""
    try:
        hold(path).release()
    except BusyError:
        return True
    return False
