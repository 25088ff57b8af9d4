"""When a run's state is saved, and when a run stops because it was asked to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import inf
from typing import Any

import keras
from numpy.typing import NDArray

from convforge.errors import InputError
from convforge.pipeline.metrics import higher_is_better, monitored
from convforge.pipeline.training.resume.checkpoints import Checkpoint, Checkpoints
from convforge.pipeline.training.resume.signals import StopRequest
from convforge.pipeline.training.resume.state import capture, restore
from convforge.pipeline.training.run_state import DivergedError, RunState

# Of the run's time, what the steps may wait for saving.
_SHARE = 0.01


class RestoredMetrics(keras.callbacks.Callback):
    """Gives the metrics what they had added up of an epoch that goes on.

    Args:
        arrays: of the checkpoint, taken within an epoch.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        super().__init__()
        self._arrays: Mapping[str, NDArray[Any]] | None = arrays

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        # `fit` has just set them back.
        if self._arrays is not None:
            restore(self.model, self._arrays, metrics=True)
        self._arrays = None


class Checkpointing(keras.callbacks.Callback):
    """Saves the run's state between two steps, now and then and when the run is asked to stop.

    The steps wait while the state is copied; it is written to the disk behind them.

    Args:
        state: of the run.
        checkpoints: where to.
        seconds: not more often than this.
        monitor: the figure that says which epoch is the best.
        stop: saves, and stops the run, when it has come.
    """

    def __init__(
        self,
        state: RunState,
        checkpoints: Checkpoints,
        *,
        seconds: float,
        monitor: str,
        stop: StopRequest,
    ) -> None:
        super().__init__()
        self._state = state
        self._checkpoints = checkpoints
        self._seconds = seconds
        self._monitor = monitor
        self._stop = stop
        self._saved = time.monotonic()
        self._cost = 0.0
        best = checkpoints.best()
        self._best = best.record["value"] if best else None

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        stops = self._stop.came
        if self._state.epoch_is_over:
            # Its end is at hand, and validation with it.
            return
        if stops or self._is_due:
            self._save()
        if stops:
            raise KeyboardInterrupt

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._stop.came:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._keep_best(float((logs or {})[self._monitor]))
        stops = self._stop.came
        if stops or self._is_due:
            self._save()
        if stops:
            raise KeyboardInterrupt

    @property
    def _is_due(self) -> bool:
        waited = time.monotonic() - self._saved
        return not self._checkpoints.is_writing and waited >= max(
            self._seconds, self._cost / _SHARE
        )

    def _save(self) -> None:
        start = time.monotonic()
        self._state.check_losses()
        checkpoint = self._state.checkpoint(self.model)
        if not checkpoint.is_finite:
            raise DivergedError(checkpoint.position, inf)
        self._checkpoints.save_behind(checkpoint)
        self._saved = time.monotonic()
        self._cost = self._saved - start

    def _keep_best(self, value: float) -> None:
        better = max if higher_is_better(self._monitor) else min
        if self._best is not None and better(value, self._best) == self._best:
            return
        self._best = value
        arrays = capture(self.model, metrics=False, optimizer=False)
        record = {"monitor": self._monitor, "value": value}
        self._checkpoints.save_behind(Checkpoint(self._state.position, arrays, record), best=True)


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
