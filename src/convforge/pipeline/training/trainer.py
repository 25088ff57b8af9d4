"""From settings and prepared data to a trained model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import keras
import numpy as np

from convforge.errors import DivergenceError
from convforge.models.build import build_model, trained_model, with_units
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.reading.stream import Stream, held_out, translate_damage_errors
from convforge.pipeline.progress import Progress
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.training.augmentation_placement import augmented_images, with_augmentation
from convforge.pipeline.training.callbacks import (
    DivergedError,
    EpochRecord,
    LiveProgress,
    LossWatch,
)
from convforge.pipeline.training.checkpoint_callback import Checkpointing, check_monitor, snapshot
from convforge.pipeline.training.distribution.strategy import Distribution
from convforge.pipeline.training.divergence import trace
from convforge.pipeline.training.objective import (
    Targets,
    targets_of,
    training_loss,
    training_metrics,
)
from convforge.pipeline.training.optimization import build_optimizer, make_optimizer
from convforge.pipeline.training.out_of_memory import translate_memory_errors
from convforge.pipeline.training.resume.checkpoints import START, Checkpoint, Checkpoints, Position
from convforge.pipeline.training.resume.signals import StopRequest, stop_requests
from convforge.pipeline.training.resume.state import capture, restore

# More than the first process needs to end its step and save; schedulers give 30 or more.
_SECONDS_TO_FOLLOW = 10.0


@dataclass(frozen=True)
class Trainer:
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
    distribution: Distribution

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

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The numbers of rows of the batches of an epoch and of its validation."""
        size, steps = self.settings.trainer.batch_size, self.settings.trainer.limit_steps
        held_out = self.stream.examples("validation")
        held_out = min(held_out, (steps or held_out) * size)
        sizes = {size, self.examples, self.examples % size, held_out, held_out % size}
        return tuple(sorted(rows for rows in sizes if 0 < rows <= size))

    @property
    def _validation_steps(self) -> int | None:
        """How many there are, where Keras cannot count them itself."""
        if not self.distribution.endless:
            return None
        trainer = self.settings.trainer
        steps = ceil(self.stream.examples("validation") / trainer.batch_size)
        return min(steps, trainer.limit_steps or steps)

    def run(
        self,
        history: Path,
        journal: Journal,
        progress: Progress,
        after_epoch: Callable[[], None],
        checkpoints: Checkpoints,
    ) -> Trainer:
        """Train for all epochs, recording each in the table `history` and in `journal`.

        Goes on from the newest of `checkpoints`, and leaves the last state there.

        Returns:
            The run as trained, on one device.

        Raises:
            DivergenceError: the loss is not finite; its model has the weights from before that.
            InputError: there is not enough memory for a batch.
            KeyboardInterrupt: a signal asked for an end, and the state is saved.
        """
        self.compile()
        progress.detail(
            f"{self.trainable.count_params():,} parameters, {self.steps_per_epoch} iterations an "
            f"epoch, data {self.manifest.digest[:12]}"
        )
        start = self.distribution.broadcast(checkpoints.newest())
        rows, seconds = (start.record["rows"], start.record["seconds"]) if start else ([], 0.0)
        record = EpochRecord(history, journal, after_epoch, rows, seconds)
        if start is None:
            # A full disk shows now, and not in an hour.
            checkpoints.save(snapshot(self.trainable, START, record))
        else:
            self._restore(start)
            epoch, step = start.position
            progress.say(
                f"goes on after epoch {epoch} of {self.settings.trainer.epochs}"
                + (f" and {step} of {self.steps_per_epoch} iterations" if step else "")
            )
        # Where all processes are asked to stop, the first one saves before it does, and the others
        # notice that; a process that is asked alone stops all.
        patience = 0.0 if self.distribution.leads else _SECONDS_TO_FOLLOW
        with translate_damage_errors(), stop_requests(patience) as interruption:
            try:
                with self._translate_memory_errors(), self.distribution.scope():
                    self._fit(start, record, progress, checkpoints, interruption)
            except DivergedError as error:
                raise self._explained(error, checkpoints) from error
            finally:
                checkpoints.wait()
        if start is None or start.position.epoch < self.settings.trainer.epochs:
            last = Position(self.settings.trainer.epochs, 0)
            checkpoints.save(snapshot(self.trainable, last, record))
        return self._alone()

    def _alone(self) -> Trainer:
        """The same run, in the same state, on one device; for that no process needs another."""
        if self.distribution.devices == 1:
            return self
        state = capture(self.trainable, metrics=False)
        # The variables' names tell which is which.
        keras.utils.clear_session()
        fit = build_trainer(self.settings, self.manifest, self.stream.folder)
        fit.compile()
        restore(fit.trainable, state, metrics=False)
        return fit

    def _translate_memory_errors(self) -> AbstractContextManager[None]:
        if self.distribution.devices > 1:
            return nullcontext()
        return translate_memory_errors(self.settings.trainer.batch_size, self._try_step)

    def _restore(self, start: Checkpoint) -> None:
        with self.distribution.scope():
            self._build_metrics()
            restore(self.trainable, start.arrays, metrics=False)

    def compile(self) -> None:
        """Give the network its loss, its metrics and its optimizer."""
        with self.distribution.scope():
            self._compile_here()

    def _compile_here(self) -> None:
        trainer = self.settings.trainer
        optimizer = make_optimizer(
            self.settings.optimizer,
            self.settings.schedule,
            epochs=trainer.epochs,
            steps_per_epoch=self.steps_per_epoch,
        )
        loss = training_loss(
            self.settings.loss.name, None if self.targets else len(self.manifest.classes)
        )
        build_optimizer(optimizer, self.trainable.trainable_variables)
        self.trainable.compile(
            optimizer=optimizer,
            loss=self.distribution.loss(loss),
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
        interruption: StopRequest,
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
                        self.distribution.batches(
                            self._standardized(self.training_batches(position))
                        ),
                        initial_epoch=position.epoch,
                        epochs=end,
                        steps_per_epoch=self.steps_per_epoch - position.step,
                        validation_data=self._validation_batches(),
                        validation_steps=self._validation_steps,
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
        fit = self._alone()
        found = trace(
            fit.trainable,
            before,
            error,
            steps_per_epoch=self.steps_per_epoch,
            batches=lambda position: fit._standardized(fit.training_batches(position)),
            images=lambda inputs: augmented_images(fit.trainable, inputs),
        )
        epoch, step = found.position
        return DivergenceError(
            f"the loss is {error.loss:.4g}: in epoch {epoch + 1}, iteration {step + 1} of "
            f"{self.steps_per_epoch}, {found.what}; lower "
            f"optimizer.learning_rate={self.settings.optimizer.learning_rate:g}, or bound the "
            "gradient by optimizer.clip_global_norm",
            fit.model,
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
        batches = held_out(self.stream, "validation", self.settings, limit, numbered=numbered)
        return self.distribution.batches(self._standardized(batches))

    def _standardized(self, batches: Any) -> Any:
        """The batches with their numbers as the loss sees them."""
        if self.targets is None:
            return batches
        mean = np.array(self.targets.mean, np.float32)
        std = np.array(self.targets.std, np.float32)
        return batches.map(lambda images, numbers, *whole: (images, (numbers - mean) / std, *whole))


def build_trainer(
    settings: Settings,
    manifest: Manifest,
    data: Path,
    distribution: Distribution = Distribution(),  # noqa: B008  it holds nothing
) -> Trainer:
    """Build the network for the data, on the devices of `distribution`.

    Raises:
        InputError: a layer does not fit, or the data are not for the loss or cannot be distributed;
            names the key in the config.
    """
    with distribution.scope():
        fit = _prepare(settings, manifest, data, distribution)
    check_monitor(settings.trainer.checkpoint.monitor, fit.figures)
    distribution.check(settings, fit.batch_sizes)
    return fit


def _prepare(
    settings: Settings, manifest: Manifest, data: Path, distribution: Distribution
) -> Trainer:
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
    stream = Stream(data, manifest, trainer.batch_size, trainer.input_threads, distribution.share)
    distribution.prepare(model)
    trainable = with_augmentation(
        trained_model(model),
        settings.augment,
        seed=settings.seed,
        colour_basis=stream.colour_basis(settings.augment),
    )
    return Trainer(settings, manifest, stream, model, trainable, targets, distribution)
