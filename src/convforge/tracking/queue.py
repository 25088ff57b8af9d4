"""Several journals in a row, and stores that do not answer for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from convforge.progress import Progress
from convforge.tracking.delivery import BusyError, Delivery
from convforge.tracking.remote import Remote, UnreachableError
from convforge.tracking.store import Store

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_BUSY_PAUSE = 0.3


class Remotes:
    """One client for each store, however many runs go there."""

    def __init__(self) -> None:
        self._remotes: dict[Store, Remote] = {}

    def of(self, store: Store) -> Remote:
        """The store's."""
        return self._remotes.setdefault(store, Remote(store))


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
        once: do not try a store again that has not answered.
        done: called with a delivery that has nothing left to send.
    """

    def __init__(
        self,
        deliveries: Sequence[Delivery],
        progress: Progress,
        *,
        once: bool = False,
        done: Callable[[Delivery], None] | None = None,
    ) -> None:
        self.deliveries = list(deliveries)
        self.once = once
        #: Events that the last `advance` has sent.
        self.sent = 0
        self._progress = progress
        self._done = done or (lambda delivery: None)
        self._pauses: dict[str, _Pause] = {}
        self._busy: dict[Delivery, float] = {}

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
                self._busy[delivery] = time.monotonic() + _BUSY_PAUSE
                passed.add(key)
                continue
            except UnreachableError as error:
                self._pause(delivery, str(error))
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
        """Try every store now, and once."""
        if not self.once:
            self.once = True
            for pause in self._pauses.values():
                pause.until = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether a delivery will be tried again that another process holds now."""
        return any(delivery in self._busy for delivery in self.deliveries)

    @property
    def pause(self) -> float:
        """Seconds until a store is tried again."""
        now = time.monotonic()
        ends = [pause.until for pause in self._pauses.values()] + list(self._busy.values())
        return max(0.0, min(ends, default=inf) - now)

    def _rests(self, delivery: Delivery) -> bool:
        now = time.monotonic()
        pause = self._pauses.get(delivery.uri)
        if pause is not None and now < pause.until:
            return True
        if now < self._busy.get(delivery, 0.0):
            return True
        self._busy.pop(delivery, None)
        return False

    def _pause(self, delivery: Delivery, why: str) -> None:
        pause = self._pauses.setdefault(delivery.uri, _Pause(0.0, 0))
        if not pause.failures:
            self._progress.warn(f"tracking: {delivery.uri} cannot be reached: {why}")
        seconds = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**pause.failures)
        pause.failures += 1
        pause.until = inf if self.once else time.monotonic() + seconds

    def _answered(self, uri: str) -> None:
        if self._pauses.pop(uri, None) is not None:
            self._progress.say(f"tracking: {uri} is back")
