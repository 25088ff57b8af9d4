"""From settings and prepared data to a trained model: built, compiled, resumed, fitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import prod
from pathlib import Path

import keras
import numpy as np

from convforge.errors import DivergenceError
from convforge.models.build import build_model, trained_model, with_units
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.reading.stream import Stream, translate_damage_errors
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.progress import Progress
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.training.augmentation_placement import augmented_images, with_augmentation
from convforge.pipeline.training.callbacks import EarlyStopping, EpochRecord, LiveProgress
from convforge.pipeline.training.checkpoint_callback import (
    Checkpointing,
    RestoredMetrics,
    check_monitor,
)
from convforge.pipeline.training.distribution.strategy import Distribution
from convforge.pipeline.training.divergence import trace
from convforge.pipeline.training.feed import Feed
from convforge.pipeline.training.objective import (
    class_weights,
    targets_of,
    training_loss,
    training_metrics,
)
from convforge.pipeline.training.optimization import build_optimizer, make_optimizer
from convforge.pipeline.training.out_of_memory import translate_memory_errors
from convforge.pipeline.training.pruning import Pruning, Trial
from convforge.pipeline.training.resume.checkpoints import Checkpoint, Checkpoints, Position
from convforge.pipeline.training.resume.signals import stop_requests
from convforge.pipeline.training.resume.state import capture, restore
from convforge.pipeline.training.run_group import GroupedRun
from convforge.pipeline.training.run_state import DivergedError, RunState

# More than the first process needs to end its step and save; schedulers give 30 or more.
_SECONDS_TO_FOLLOW = 10.0


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
        trainer = _build(settings, manifest, data, distribution)
    check_monitor(settings.trainer.checkpoint.monitor, trainer.figures)
    distribution.check(settings.trainer.batch_size, trainer.feed.batch_sizes)
    return trainer


def _build(
    settings: Settings, manifest: Manifest, data: Path, distribution: Distribution
) -> Trainer:
    shape, classes = settings.input_shape(manifest.image_shape), len(manifest.classes)
    settings.costs(shape, classes)
    targets = targets_of(settings.task, settings.loss, settings.augment, settings.seed, manifest)
    model = build_model(
        settings.model.specs(regression=targets is not None),
        image_shape=shape,
        num_classes=settings.outputs(classes),
        normalize=settings.model.normalize,
        mean=manifest.statistics.mean,
        std=manifest.statistics.std,
        frozen=settings.frozen,
        name=settings.model.name,
    )
    if targets is not None:
        model = with_units(model, targets.mean, targets.std)
    asked = settings.trainer
    weights = class_weights(settings.loss, manifest)
    stream = Stream(
        data, manifest, asked.examples_per_step, asked.input_threads, distribution.share
    )
    distribution.prepare(model)
    trainable = with_augmentation(
        trained_model(model),
        settings.augmentation_in_training,
        seed=settings.seed,
        colour_basis=stream.colour_basis(settings.augment),
        rows=asked.batch_size if asked.accumulate > 1 else None,
    )
    feed = Feed(settings, stream, targets, weights)
    return Trainer(settings, manifest, feed, model, trainable, distribution)


@dataclass(frozen=True)
class Trainer:
    """A run prepared: the batches, the network, and the same network as it is trained.

    The loss is computed without the last layer, softmax or units; the two models share their
    weights.
    """

    settings: Settings
    manifest: Manifest
    feed: Feed
    model: keras.Model
    trainable: keras.Model
    distribution: Distribution

    def run(
        self,
        history: Path,
        journal: Journal,
        progress: Progress,
        after_epoch: Callable[[], None],
        checkpoints: Checkpoints,
        trial: Trial | None = None,
        grouped: GroupedRun | None = None,
    ) -> Trainer:
        """Train for all epochs, recording each in the table `history` and in `journal`.

        Goes on from the newest of `checkpoints`, and leaves the last state there. A `trial` of a
        search is told of every epoch. A `grouped` run takes its steps with the others of its group.

        Returns:
            The run as trained, on one device.

        Raises:
            DivergenceError: the loss is not finite; its model has the weights from before that.
            InputError: there is not enough memory for a batch.
            PrunedError: the search has given up the trial.
            KeyboardInterrupt: a signal asked for an end, and the state is saved.
        """
        self.compile()
        progress.detail(
            f"{self.trainable.count_params():,} parameters, {self.feed.steps_per_epoch} iterations "
            f"an epoch, data {self.manifest.digest[:12]}"
        )
        for line in self._remarks():
            progress.say(line)
        start = self.distribution.broadcast(checkpoints.newest())
        state = RunState(
            start,
            steps_per_epoch=self.feed.steps_per_epoch,
            largest_loss=self.settings.trainer.largest_loss,
        )
        record = EpochRecord(state, history, journal, after_epoch)
        pruning = Pruning(state, trial, self.settings.trainer.epochs)
        if start is None:
            # A full disk shows now, and not in an hour.
            checkpoints.save(state.checkpoint(self.trainable))
        else:
            self._go_on(start, progress)
        try:
            with translate_damage_errors(), self._translate_memory_errors():
                self._fit(state, start, record, pruning, checkpoints, progress, grouped)
        except DivergedError as error:
            raise self._explained(error, checkpoints) from error
        finally:
            checkpoints.wait()
        pruning.check()
        if start is None or start.position != state.position:
            checkpoints.save(state.checkpoint(self.trainable))
        return self._on_one_device()

    def _remarks(self) -> Iterator[str]:
        """What is other than the words `train` and `loss` let one expect."""
        frozen = self.settings.frozen
        if frozen:
            there = [layer.name for layer in self.model.layers if layer.name in frozen]
            trained = sum(prod(each.shape) for each in self.trainable.trainable_variables)
            yield f"not trained: {', '.join(there)}; {pluralize(trained, 'parameter')} are"
        weights, classes = self.feed.class_weights, self.manifest.classes
        if weights is not None and np.ptp(weights):
            least, most = int(weights.argmin()), int(weights.argmax())
            yield (
                f"the training's loss counts an image {weights[least]:.3g} times (class "
                f"{classes[least]}) to {weights[most]:.3g} times (class {classes[most]}); those of "
                "validation and test count all alike"
            )

    def compile(self) -> None:
        """Give the network its loss, its metrics and its optimizer."""
        settings, targets = self.settings, self.feed.targets
        with self.distribution.scope():
            optimizer = make_optimizer(
                settings.optimizer,
                settings.schedule,
                epochs=settings.trainer.epochs,
                steps_per_epoch=self.feed.steps_per_epoch,
            )
            build_optimizer(optimizer, self.trainable.trainable_variables, settings.optimizer)
            loss = training_loss(
                settings.loss.name,
                None if targets else len(self.manifest.classes),
                settings.loss.label_smoothing,
            )
            self.trainable.compile(
                optimizer=optimizer,
                loss=self.distribution.loss(loss),
                metrics=training_metrics(settings.loss.name, targets),
                jit_compile=self._may_compile,
            )
            # Of half precision there is another one around it now, with variables of its own.
            self.trainable.optimizer.build(self.trainable.trainable_variables)

    @property
    def _may_compile(self) -> bool | str:
        """Keras' choice, but for the loop over a batch's parts: XLA wants all of one size."""
        loops = self.settings.trainer.accumulate > 1 and keras.backend.backend() == "tensorflow"
        return False if loops else "auto"

    @property
    def figures(self) -> tuple[str, ...]:
        """The figures that every epoch will have."""
        metrics = training_metrics(self.settings.loss.name, self.feed.targets)
        names = ("loss", *(str(metric.name) for metric in metrics))
        held_out = self.feed.stream.examples("validation") > 0
        return names + tuple(f"val_{name}" for name in names if held_out)

    def _go_on(self, start: Checkpoint, progress: Progress) -> None:
        with self.distribution.scope():
            self._build_metrics()
            restore(self.trainable, start.arrays, metrics=False)
        epoch, step = start.position
        progress.say(
            f"goes on after epoch {epoch} of {self.settings.trainer.epochs}"
            + (f" and {step} of {self.feed.steps_per_epoch} iterations" if step else "")
        )

    def _build_metrics(self) -> None:
        """Make the metrics' variables, which Keras does in the first step only."""
        outputs = self.trainable.output_shape[-1]
        labels = np.zeros((1, outputs) if self.feed.targets else (1,), np.float32)
        self.trainable.compute_metrics(None, labels, np.zeros((1, outputs), np.float32))

    def _fit(
        self,
        state: RunState,
        start: Checkpoint | None,
        record: EpochRecord,
        pruning: Pruning,
        checkpoints: Checkpoints,
        progress: Progress,
        grouped: GroupedRun | None,
    ) -> None:
        """What is left of an epoch that had begun, then the epochs after it."""
        settings, feed = self.settings.trainer, self.feed
        epoch, step = state.position
        left = (settings.epochs - epoch) * feed.examples - step * settings.examples_per_step
        first = f"{'running' if keras.backend.backend() == 'torch' else 'compiling'} the first step"
        # Where all processes are asked to stop, the first one saves before it does, and the others
        # notice that; a process that is asked alone stops all.
        patience = 0.0 if self.distribution.leads else _SECONDS_TO_FOLLOW
        monitor = check_monitor(settings.checkpoint.monitor, self.figures)
        with (
            self.distribution.scope(),
            nullcontext(grouped.group.stop) if grouped else stop_requests(patience) as stop,
            progress.task("train", unit="images", total=left, status=first) as task,
        ):
            callbacks: list[keras.callbacks.Callback] = [
                state,
                LiveProgress(
                    state,
                    progress,
                    task,
                    epochs=settings.epochs,
                    examples=feed.examples,
                    batch_size=settings.examples_per_step,
                ),
                record,
                Checkpointing(
                    state,
                    checkpoints,
                    seconds=settings.checkpoint.seconds,
                    monitor=monitor,
                    stop=stop,
                ),
            ]
            early = settings.early_stopping
            ending = EarlyStopping(
                state, monitor=monitor, patience=early.patience, min_delta=early.min_delta
            )
            callbacks += [ending, pruning]
            if start is not None and step:
                callbacks.append(RestoredMetrics(start.arrays))
            # Else of a run that was killed after its last epoch.
            if not (ending.is_due or pruning.is_due):
                if settings.feed == "device":
                    self._fit_device(state.position, callbacks, grouped)
                else:
                    self._fit_stream(state.position, callbacks)
        if ending.is_due:
            progress.say(
                f"ended early: {monitor} has not become better for {early.patience} epochs"
            )

    def _fit_stream(self, start: Position, callbacks: list[keras.callbacks.Callback]) -> None:
        for position, end in self._parts(start):
            self.trainable.fit(
                self.distribution.batches(self.feed.training(position)),
                initial_epoch=position.epoch,
                epochs=end,
                steps_per_epoch=self.feed.steps_per_epoch - position.step,
                validation_data=self._validation_batches(),
                # Where Keras cannot count them itself.
                validation_steps=self.feed.validation_steps if self.distribution.endless else None,
                # The stream's own order; Keras would warn that it cannot shuffle.
                shuffle=False,
                verbose=0,
                callbacks=callbacks,
            )
            if self.trainable.stop_training:
                break

    def _fit_device(
        self,
        start: Position,
        callbacks: list[keras.callbacks.Callback],
        grouped: GroupedRun | None,
    ) -> None:
        # They bring JAX.
        from convforge.pipeline.training.device_feed import DeviceFit
        from convforge.pipeline.training.shared_program import GroupedProgram

        self._build_metrics()
        if grouped is None:
            DeviceFit(self.trainable, self.feed).fit(start, callbacks)
            return
        fit = DeviceFit(
            self.trainable, self.feed, GroupedProgram(self.trainable, self.feed, grouped)
        )
        # What the others do before and after their steps is no part of an epoch's time.
        grouped.wait(-1)
        last = fit.fit(start, callbacks)
        grouped.wait(last)

    def _parts(self, start: Position) -> Iterator[tuple[Position, int]]:
        """Where each call of `fit` begins, and the epochs that are done after it."""
        epoch, epochs = start.epoch, self.settings.trainer.epochs
        if start.step:
            yield start, epoch + 1
            epoch += 1
        if epoch < epochs:
            yield Position(epoch, 0), epochs

    def _validation_batches(self) -> object:
        batches = self.feed.validation()
        return None if batches is None else self.distribution.batches(batches)

    def _translate_memory_errors(self) -> AbstractContextManager[None]:
        if self.distribution.devices > 1:
            return nullcontext()
        return translate_memory_errors(self.settings.trainer.batch_size, self._try_step)

    def _try_step(self, batch_size: int) -> None:
        """One iteration, with the first examples of a batch."""
        columns = next(iter(self.feed.training()))
        part = keras.tree.map_structure(lambda rows: rows[:batch_size].numpy(), columns)
        self.trainable.train_on_batch(*part)

    def _on_one_device(self) -> Trainer:
        """The same run, in the same state, on one device; for that no process needs another."""
        if self.distribution.devices == 1:
            return self
        state = capture(self.trainable, metrics=False)
        # The variables' names tell which is which.
        keras.utils.clear_session()
        trainer = build_trainer(self.settings, self.manifest, self.feed.stream.folder)
        trainer.compile()
        restore(trainer.trainable, state, metrics=False)
        return trainer

    def _explained(self, error: DivergedError, checkpoints: Checkpoints) -> DivergenceError:
        before = checkpoints.newest()
        assert before is not None
        trainer = self._on_one_device()
        steps = self.feed.steps_per_epoch
        found = trace(
            trainer.trainable,
            before,
            error,
            steps_per_epoch=steps,
            batches=trainer.feed.training,
            images=lambda inputs: augmented_images(trainer.trainable, inputs),
        )
        epoch, step = found.position
        return DivergenceError(
            f"the loss is {error.loss:.4g}: in epoch {epoch + 1}, iteration {step + 1} of "
            f"{steps}, {found.what}; lower "
            f"optimizer.learning_rate={self.settings.optimizer.learning_rate:g}, or bound the "
            "gradient by optimizer.clip_global_norm",
            trainer.model,
        )
