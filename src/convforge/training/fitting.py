"""From settings and prepared data to a trained model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import keras

from convforge.data.manifest import Manifest
from convforge.data.stream import Stream
from convforge.models.build import build_model, logits_model
from convforge.progress import Progress
from convforge.settings import Settings
from convforge.tracking.journal import Journal
from convforge.training.callbacks import EpochRecord, LiveProgress
from convforge.training.optimization import build_optimizer, make_optimizer


@dataclass(frozen=True)
class Fit:
    """A run prepared: the network, the same network without its softmax, and the batches.

    Training minimises the cross-entropy (9) of the logits; the two models share their weights.
    """

    settings: Settings
    manifest: Manifest
    stream: Stream
    model: keras.Model
    trainable: keras.Model

    @property
    def steps_per_epoch(self) -> int:
        """Iterations in an epoch, the last, smaller batch included."""
        return ceil(self.examples / self.settings.trainer.batch_size)

    @property
    def examples(self) -> int:
        """Training examples that an epoch uses."""
        trainer = self.settings.trainer
        there = self.stream.examples("train")
        limited = (trainer.limit_steps or there) * trainer.batch_size
        return min(there, trainer.limit_examples or there, limited)

    def run(
        self, history: Path, journal: Journal, progress: Progress, after_epoch: Callable[[], None]
    ) -> None:
        """Train for all epochs, recording each in the table `history` and in `journal`."""
        trainer = self.settings.trainer
        optimizer = make_optimizer(
            self.settings.optimizer,
            self.settings.schedule,
            epochs=trainer.epochs,
            steps_per_epoch=self.steps_per_epoch,
        )
        build_optimizer(optimizer, self.trainable.trainable_variables)
        self.trainable.compile(
            optimizer=optimizer,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
            jit_compile=False if trainer.deterministic else "auto",
        )
        total = trainer.epochs * self.examples
        progress.detail(
            f"{self.trainable.count_params():,} parameters, {self.steps_per_epoch} iterations an "
            f"epoch, data {self.manifest.digest[:12]}"
        )
        with progress.task("train", unit="images", total=total) as task:
            self.trainable.fit(
                self.training_batches(),
                epochs=trainer.epochs,
                steps_per_epoch=self.steps_per_epoch,
                validation_data=self._validation_batches(),
                # The stream's own order; Keras would warn that it cannot shuffle.
                shuffle=False,
                verbose=0,
                callbacks=[
                    LiveProgress(
                        progress,
                        task,
                        epochs=trainer.epochs,
                        examples=self.examples,
                        batch_size=trainer.batch_size,
                    ),
                    EpochRecord(history, journal, after_epoch),
                ],
            )

    def training_batches(self) -> Any:
        """The augmented batches, epoch after epoch."""
        trainer = self.settings.trainer
        return self.stream.training(
            seed=self.settings.seed,
            augmentation=self.settings.augment,
            shuffle_bytes=trainer.shuffle_megabytes << 20,
            limit_examples=trainer.limit_examples,
            limit_steps=trainer.limit_steps,
        )

    def _validation_batches(self) -> Any:
        if not self.stream.examples("validation"):
            return None
        return self.stream.sequential("validation", self.settings.trainer.limit_steps)


def prepare_fit(settings: Settings, manifest: Manifest, data: Path) -> Fit:
    """Build the network for the data.

    Raises:
        InputError: a layer does not fit; names its key in the config.
    """
    shape, classes = tuple(manifest.image_shape), len(manifest.classes)
    settings.model.costs(shape, classes)
    model = build_model(
        settings.model.specs(),
        image_shape=shape,
        num_classes=classes,
        normalize=settings.model.normalize,
        mean=manifest.statistics.mean,
        std=manifest.statistics.std,
        name=settings.model.name,
    )
    trainer = settings.trainer
    stream = Stream(data, manifest, trainer.batch_size, trainer.input_threads)
    return Fit(settings, manifest, stream, model, logits_model(model))
