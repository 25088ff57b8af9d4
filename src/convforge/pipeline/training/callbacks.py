"""What happens beside the training steps: the record of every epoch, a watch, the progress."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from convforge.pipeline.progress import Progress, Task
from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.training.resume.checkpoints import Position

# Reading the loss waits for the device; five times a second is as often as an eye wants.
_REFRESH_SECONDS = 0.2


class DivergedError(Exception):
    """The loss is no number any more, or far too large."""

    def __init__(self, position: Position, loss: float) -> None:
        super().__init__(f"loss {loss} at {position}")
        #: Before the step whose loss it was.
        self.position = position
        self.loss = loss


class LossWatch(keras.callbacks.Callback):
    """Raises DivergedError at the first step whose loss is not finite or above `largest`.

    The losses of the last steps stay on the device until they are looked at together, since reading
    one waits for its step.
    """

    def __init__(self, largest: float, first_step: int) -> None:
        super().__init__()
        self._largest = largest
        self._first_step = first_step
        self._epoch = self._step = 0
        self._losses: list[Any] = []
        self._looked = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._epoch, self._step = epoch, self._first_step
        self._first_step = 0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._losses.append((logs or {})["loss"])
        if time.monotonic() - self._looked > _REFRESH_SECONDS:
            self.look()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.look()

    def look(self) -> None:
        """Look at the steps since the last look."""
        losses, self._losses = self._losses, []
        for given in losses:
            loss = float(given)
            if not loss <= self._largest:
                raise DivergedError(Position(self._epoch, self._step), loss)
            self._step += 1
        self._looked = time.monotonic()


class EpochRecord(keras.callbacks.Callback):
    """Appends every epoch to the table at `path` and to the journal, then calls `after_epoch`.

    Args:
        path: of the table; written anew.
        journal: of the run.
        after_epoch: told of every epoch.
        rows: of the epochs that are done.
        seconds: that the next one has taken already.
    """

    def __init__(
        self,
        path: Path,
        journal: Journal,
        after_epoch: Callable[[], None],
        rows: Sequence[Mapping[str, float]],
        seconds: float,
    ) -> None:
        super().__init__()
        self._path = path
        self._journal = journal
        self._after_epoch = after_epoch
        self._before = seconds
        self._start = time.monotonic()
        #: What the table says, epoch by epoch.
        self.rows: list[Mapping[str, float]] = []
        # An epoch that was recorded, but ended after the last checkpoint, is run again: the record
        # has its time.
        self._recorded = journal.recorded_metrics()
        path.unlink(missing_ok=True)
        for row in rows:
            self._append({name: value for name, value in row.items() if name != "epoch"})

    @property
    def seconds(self) -> float:
        """How long the epoch has taken so far."""
        return self._before + time.monotonic() - self._start

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items()}
        figures["learning_rate"] = float(self.model.optimizer.learning_rate)
        figures["epoch_seconds"] = round(self.seconds, 3)
        self._before = 0.0
        self._append(figures)

    def _append(self, figures: Mapping[str, float]) -> None:
        epoch = len(self.rows) + 1
        figures = self._recorded.get(epoch, figures)
        row = {"epoch": epoch, **figures}
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if not self.rows:
                writer.writeheader()
            writer.writerow(row)
        self.rows.append(row)
        if epoch not in self._recorded:
            self._journal.metrics(figures, epoch)
        self._after_epoch()


class LiveProgress(keras.callbacks.Callback):
    """Moves the bar with every step and says a line with every epoch."""

    def __init__(
        self,
        progress: Progress,
        task: Task,
        *,
        epochs: int,
        examples: int,
        batch_size: int,
        first_step: int,
    ) -> None:
        super().__init__()
        self._first_step = first_step
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
        rest = self._examples - (self._first_step + batch) * self._batch_size
        self._task.advance(min(self._batch_size, rest), figures)
        self._epoch_stop = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._first_step = 0
        rate = (self._task.done - self._done_before) / (self._epoch_stop - self._epoch_start)
        line = f"epoch {epoch + 1:>3}/{self._epochs}  {_figures(logs or {})}"
        self._progress.say(f"{line}  {rate:,.0f} images/s")


def _figures(logs: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {float(value):.4f}" for name, value in logs.items())
