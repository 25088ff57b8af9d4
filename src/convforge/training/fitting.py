"""From settings and prepared data to a trained model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import keras
import numpy as np

from convforge.data.manifest import Manifest
from convforge.data.stream import Stream, damage_told, held_out
from convforge.models.build import build_model, trained_model, with_units
from convforge.progress import Progress
from convforge.settings import Settings
from convforge.tracking.journal import Journal
from convforge.training.callbacks import EpochRecord, LiveProgress
from convforge.training.objective import Targets, targets_of, training_loss, training_metrics
from convforge.training.optimization import build_optimizer, make_optimizer
from convforge.training.placement import with_augmentation


@dataclass(frozen=True)
class Fit:
    """A run prepared: the network, the same network as it is trained, and the batches.

    The loss is computed without the last layer, softmax or units; the two models share their
    weights. `targets` are the numbers to predict, or None for classes.
    """

    settings: Settings
    manifest: Manifest
    stream: Stream
    model: keras.Model
    trainable: keras.Model
    targets: Targets | None

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
            loss=training_loss(
                self.settings.loss.name, None if self.targets else len(self.manifest.classes)
            ),
            metrics=training_metrics(self.settings.loss.name, self.targets),
            jit_compile=False if trainer.deterministic else "auto",
        )
        total = trainer.epochs * self.examples
        progress.detail(
            f"{self.trainable.count_params():,} parameters, {self.steps_per_epoch} iterations an "
            f"epoch, data {self.manifest.digest[:12]}"
        )
        with damage_told(), progress.task("train", unit="images", total=total) as task:
            self.trainable.fit(
                self._standardized(self.training_batches()),
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
            epochs=trainer.epochs,
            augmentation=self.settings.augment,
            shuffle_bytes=trainer.shuffle_megabytes << 20,
            limit_examples=trainer.limit_examples,
            limit_steps=trainer.limit_steps,
            targets=self.settings.drawn_targets,
        )

    def _validation_batches(self) -> Any:
        if not self.stream.examples("validation"):
            return None
        limit = self.settings.trainer.limit_steps
        numbered = self.settings.augment.place != "input"
        return self._standardized(
            held_out(self.stream, "validation", self.settings, limit, numbered=numbered)
        )

    def _standardized(self, batches: Any) -> Any:
        """The batches with their numbers as the loss sees them."""
        if self.targets is None:
            return batches
        mean = np.array(self.targets.mean, np.float32)
        std = np.array(self.targets.std, np.float32)
        return batches.map(lambda images, numbers: (images, (numbers - mean) / std))


def prepare_fit(settings: Settings, manifest: Manifest, data: Path) -> Fit:
    """Build the network for the data.

    Raises:
        InputError: a layer does not fit, or the data are not for the loss; names the key in the
            config.
    """
    targets = targets_of(settings, manifest)
    shape, classes = tuple(manifest.image_shape), len(manifest.classes)
    settings.costs(shape, classes)
    model = build_model(
        settings.model.specs(regression=targets is not None),
        image_shape=shape,
        num_classes=settings.outputs(classes),
        normalize=settings.model.normalize,
        mean=manifest.statistics.mean,
        std=manifest.statistics.std,
        name=settings.model.name,
    )
    if targets is not None:
        model = with_units(model, targets.mean, targets.std)
    trainer = settings.trainer
    stream = Stream(data, manifest, trainer.batch_size, trainer.input_threads)
    trainable = with_augmentation(
        trained_model(model),
        settings.augment,
        seed=settings.seed,
        colour_basis=stream.colour_basis(settings.augment),
    )
    return Fit(settings, manifest, stream, model, trainable, targets)
