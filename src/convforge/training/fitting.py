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
from convforge.errors import DivergenceError
from convforge.models.build import build_model, trained_model, with_units
from convforge.progress import Progress
from convforge.settings import Settings
from convforge.tracking.journal import Journal
from convforge.training.callbacks import DivergedError, EpochRecord, LiveProgress, LossWatch
from convforge.training.checkpointing import Checkpointing, monitored, snapshot
from convforge.training.checkpoints import START, Checkpoint, Checkpoints, Position
from convforge.training.divergence import trace
from convforge.training.interruption import Interruption, interruptions
from convforge.training.memory import memory_told
from convforge.training.objective import Targets, targets_of, training_loss, training_metrics
from convforge.training.optimization import build_optimizer, make_optimizer
from convforge.training.placement import augmented_images, with_augmentation
from convforge.training.state import restore


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
        self,
        history: Path,
        journal: Journal,
        progress: Progress,
        after_epoch: Callable[[], None],
        checkpoints: Checkpoints,
    ) -> None:
        """Train for all epochs, recording each in the table `history` and in `journal`.

        Goes on from the newest of `checkpoints`, and leaves the last state there.

        Raises:
            DivergenceError: the loss is not finite; the model has the weights from before that.
            InputError: there is not enough memory for a batch.
            KeyboardInterrupt: a signal asked for an end, and the state is saved.
        """
        self.compile()
        progress.detail(
            f"{self.trainable.count_params():,} parameters, {self.steps_per_epoch} iterations an "
            f"epoch, data {self.manifest.digest[:12]}"
        )
        start = checkpoints.newest()
        rows, seconds = (start.record["rows"], start.record["seconds"]) if start else ([], 0.0)
        record = EpochRecord(history, journal, after_epoch, rows, seconds)
        if start is None:
            # A full disk shows now, and not in an hour.
            checkpoints.save(snapshot(self.trainable, START, record))
        else:
            self._build_metrics()
            restore(self.trainable, start.arrays, metrics=False)
            epoch, step = start.position
            progress.say(
                f"goes on after epoch {epoch} of {self.settings.trainer.epochs}"
                + (f" and {step} of {self.steps_per_epoch} iterations" if step else "")
            )
        with damage_told(), interruptions() as interruption:
            try:
                with memory_told(self.settings.trainer.batch_size, self._try_step):
                    self._fit(start, record, progress, checkpoints, interruption)
            except DivergedError as error:
                raise self._explained(error, checkpoints) from error
            finally:
                checkpoints.wait()
        if start is None or start.position.epoch < self.settings.trainer.epochs:
            last = Position(self.settings.trainer.epochs, 0)
            checkpoints.save(snapshot(self.trainable, last, record))

    def compile(self) -> None:
        """Give the network its loss, its metrics and its optimizer."""
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
        )

    def _build_metrics(self) -> None:
        """Make the metrics' variables, which Keras does in the first step only."""
        outputs = self.trainable.output_shape[-1]
        labels = np.zeros((1, outputs) if self.targets else (1,), np.float32)
        self.trainable.compute_metrics(None, labels, np.zeros((1, outputs), np.float32))

    def _fit(
        self,
        start: Checkpoint | None,
        record: EpochRecord,
        progress: Progress,
        checkpoints: Checkpoints,
        interruption: Interruption,
    ) -> None:
        """What is left of an epoch that had begun, then the epochs after it."""
        trainer = self.settings.trainer
        epoch, step = start.position if start else START
        done = epoch * self.examples + step * trainer.batch_size
        left = trainer.epochs * self.examples - done
        watch = LossWatch(trainer.largest_loss, step)
        with progress.task("train", unit="images", total=left) as task:
            callbacks = [
                watch,
                LiveProgress(
                    progress,
                    task,
                    epochs=trainer.epochs,
                    examples=self.examples,
                    batch_size=trainer.batch_size,
                    first_step=step,
                ),
                record,
                Checkpointing(
                    checkpoints,
                    trainer.checkpoint,
                    steps_per_epoch=self.steps_per_epoch,
                    metrics=self.figures,
                    record=record,
                    watch=watch,
                    interruption=interruption,
                    start=start,
                ),
            ]
            parts = [(Position(epoch, 0), trainer.epochs)]
            if step:
                parts = [(Position(epoch, step), epoch + 1), (Position(epoch + 1, 0), parts[0][1])]
            for position, end in parts:
                if position.epoch < end:
                    self.trainable.fit(
                        self._standardized(self.training_batches(position)),
                        initial_epoch=position.epoch,
                        epochs=end,
                        steps_per_epoch=self.steps_per_epoch - position.step,
                        validation_data=self._validation_batches(),
                        # The stream's own order; Keras would warn that it cannot shuffle.
                        shuffle=False,
                        verbose=0,
                        callbacks=callbacks,
                    )

    def _try_step(self, batch_size: int) -> None:
        """One iteration, with the first examples of a batch."""
        inputs, labels = next(iter(self._standardized(self.training_batches())))
        part = keras.tree.map_structure(lambda rows: rows[:batch_size].numpy(), (inputs, labels))
        self.trainable.train_on_batch(*part)

    @property
    def figures(self) -> tuple[str, ...]:
        """The figures that every epoch will have."""
        loss = self.settings.loss.name
        names = ("loss", *(str(m.name) for m in training_metrics(loss, self.targets)))
        held_out = self.stream.examples("validation") > 0
        return names + tuple(f"val_{name}" for name in names if held_out)

    def _explained(self, error: DivergedError, checkpoints: Checkpoints) -> DivergenceError:
        before = checkpoints.newest()
        assert before is not None
        found = trace(
            self.trainable,
            before,
            error,
            steps_per_epoch=self.steps_per_epoch,
            batches=lambda position: self._standardized(self.training_batches(position)),
            images=lambda inputs: augmented_images(self.trainable, inputs),
        )
        epoch, step = found.position
        return DivergenceError(
            f"the loss is {error.loss:.4g}: in epoch {epoch + 1}, iteration {step + 1} of "
            f"{self.steps_per_epoch}, {found.what}; lower "
            f"optimizer.learning_rate={self.settings.optimizer.learning_rate:g}, or bound the "
            "gradient by optimizer.clip_global_norm"
        )

    def training_batches(self, start: Position = START) -> Any:
        """The augmented batches from `start` on, epoch after epoch."""
        trainer = self.settings.trainer
        return self.stream.training(
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
    shape, classes = settings.input_shape(manifest.image_shape), len(manifest.classes)
    settings.costs(shape, classes)
    targets = targets_of(settings, manifest)
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
    fit = Fit(settings, manifest, stream, model, trainable, targets)
    monitored(trainer.checkpoint.monitor, fit.figures)
    return fit
