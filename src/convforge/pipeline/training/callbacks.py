"""What happens beside the training steps: the record of every epoch, and what a person sees.

Each callback knows the run's state and no other callback.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from typing import Any

import keras
import numpy as np

from convforge.pipeline.metrics import higher_is_better
from convforge.pipeline.progress import Progress, Task
from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.training.run_state import REFRESH_SECONDS, RunState


class EpochRecord(keras.callbacks.Callback):
    """Appends every epoch to the table at `path` and to the journal, then calls `after_epoch`.

    Args:
        state: of the run; it gets the rows of the table.
        path: of the table; written anew, with the epochs that are done.
        journal: of the run.
        after_epoch: told of every epoch.
    """

    def __init__(
        self, state: RunState, path: Path, journal: Journal, after_epoch: Callable[[], None]
    ) -> None:
        super().__init__()
        self._state = state
        self._path = path
        self._journal = journal
        self._after_epoch = after_epoch
        # An epoch that was recorded, but ended after the last checkpoint, is run again: the record
        # has its time.
        self._recorded = journal.recorded_metrics()
        path.unlink(missing_ok=True)
        done, state.rows = state.rows, []
        for row in done:
            self._append({name: value for name, value in row.items() if name != "epoch"})

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items()}
        figures["learning_rate"] = float(self.model.optimizer.learning_rate)
        figures["epoch_seconds"] = round(self._state.seconds, 3)
        self._append(figures)

    def _append(self, figures: Mapping[str, float]) -> None:
        rows = self._state.rows
        epoch = len(rows) + 1
        figures = self._recorded.get(epoch, figures)
        row = {"epoch": epoch, **figures}
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if not rows:
                writer.writeheader()
            writer.writerow(row)
        rows.append(row)
        if epoch not in self._recorded:
            self._journal.metrics(figures, epoch)
        self._after_epoch()


class EarlyStopping(keras.callbacks.Callback):
    """Ends a run whose monitored figure has not become better for some epochs.

    It looks at the record of the epochs alone, so a run that was stopped and goes on ends where one
    that was not does.

    Args:
        state: of the run, with the record of the epoch that has just ended.
        monitor: the figure.
        patience: how many epochs are waited for; None is for ever.
        min_delta: what is not more than this is not better.
    """

    def __init__(
        self, state: RunState, *, monitor: str, patience: int | None, min_delta: float
    ) -> None:
        super().__init__()
        self._state = state
        self._monitor = monitor
        self._patience = patience
        self._min_delta = min_delta

    @property
    def is_due(self) -> bool:
        """Whether the run ends after the last epoch of its record."""
        if self._patience is None:
            return False
        sign = 1 if higher_is_better(self._monitor) else -1
        best, waited = -inf, 0
        for row in self._state.rows:
            value = sign * row[self._monitor]
            better = value > best + self._min_delta
            best, waited = (value, 0) if better else (best, waited + 1)
            if waited >= self._patience:
                return True
        return False

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self.is_due:
            self.model.stop_training = True


class LiveProgress(keras.callbacks.Callback):
    """Moves the bar with every step and says a line with every epoch.

    Args:
        state: of the run.
        progress: what says the lines.
        task: the bar.
        epochs: of the whole run.
        examples: of an epoch.
        batch_size: of all batches but an epoch's last.
    """

    def __init__(
        self,
        state: RunState,
        progress: Progress,
        task: Task,
        *,
        epochs: int,
        examples: int,
        batch_size: int,
    ) -> None:
        super().__init__()
        self._state = state
        self._progress = progress
        self._task = task
        self._epochs = epochs
        self._examples = examples
        self._batch_size = batch_size
        self._shown = 0.0
        self._said = ""
        self._epoch_start = self._epoch_stop = 0.0
        self._done_before = self._seen = 0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._epoch_start = time.monotonic()
        self._done_before = self._task.done
        self._seen = self._state.position.step * self._batch_size

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        epoch, step = self._state.position
        figures = ""
        if time.monotonic() - self._shown > REFRESH_SECONDS:
            self._shown = time.monotonic()
            figures = self._said = f"{self._epoch_of(epoch)} {_figures(logs or {})}"
        seen = min(step * self._batch_size, self._examples)
        self._task.advance(seen - self._seen, figures)
        self._seen = seen
        self._epoch_stop = time.monotonic()

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._task.status(f"{self._said}  validating")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        rate = (self._task.done - self._done_before) / (self._epoch_stop - self._epoch_start)
        line = f"epoch {epoch + 1:>3}/{self._epochs}  {_figures(logs or {})}"
        self._progress.say(f"{line}  {rate:,.0f} images/s")

    def _epoch_of(self, done: int) -> str:
        return f"epoch {done + 1}/{self._epochs}"


def _figures(logs: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {np.ravel(value)[-1]:.4f}" for name, value in logs.items())
