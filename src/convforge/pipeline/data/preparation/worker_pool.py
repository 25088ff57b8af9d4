"""The machine's cores at work on independent jobs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

from convforge.errors import UnfinishedError

Job = TypeVar("Job")
Result = TypeVar("Result")
#: Asked now and then by a job whether to end.
Stopped: TypeAlias = Callable[[], bool]


class StoppedError(Exception):
    """A job ended because it was told to."""


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class WorkerPool:
    """Runs jobs in `number` processes, or in this one if that is 1.

    Processes and not threads: of a small image, more than half of the time is spent in Python.
    They are started at the first use, which takes a third of a second each.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._pool: ProcessPoolExecutor | None = None
        # Not forked: the parent has threads, of the progress bar among others.
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()

    def run(
        self, function: Callable[[Job, Stopped], Result], jobs: Iterable[Job]
    ) -> Iterator[Result]:
        """The results of `function` on each of `jobs`, as they come.

        No more jobs are asked for than are about to be worked on.

        Raises:
            UnfinishedError: a process was killed, as happens when memory runs out.
        """
        if self.number == 1:
            for job in jobs:
                yield function(job, _never)
            return
        pool = self._started()
        pending: set[Future[Result]] = set()
        try:
            for job in jobs:
                pending.add(pool.submit(_call, function, job))
                if len(pending) > self.number:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise UnfinishedError(
                "a worker process was killed, perhaps for want of memory: try --workers 1; the "
                "same command continues"
            ) from error

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.number, self._context, initializer=_begin, initargs=(self._stop,)
            )
        return self._pool

    def close(self) -> None:
        """End all processes, jobs that run included."""
        if self._pool is not None:
            self._stop.set()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


@contextmanager
def worker_pool(number: int) -> Iterator[WorkerPool]:
    """Workers that end with the block, however that ends."""
    pool = WorkerPool(number)
    try:
        yield pool
    finally:
        pool.close()


_stop: Any = None


def _begin(stop: Any) -> None:
    """In a new worker process."""
    global _stop
    _stop = stop
    # Ctrl-C reaches all processes of the terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot tell its workers to end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(function: Callable[[Job, Stopped], Result], job: Job) -> Result:
    return function(job, _stop.is_set)


def _never() -> bool:
    return False
