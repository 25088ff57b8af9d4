"""What a run is fed with: its batches, how many they are, and how many examples they hold."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from convforge.pipeline.data.reading.stream import Stream, held_out
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.training.objective import Targets
from convforge.pipeline.training.resume.checkpoints import START, Position


@dataclass(frozen=True)
class Feed:
    """The batches of a run, with their numbers as the loss sees them.

    Args:
        settings: of the run.
        stream: of the prepared data.
        targets: the numbers to predict, or None for classes.
    """

    settings: Settings
    stream: Stream
    targets: Targets | None

    @property
    def examples(self) -> int:
        """Training examples that an epoch uses."""
        trainer = self.settings.trainer
        there = self.stream.examples("train")
        limited = (trainer.limit_steps or there) * trainer.batch_size
        return min(there, trainer.limit_examples or there, limited)

    @property
    def steps_per_epoch(self) -> int:
        """Iterations in an epoch, the last, smaller batch included."""
        return ceil(self.examples / self.settings.trainer.batch_size)

    @property
    def validation_steps(self) -> int:
        """Batches of the validation images."""
        trainer = self.settings.trainer
        steps = ceil(self.stream.examples("validation") / trainer.batch_size)
        return min(steps, trainer.limit_steps or steps)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The numbers of rows of the batches of an epoch and of its validation."""
        size, steps = self.settings.trainer.batch_size, self.settings.trainer.limit_steps
        held_out = self.stream.examples("validation")
        held_out = min(held_out, (steps or held_out) * size)
        sizes = {size, self.examples, self.examples % size, held_out, held_out % size}
        return tuple(sorted(rows for rows in sizes if 0 < rows <= size))

    def training(self, start: Position = START) -> Any:
        """The augmented batches from `start` on, epoch after epoch."""
        trainer = self.settings.trainer
        batches = self.stream.training(
            seed=self.settings.seed,
            first_epoch=start.epoch,
            first_step=start.step,
            epochs=trainer.epochs,
            augmentation=self.settings.augment,
            shuffle_bytes=trainer.shuffle_megabytes << 20,
            limit_examples=trainer.limit_examples,
            limit_steps=trainer.limit_steps,
            targets=self.settings.drawn_targets,
        )
        return self._standardized(batches)

    def validation(self) -> Any:
        """The batches of the validation images, or None without any."""
        if not self.stream.examples("validation"):
            return None
        limit = self.settings.trainer.limit_steps
        numbered = self.settings.augment.place != "input"
        return self._standardized(
            held_out(self.stream, "validation", self.settings, limit, numbered=numbered)
        )

    def _standardized(self, batches: Any) -> Any:
        if self.targets is None:
            return batches
        mean = np.array(self.targets.mean, np.float32)
        std = np.array(self.targets.std, np.float32)
        return batches.map(lambda images, numbers, *whole: (images, (numbers - mean) / std, *whole))
