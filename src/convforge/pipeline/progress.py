"""What a stage tells the person in front of it: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import IntEnum

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as RichProgress

from convforge.pipeline.pluralize import pluralize


class Verbosity(IntEnum):
    """How much is said; errors always are."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


class Task:
    """One bar: how far the work is, at what rate, and with what figures."""

    def __init__(self, name: str, unit: str, total: int | None) -> None:
        self.name, self.unit, self.total = name, unit, total
        self.done = 0
        self._start = time.monotonic()

    def advance(self, steps: int = 1, figures: str = "") -> None:
        """Count `steps` more; `figures` (loss, metric) stand beside the bar."""
        self.done += steps

    def status(self, text: str) -> None:
        """What is being done just now stands beside the bar, where there is one."""

    def expect(self, share: float) -> None:
        """`share` of the work is done: the total of a task that did not know it follows."""
        if self.done and share > 0:
            self.total = max(self.done, round(self.done / share))

    @property
    def rate(self) -> float:
        """Units a second since the start."""
        return self.done / max(time.monotonic() - self._start, 1e-9)


class _LiveTask(Task):
    def __init__(self, live: RichProgress, name: str, unit: str, total: int | None) -> None:
        super().__init__(name, unit, total)
        self._live = live
        self._figures = ""
        self._id: TaskID = live.add_task(name, total=total, rate="", figures="", left="")

    def advance(self, steps: int = 1, figures: str = "") -> None:
        super().advance(steps)
        self._figures = figures or self._figures
        self._live.update(
            self._id,
            completed=self.done,
            total=self.total,
            rate=f"{self.rate:,.0f} {self.unit}/s",
            figures=self._figures,
            left=self._left(),
        )

    def status(self, text: str) -> None:
        self.advance(0, text)

    def _left(self) -> str:
        # Not rich's own column: it starts anew whenever the total is corrected.
        if self.total is None or not self.done:
            return ""
        return f"{timedelta(seconds=round((self.total - self.done) / self.rate))} left"


class Progress:
    """Says what happens on standard error, as the terminal and the verbosity ask.

    Args:
        verbosity: QUIET says nothing but errors, VERBOSE adds details.
        console: where to; standard error by default, so that output can be piped.
    """

    def __init__(
        self, verbosity: Verbosity = Verbosity.NORMAL, console: Console | None = None
    ) -> None:
        self.verbosity = verbosity
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, message: str) -> None:
        """A line for everyone but the quiet."""
        if self.verbosity >= Verbosity.NORMAL:
            self.console.print(message, markup=False, emoji=False)

    def detail(self, message: str) -> None:
        """A line for the verbose."""
        if self.verbosity >= Verbosity.VERBOSE:
            self.console.print(message, markup=False, emoji=False)

    def warn(self, message: str) -> None:
        """A line that even the quiet must see."""
        self.console.print(f"warning: {message}", markup=False, emoji=False)

    @contextmanager
    def task(
        self,
        name: str,
        *,
        unit: str,
        total: int | None = None,
        status: str = "",
        closing: bool = True,
    ) -> Iterator[Task]:
        """A bar for as long as the block runs; a closing line with the rate after it.

        Args:
            name: what is being done.
            unit: what is counted, in the plural.
            total: how many there are, where that is known.
            status: what is done before the first of them is; beside the bar, or in a line.
            closing: whether there is a closing line.
        """
        if self._is_live:
            with self._live() as live:
                task: Task = _LiveTask(live, name, unit, total)
                task.status(status)
                yield task
        else:
            task = Task(name, unit, total)
            if status:
                self.say(f"{name}: {status}")
            yield task
        if closing:
            done = pluralize(task.done, unit.removesuffix("s"), unit)
            self.say(f"{name}: {done}, {task.rate:,.0f} {unit}/s")

    def named(self, name: str) -> Progress:
        """The same for one of several runs at a time: `name` before each line, and no bars."""
        return _NamedProgress(self, name)

    @property
    def _is_live(self) -> bool:
        return self.console.is_terminal and self.verbosity >= Verbosity.NORMAL

    def _live(self) -> RichProgress:
        return RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            transient=True,
            refresh_per_second=5,
        )


class _NamedProgress(Progress):
    def __init__(self, progress: Progress, name: str) -> None:
        super().__init__(progress.verbosity, progress.console)
        self._name = name

    def say(self, message: str) -> None:
        super().say(f"{self._name}: {message}")

    def detail(self, message: str) -> None:
        super().detail(f"{self._name}: {message}")

    def warn(self, message: str) -> None:
        super().warn(f"{self._name}: {message}")

    @property
    def _is_live(self) -> bool:
        return False
