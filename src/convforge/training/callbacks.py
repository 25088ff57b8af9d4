"""What happens beside the training steps: the record of every epoch and the progress shown."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import keras

from convforge.errors import InputError
from convforge.progress import Progress, Task
from convforge.tracking.journal import Journal

# Reading the loss waits for the device; five times a second is as often as an eye wants.
_REFRESH_SECONDS = 0.2


class EpochRecord(keras.callbacks.Callback):
    """Appends every epoch to the table at `path` and to the journal, then calls `after_epoch`."""

    def __init__(self, path: Path, journal: Journal, after_epoch: Callable[[], None]) -> None:
        super().__init__()
        self._path = path
        self._journal = journal
        self._after_epoch = after_epoch
        self._start = 0.0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items()}
        figures["learning_rate"] = float(self.model.optimizer.learning_rate)
        figures["epoch_seconds"] = round(time.monotonic() - self._start, 3)
        self._write({"epoch": epoch + 1, **figures})
        self._journal.metrics(figures, epoch + 1)
        self._after_epoch()
        if not isfinite(figures["loss"]):
            raise InputError(
                f"the loss is {figures['loss']} after epoch {epoch + 1}: "
                "lower optimizer.learning_rate"
            )

    def _write(self, row: Mapping[str, Any]) -> None:
        new = not self._path.exists()
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)


class LiveProgress(keras.callbacks.Callback):
    """Moves the bar with every step and says a line with every epoch."""

    def __init__(
        self, progress: Progress, task: Task, *, epochs: int, examples: int, batch_size: int
    ) -> None:
        super().__init__()
        self._progress = progress
        self._task = task
        self._epochs = epochs
        self._examples = examples
        self._batch_size = batch_size
        self._epoch = 0
        self._shown = 0.0
        self._epoch_start = self._epoch_stop = 0.0
        self._done_before = 0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._epoch = epoch + 1
        self._epoch_start = time.monotonic()
        self._done_before = self._task.done

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        figures = ""
        if time.monotonic() - self._shown > _REFRESH_SECONDS:
            self._shown = time.monotonic()
            figures = f"epoch {self._epoch}/{self._epochs} {_figures(logs or {})}"
        rest = self._examples - batch * self._batch_size
        self._task.advance(min(self._batch_size, rest), figures)
        self._epoch_stop = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        rate = (self._task.done - self._done_before) / (self._epoch_stop - self._epoch_start)
        line = f"epoch {epoch + 1:>3}/{self._epochs}  {_figures(logs or {})}"
        self._progress.say(f"{line}  {rate:,.0f} images/s")


def _figures(logs: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {float(value):.4f}" for name, value in logs.items())
