"""What a run knows of itself: where it is, what its epochs were, how long this one has taken."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from convforge.pipeline.training.resume.checkpoints import START, Checkpoint, Position
from convforge.pipeline.training.resume.state import capture

# Reading the loss waits for the device; five times a second is as often as an eye wants.
REFRESH_SECONDS = 0.2


class DivergedError(Exception):
    """The loss is no number any more, or far too large."""

    def __init__(self, position: Position, loss: float) -> None:
        super().__init__(f"loss {loss} at {position}")
        #: Before the step whose loss it was.
        self.position = position
        self.loss = loss


class RunState(keras.callbacks.Callback):
    """Follows a run. It is the first callback, and the only one that the others know.

    The losses of the last steps stay on the device until they are looked at together, since reading
    one waits for its step.

    Args:
        start: where the run goes on, or None.
        steps_per_epoch: of a whole epoch.
        largest_loss: above which a run has diverged.
    """

    def __init__(
        self, start: Checkpoint | None, *, steps_per_epoch: int, largest_loss: float
    ) -> None:
        super().__init__()
        self.steps_per_epoch = steps_per_epoch
        #: Epochs that are done, and steps of the next one.
        self.position = start.position if start else START
        #: The record of each epoch that is done.
        self.rows: list[Mapping[str, float]] = list(start.record["rows"]) if start else []
        self._seconds_before = float(start.record["seconds"]) if start else 0.0
        self._epoch_began = time.monotonic()
        self._largest_loss = largest_loss
        self._losses: list[Any] = []
        self._batch = -1
        self._looked = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the epoch has taken so far, before a stop too."""
        return self._seconds_before + time.monotonic() - self._epoch_began

    @property
    def epoch_is_over(self) -> bool:
        """Whether only the validation is left of an epoch."""
        return self.position.step == self.steps_per_epoch

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if not self.position.step:
            self._seconds_before = 0.0
        self._epoch_began = time.monotonic()
        self._batch = -1

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """After a step, or after several that one program ran, with the loss of each."""
        epoch, step = self.position
        self.position = Position(epoch, step + batch - self._batch)
        self._batch = batch
        self._losses.append((logs or {})["loss"])
        if time.monotonic() - self._looked > REFRESH_SECONDS:
            self.check_losses()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.check_losses()
        self.position = Position(epoch + 1, 0)

    def check_losses(self) -> None:
        """Look at the losses since the last look.

        Raises:
            DivergedError: one is not finite, or too large.
        """
        losses = [float(loss) for given in self._losses for loss in np.ravel(given)]
        self._losses = []
        epoch, step = self.position
        for number, loss in enumerate(losses, start=step - len(losses)):
            if not loss <= self._largest_loss:
                raise DivergedError(Position(epoch, number), loss)
        self._looked = time.monotonic()

    def checkpoint(self, model: keras.Model) -> Checkpoint:
        """All that `model` in training needs to go on from here."""
        within = bool(self.position.step)
        record = {"rows": list(self.rows), "seconds": self.seconds if within else 0.0}
        return Checkpoint(self.position, capture(model, metrics=within), record)
