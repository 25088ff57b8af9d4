"""Signals that end a run: the step under way is ended first, and its state kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Whether a signal has come that asks the run to end."""

    def __init__(self) -> None:
        self.came = False

    def note(self, number: int, frame: Any) -> None:
        """The handler: the first signal is remembered, the second ends the process's work now."""
        if self.came:
            raise KeyboardInterrupt
        self.came = True


@contextmanager
def interruptions() -> Iterator[Interruption]:
    """Within the block Ctrl-C, and the SIGTERM and SIGHUP of a scheduler, are noted only.

    Only the main thread can have signals handled; in another one nothing is noted.
    """
    noted = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = [signal.signal(number, noted.note) for number in _SIGNALS]
    try:
        yield noted
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)
