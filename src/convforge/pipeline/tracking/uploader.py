"""Replay while the process works: a thread that nothing waits for longer than it must."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from math import inf

from convforge.pipeline.progress import Progress
from convforge.pipeline.tracking.queue import Queue
from convforge.pipeline.tracking.replay import Replay

#: How long a local database is waited for: it needs a lock and, once, some seconds to be created.
LOCAL_SECONDS = 60.0
#: How many times its patience a run waits in all for a server that answers, but slowly.
TOTAL = 3
# A writer wakes the thread; this is for the case that another process held a journal.
_LONGEST_SLEEP = 5.0
# Sending shares the processor and Python's lock with the training steps: it rests so many times as
# long as it has worked, and what is written meanwhile goes with the next request.
_REST = 99
_LONGEST_REST = 5.0


class Uploader:
    """Delivers in the background what this process writes, then what earlier ones have left.

    Args:
        own: of the journals that this process writes, or that must come before them.
        earlier: finds the others; called in the thread.
        progress: where to say that a store cannot be reached.
        patience: seconds without an answer after which `finish` gives up.
        done: called with an earlier delivery that has nothing left.
    """

    def __init__(
        self,
        own: Sequence[Replay],
        earlier: Callable[[], Sequence[Replay]],
        progress: Progress,
        patience: float,
        done: Callable[[Replay], None],
    ) -> None:
        self._own = list(own)
        self._earlier = earlier
        self._progress = progress
        self._patience = patience
        self._queue = Queue(self._own, progress, done=self._done)
        self._tidy = done
        self._condition = threading.Condition()
        self._woken = self._resting = self._finishing = self._stopped = False
        self._moved = time.monotonic()
        self._looked_back = False
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def wake(self) -> None:
        """There is something new."""
        with self._condition:
            self._woken = True
            if not self._resting:
                self._condition.notify_all()

    def finish(self) -> None:
        """Wait until all is delivered, or the store does not answer, or patience is at its end."""
        start = time.monotonic()
        with self._condition:
            self._finishing = True
            self._condition.notify_all()
            while self._thread.is_alive():
                now = time.monotonic()
                limit = self._limit()
                if now - max(start, self._moved) > limit or now - start > TOTAL * limit:
                    break
                self._condition.wait(0.1)
            self._stopped = True
            self._condition.notify_all()
        # Not longer: a request that gets no answer ends by itself, and a killed one does no harm.
        self._thread.join(0.1)

    def release(self) -> None:
        """Let other processes deliver what is left, as soon as no request is under way."""
        if not self._thread.is_alive():
            for delivery in self._own:
                delivery.release()

    def _limit(self) -> float:
        local = all(delivery.client.is_local for delivery in self._own)
        return max(self._patience, LOCAL_SECONDS) if local else self._patience

    def _done(self, delivery: Replay) -> None:
        if delivery not in self._own:
            self._tidy(delivery)

    def _run(self) -> None:
        worked = 0.0
        try:
            while not self._stopped:
                last = self._finishing
                if last:
                    self._queue.hurry()
                start = time.monotonic()
                if self._queue.advance():
                    self._moved = time.monotonic()
                    worked += self._moved - start
                elif not self._looked_back:
                    self._looked_back = True
                    self._queue.deliveries += self._earlier()
                elif last and self._queue.pause == inf:
                    return
                else:
                    self._sleep(min(_LONGEST_REST, _REST * worked))
                    worked = 0.0
        except Exception:
            # A bug, and the run goes on: nothing is lost, since all of it is in the journal.
            self._progress.warn(f"tracking stopped:\n{traceback.format_exc()}")
        finally:
            # What is this process's own it gives back itself, once it has left a record; unless it
            # could not wait for this thread.
            for delivery in self._queue.deliveries:
                if self._stopped or delivery not in self._own:
                    delivery.release()

    def _sleep(self, rest: float) -> None:
        """Until there is something new, and at least as long as it has to rest."""
        with self._condition:
            self._resting = True
            self._condition.wait_for(lambda: self._finishing or self._stopped, rest)
            self._resting = False
            if not self._woken and not self._stopped:
                self._condition.wait(min(_LONGEST_SLEEP, self._queue.pause + 0.01))
            self._woken = False
