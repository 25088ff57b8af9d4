"""Several journals in a row, and stores that do not answer for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from convforge.pipeline.filesystem.lock import BusyError
from convforge.pipeline.progress import Progress
from convforge.pipeline.tracking.client import UnreachableError
from convforge.pipeline.tracking.replay import Replay

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_BUSY_PAUSE = 0.3
# How often a store that has answered before is tried in a row when time is short; one that never
# has is tried once.
_LAST_TRIES = 4


@dataclass
class _Pause:
    until: float
    failures: int


class Queue:
    """Deliveries, the first that can go on before those after it.

    A store that does not answer rests, longer each time; what belongs to one run stays in order.

    Args:
        deliveries: in order.
        progress: told when a store does not answer, and when it does again, once each.
        hurried: do not wait long for a store that does not answer.
        done: called with a delivery that has nothing left to send.
    """

    def __init__(
        self,
        deliveries: Sequence[Replay],
        progress: Progress,
        *,
        hurried: bool = False,
        done: Callable[[Replay], None] | None = None,
    ) -> None:
        self.deliveries = list(deliveries)
        # Those that are added later are no loss if another process takes them.
        self._own = list(deliveries)
        self._hurried = hurried
        #: Events that the last `advance` has sent.
        self.sent = 0
        self._progress = progress
        self._done = done or (lambda delivery: None)
        self._pauses: dict[str, _Pause] = {}
        self._busy: dict[Replay, float] = {}
        self._answering: set[str] = set()
        self._told: set[tuple[str, str]] = set()

    def advance(self) -> bool:
        """Send one request's worth of events; False where nothing can be sent now."""
        passed: set[str | None] = set()
        for delivery in list(self.deliveries):
            key = delivery.state.key or delivery.journal.key
            if key in passed or self._rests(delivery):
                passed.add(key)
                continue
            before = delivery.state.delivered
            try:
                moved = delivery.send()
            except BusyError:
                if delivery in self._own:
                    self._busy[delivery] = time.monotonic() + _BUSY_PAUSE
                    passed.add(key)
                else:  # Somebody else is at it.
                    self.deliveries.remove(delivery)
                continue
            except UnreachableError as error:
                self._pause(delivery.uri, str(error))
                passed.add(key)
                continue
            if moved:
                self._answered(delivery.uri)
                self.sent = max(0, delivery.state.delivered - before)
                return True
            if not delivery.journal.has_writer():
                self.deliveries.remove(delivery)
                self._done(delivery)
        return False

    def hurry(self) -> None:
        """Try every store now, and not for long."""
        if not self._hurried:
            self._hurried = True
            for pause in self._pauses.values():
                pause.until, pause.failures = 0.0, 0

    @property
    def pause(self) -> float:
        """Seconds until something is tried again; infinite where nothing will be."""
        now = time.monotonic()
        there = {delivery.uri for delivery in self.deliveries}
        ends = [pause.until for uri, pause in self._pauses.items() if uri in there]
        ends += [end for delivery, end in self._busy.items() if delivery in self.deliveries]
        return max(0.0, min(ends, default=inf) - now)

    def _rests(self, delivery: Replay) -> bool:
        now = time.monotonic()
        pause = self._pauses.get(delivery.uri)
        if pause is not None and now < pause.until:
            return True
        if now < self._busy.get(delivery, 0.0):
            return True
        self._busy.pop(delivery, None)
        return False

    def _pause(self, uri: str, why: str) -> None:
        pause = self._pauses.setdefault(uri, _Pause(0.0, 0))
        self._tell("down", uri, self._progress.warn, f"tracking: {uri} cannot be reached: {why}")
        seconds = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**pause.failures)
        pause.failures += 1
        tries = _LAST_TRIES if uri in self._answering else 1
        given_up = self._hurried and pause.failures >= tries
        pause.until = inf if given_up else time.monotonic() + seconds

    def _answered(self, uri: str) -> None:
        self._answering.add(uri)
        if self._pauses.pop(uri, None) is not None:
            self._tell("up", uri, self._progress.say, f"tracking: {uri} is back")

    def _tell(self, what: str, uri: str, say: Callable[[str], None], line: str) -> None:
        if (what, uri) not in self._told:
            self._told.add((what, uri))
            say(line)
