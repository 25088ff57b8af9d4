"""What a run is fed with: its batches, how many they are, and how many examples they hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convforge.pipeline.data.reading import tensorflow_ops
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
        class_weights: what an image of each class counts for in training; None for alike.
    """

    settings: Settings
    stream: Stream
    targets: Targets | None
    class_weights: NDArray[np.float32] | None = None

    @property
    def examples(self) -> int:
        """Training examples that an epoch uses."""
        trainer = self.settings.trainer
        there = self.stream.examples("train")
        limited = (trainer.limit_steps or there) * trainer.examples_per_step
        return min(there, trainer.limit_examples or there, limited)

    @property
    def steps_per_epoch(self) -> int:
        """Iterations in an epoch, the last, smaller batch included."""
        return ceil(self.examples / self.settings.trainer.examples_per_step)

    @property
    def validation_steps(self) -> int:
        """Batches of the validation images."""
        trainer = self.settings.trainer
        steps = ceil(self.stream.examples("validation") / trainer.batch_size)
        return min(steps, trainer.limit_steps or steps)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The numbers of rows of the batches of an epoch and of its validation."""
        trainer = self.settings.trainer
        held_out = self.stream.examples("validation")
        held_out = min(held_out, (trainer.limit_steps or held_out) * trainer.batch_size)
        sizes = {
            *_sizes(self.examples, trainer.examples_per_step),
            *_sizes(held_out, trainer.batch_size),
        }
        return tuple(sorted(sizes))

    def training(self, start: Position = START) -> Any:
        """The augmented batches from `start` on, epoch after epoch."""
        trainer = self.settings.trainer
        batches = self.stream.training(
            seed=self.settings.seed,
            first_epoch=start.epoch,
            first_step=start.step,
            epochs=trainer.epochs,
            augmentation=self.settings.augmentation_in_training,
            shuffle_bytes=trainer.shuffle_megabytes << 20,
            limit_examples=trainer.limit_examples,
            limit_steps=trainer.limit_steps,
            targets=self.settings.drawn_targets,
        )
        return self._weighted(self._standardized(batches))

    def orders(self, first_epoch: int = 0) -> Iterator[NDArray[np.int64]]:
        """The order of the examples that are used of each epoch from `first_epoch` on."""
        trainer = self.settings.trainer
        orders = self.stream.orders(
            seed=self.settings.seed,
            first_epoch=first_epoch,
            shuffle_bytes=trainer.shuffle_megabytes << 20,
            limit_examples=trainer.limit_examples,
        )
        return (order[: self.examples] for order in orders.as_numpy_iterator())

    def validation(self) -> Any:
        """The batches of the validation images, or None without any."""
        if not self.stream.examples("validation"):
            return None
        limit = self.settings.trainer.limit_steps
        numbered = self.settings.augment.place != "input"
        # No gradients, no parts: as many images at once as in training.
        stream = replace(self.stream, batch_size=self.settings.trainer.batch_size)
        return self._standardized(
            held_out(stream, "validation", self.settings, limit, numbered=numbered)
        )

    def standardized(self, labels: Any) -> Any:
        """The numbers to predict as the loss sees them; classes as they are."""
        if self.targets is None:
            return labels
        mean = np.array(self.targets.mean, np.float32)
        return (labels - mean) / np.array(self.targets.std, np.float32)

    def _standardized(self, batches: Any) -> Any:
        if self.targets is None:
            return batches
        return batches.map(
            lambda images, numbers, *whole: (images, self.standardized(numbers), *whole)
        )

    def _weighted(self, batches: Any) -> Any:
        """With Keras' sample weights as a third column, where classes count differently."""
        if self.class_weights is None:
            return batches
        weights = self.class_weights
        return batches.map(
            lambda images, labels, *whole: (
                *(images, labels, tensorflow_ops.take(weights, labels, axis=0)),
                *whole,
            )
        )


def _sizes(examples: int, size: int) -> set[int]:
    """Of the batches of so many examples: whole ones, and a smaller last one."""
    return {rows for rows in (size, examples, examples % size) if 0 < rows <= size}
