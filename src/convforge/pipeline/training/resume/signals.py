"""Signals that end a run: the step under way is ended first, and its state kept."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Whether a signal has come that asks the run to end.

    Args:
        seconds: for which it is not minded.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._noted: float | None = None

    @property
    def came(self) -> bool:
        """Whether the run is to end."""
        return self._noted is not None and time.monotonic() >= self._noted + self._seconds

    def note(self, number: int, frame: Any) -> None:
        """The handler: the first signal is remembered, the second ends the process's work now."""
        if self._noted is not None:
            raise KeyboardInterrupt
        self._noted = time.monotonic()


@contextmanager
def stop_requests(seconds: float = 0.0) -> Iterator[StopRequest]:
    """Within the block Ctrl-C, and the SIGTERM and SIGHUP of a scheduler, are noted only.

    Only the main thread can have signals handled; in another one nothing is noted.

    Args:
        seconds: for which a signal is not minded.
    """
    noted = StopRequest(seconds)
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = [signal.signal(number, noted.note) for number in _SIGNALS]
    try:
        yield noted
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)
