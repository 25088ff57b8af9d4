"""When a search gives up a run: after an epoch that says that others do better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import keras

from convforge.errors import PrunedError
from convforge.pipeline.training.run_state import RunState


class Trial(Protocol):
    """A run as a search sees it: `convforge.pipeline.sweeps.study`'s."""

    @property
    def figure(self) -> str:
        """What the search goes by."""
        ...

    def gives_up(self, epoch: int, value: float) -> bool:
        """Told of the figure after every epoch; whether the run is to end."""
        ...


class Pruning(keras.callbacks.Callback):
    """Tells a search of every epoch, and ends the run where the search gives it up.

    It goes by the record of the epochs alone, so a run that was stopped and goes on is judged like
    one that was not. After the last epoch there is nothing left to be saved.

    Args:
        state: of the run, with the record of the epoch that has just ended.
        trial: the run in its search, or None without one.
        epochs: of a whole run.
    """

    def __init__(self, state: RunState, trial: Trial | None, epochs: int) -> None:
        super().__init__()
        self._state = state
        self._trial = trial
        self._epochs = epochs
        self._told = 0
        self._given_up = False

    @property
    def is_due(self) -> bool:
        """Whether the run ends after the last epoch of its record."""
        self._given_up = self._given_up or (self._tell() and self._told < self._epochs)
        return self._given_up

    def _tell(self) -> bool:
        """Tell of the epochs that the search does not know; whether it gives up after the last."""
        gives_up = False
        if self._trial is None:
            return gives_up
        for row in self._state.rows[self._told :]:
            self._told += 1
            gives_up = self._trial.gives_up(self._told, row[self._trial.figure])
        return gives_up

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self.model.stop_training:  # An early stop is a whole run.
            self._tell()
        else:
            self.model.stop_training = self.is_due

    def check(self) -> None:
        """Nothing, of a run that was not given up.

        Raises:
            PrunedError: says after which epoch.
        """
        if self._trial is None or not self._given_up:
            return
        figure, row = self._trial.figure, self._state.rows[-1]
        raise PrunedError(
            f"pruned after epoch {len(self._state.rows)} of {self._epochs}: "
            f"{figure} {row[figure]:.4g} is worse than others had by then"
        )
