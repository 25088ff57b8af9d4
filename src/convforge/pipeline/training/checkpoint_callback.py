"""When a run's state is saved, and where a run goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import inf
from typing import Any

import keras

from convforge.errors import InputError
from convforge.pipeline.metrics import higher_is_better, monitored
from convforge.pipeline.settings.trainer import CheckpointSettings
from convforge.pipeline.training.callbacks import DivergedError, EpochRecord, LossWatch
from convforge.pipeline.training.resume.checkpoints import Checkpoint, Checkpoints, Position
from convforge.pipeline.training.resume.signals import StopRequest
from convforge.pipeline.training.resume.state import capture, restore

# Of the run's time, what the steps may wait for saving.
_SHARE = 0.01


class Checkpointing(keras.callbacks.Callback):
    """Saves the state between two steps, and gives the metrics theirs when a run goes on.

    The steps wait while the state is copied; it is written to the disk behind them.

    Args:
        checkpoints: where to.
        settings: how often, and what is the best.
        steps_per_epoch: of a whole epoch.
        metrics: the figures that an epoch will have.
        record: of the epochs.
        watch: of the loss, looked at before anything is saved.
        interruption: saves and stops when it has come.
        start: where the run goes on.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        settings: CheckpointSettings,
        *,
        steps_per_epoch: int,
        metrics: tuple[str, ...],
        record: EpochRecord,
        watch: LossWatch,
        interruption: StopRequest,
        start: Checkpoint | None,
    ) -> None:
        super().__init__()
        self._checkpoints = checkpoints
        self._seconds = settings.seconds
        self._monitor = check_monitor(settings.monitor, metrics)
        self._steps = steps_per_epoch
        self._record, self._watch, self._interruption = record, watch, interruption
        self._start = start
        self._epoch = 0
        self._first_step = start.position.step if start else 0
        self._saved = time.monotonic()
        self._cost = 0.0
        best = checkpoints.best()
        self._best = best.record["value"] if best else None

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._epoch = epoch
        if self._start is not None and self._start.position.step:
            # `fit` has just set them back.
            restore(self.model, self._start.arrays, metrics=True)
        self._start = None

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        position = Position(self._epoch, self._first_step + batch + 1)
        if self._interruption.came:
            if position.step < self._steps:
                self._save(position)
            raise KeyboardInterrupt
        # The epoch's end is at hand, and validation with it.
        if self._is_due and position.step < self._steps:
            self._save(position)

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._interruption.came:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._first_step = 0
        position = Position(epoch + 1, 0)
        self._keep_best(position, float((logs or {})[self._monitor]))
        if self._is_due or self._interruption.came:
            self._save(position)
        if self._interruption.came:
            raise KeyboardInterrupt

    @property
    def _is_due(self) -> bool:
        waited = time.monotonic() - self._saved
        return not self._checkpoints.is_writing and waited >= max(
            self._seconds, self._cost / _SHARE
        )

    def _save(self, position: Position) -> None:
        start = time.monotonic()
        self._watch.look()
        checkpoint = snapshot(self.model, position, self._record)
        if not checkpoint.is_finite:
            raise DivergedError(position, inf)
        self._checkpoints.save_behind(checkpoint)
        self._saved = time.monotonic()
        self._cost = self._saved - start

    def _keep_best(self, position: Position, value: float) -> None:
        better = max if higher_is_better(self._monitor) else min
        if self._best is not None and better(value, self._best) == self._best:
            return
        self._best = value
        arrays = capture(self.model, metrics=False, optimizer=False)
        record = {"monitor": self._monitor, "value": value}
        self._checkpoints.save_behind(Checkpoint(position, arrays, record), best=True)


def snapshot(model: keras.Model, position: Position, record: EpochRecord) -> Checkpoint:
    """The run's state at `position`."""
    return Checkpoint(
        position,
        capture(model, metrics=bool(position.step)),
        {"rows": record.rows, "seconds": record.seconds if position.step else 0.0},
    )


def check_monitor(name: str | None, metrics: tuple[str, ...]) -> str:
    """The figure that says which epoch is the best.

    Raises:
        InputError: an epoch has no such figure.

    """
    if name is not None and name not in metrics:
        raise InputError(
            f"trainer.checkpoint.monitor={name} is not allowed: give one of {', '.join(metrics)}"
        )
    return monitored(name, metrics)
