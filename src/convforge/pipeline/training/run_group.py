"""Runs of one process that meet at their training steps.

Each run is a thread with all that a run is: its checkpoints, journal, history and callbacks. One of
them works at a time, as if they were one program, so nothing in a run needs to be safe for threads.
Once all wait for steps, those that are furthest behind get theirs, together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from convforge.pipeline.training.resume.signals import StopRequest

#: In the place of a request, after the number of the epoch.
TRAIN, TEST, END = range(3)


@dataclass(frozen=True)
class Request:
    """What a run waits for.

    Args:
        place: how far the run is; requests of one place are answered together.
        arguments: of the steps.
        answer: what answers requests of one place, in their order.
    """

    place: tuple[int, ...]
    arguments: Mapping[str, Any]
    answer: Callable[[Sequence[Request]], Sequence[Any]]


class RunGroup:
    """Runs that go through their steps together.

    Args:
        count: how many.
        stop: what asks all of them to stop.
        mapped: whether one program computes all runs at once, or each after the other; None leaves
            it to the device.
        say: told what a person may want to know of the group.
    """

    def __init__(
        self, count: int, *, stop: StopRequest, mapped: bool | None, say: Callable[[str], None]
    ) -> None:
        self.count = count
        self.stop = stop
        self.mapped = mapped
        self.say = say
        #: What the first run that comes to its steps has made for all.
        self.program: Any = None
        lock = threading.Lock()
        self._turns = [threading.Condition(lock) for _ in range(count)]
        self._working = 0
        self._left = set(range(count))
        self._requests: dict[int, Request] = {}
        self._answers: dict[int, Any] = {}

    @contextmanager
    def turn(self, run: int) -> Iterator[None]:
        """All that a run does: it works while no other one does."""
        with self._turns[run]:
            self._wait(run)
            try:
                yield
            finally:
                self._left.discard(run)
                self._pass_on()

    def meet(self, run: int, request: Request) -> Any:
        """The answer to the request of `run`, once all runs that are left have one."""
        self._requests[run] = request
        self._pass_on()
        self._wait(run)
        answered = self._answers.pop(run)
        if isinstance(answered, Exception):
            raise answered
        return answered

    def _wait(self, run: int) -> None:
        self._turns[run].wait_for(lambda: self._working == run)

    def _pass_on(self) -> None:
        """Let the first run work that need not wait; where all do, answer some first."""
        if not self._left:
            return
        if self._left == self._requests.keys():
            self._answer()
        self._working = min(self._left - self._requests.keys())
        self._turns[self._working].notify_all()

    def _answer(self) -> None:
        """Answer the requests of those that are furthest behind."""
        place = min(request.place for request in self._requests.values())
        runs = [run for run in sorted(self._requests) if self._requests[run].place == place]
        requests = [self._requests.pop(run) for run in runs]
        answers: Sequence[Any]
        try:
            answers = requests[0].answer(requests)
        except Exception as error:
            # It is as much of the others, each of which says it in its own journal.
            answers = [error] * len(runs)
        self._answers.update(zip(runs, answers, strict=True))


@dataclass(frozen=True)
class GroupedRun:
    """One run of a group.

    Args:
        group: of runs.
        number: of this one.
    """

    group: RunGroup
    number: int

    def meet(self, request: Request) -> Any:
        """See `RunGroup.meet`."""
        return self.group.meet(self.number, request)

    def wait(self, epoch: int) -> None:
        """Wait until the others have ended the epoch, too; -1 is before the first one."""
        self.meet(Request((epoch, END), {}, lambda requests: [None] * len(requests)))


def run_together(
    runs: Sequence[Callable[[GroupedRun], Any]],
    *,
    stop: StopRequest,
    mapped: bool | None,
    say: Callable[[str], None],
) -> list[Any]:
    """Call all `runs` as a group; see `RunGroup`.

    Returns:
        What each has returned, or the error that has ended it; None where it has not begun, since
        all were asked to stop.
    """
    group = RunGroup(len(runs), stop=stop, mapped=mapped, say=say)
    results: list[Any] = [None] * len(runs)

    def work(number: int) -> None:
        with group.turn(number):
            if stop.came:
                return
            try:
                results[number] = runs[number](GroupedRun(group, number))
            except BaseException as error:
                results[number] = error

    # As daemons: a second Ctrl-C ends the process, whatever they are doing.
    threads = [
        threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(runs))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
