"""A run over data in the device's memory: many steps in one program (JAX).

The streaming feed hands over a batch at a time, and the host starts every step. Here the images lie
in the device's memory as bytes, and one compiled program runs a chunk of steps: it takes a batch's
rows, augments them, trains, and adds up the metrics. The host draws the order of an epoch; between
two chunks it looks at the figures, writes the journal and saves checkpoints.

Orders and draws are those of the streaming feed, so the weights are too, to float tolerance. How
the steps are divided into chunks changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import keras
import numpy as np
from numpy.typing import NDArray

from convforge.augment import centre_window
from convforge.augment.settings import Size
from convforge.errors import InputError
from convforge.pipeline.training.augmentation_placement import EPOCH, INDEX, StepAugmented
from convforge.pipeline.training.resume.checkpoints import Position

if TYPE_CHECKING:
    # It brings TensorFlow, which an accelerator need not have.
    from convforge.pipeline.training.feed import Feed

# Of a chunk: long enough that the host's turn between two is not felt, short enough for Ctrl-C.
_SECONDS_A_CHUNK = 0.5
# How much longer than the last one a chunk may be: the first of a program measure its compilation.
_GROWTH = 4
# Of the device's memory, what the images may take: the rest is the network's.
_SHARE_OF_MEMORY = 0.8

State = list[list[Any]]


class Split(NamedTuple):
    """A split in the device's memory."""

    #: `(n, height, width, channels)` uint8.
    images: jax.Array
    #: As the loss sees them.
    labels: jax.Array
    #: What the draws follow from: `(n,)` int32.
    indices: jax.Array
    #: What each example's loss counts for; None for 1.
    weights: jax.Array | None


def load(feed: Feed, split: str) -> Split:
    """All examples of `split` on the device.

    Raises:
        InputError: they do not fit, or a shard is damaged.
    """
    height, width, channels = feed.stream.manifest.image_shape
    size = feed.stream.examples(split) * height * width * channels
    there = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if there and size > _SHARE_OF_MEMORY * there:
        raise InputError(
            f"trainer.feed=device is not allowed: the {split} images take {size / 1e9:.1f} of the "
            f"device's {there / 1e9:.1f} GB; give trainer.feed=stream"
        )
    images, labels, indices = feed.stream.whole(split)
    weights = feed.class_weights if split == "train" else None
    return Split(
        jax.device_put(images),
        jax.device_put(feed.standardized(labels)),
        jax.device_put(indices.astype(np.int32)),
        None if weights is None else jax.device_put(weights[labels]),
    )


class Steps:
    """What a model does with the batches of a split, as functions of its state.

    Args:
        model: compiled, its metrics built; what `with_augmentation` gave.
        size: of the centre windows that a model without augmentation sees, (height, width), or
            None.
    """

    def __init__(self, model: keras.Model, size: Size | None) -> None:
        self._model = model
        self._size = size

    def train(
        self, state: State, data: Split, places: Any, epoch: Any, first: Any, count: Any
    ) -> tuple[dict[str, Any], State]:
        """`count` steps from batch `first` of `places` on: figures after each, and the state."""

        def step(state: Any, number: Any) -> tuple[Any, Any]:
            batch = self._batch(data, places[number], epoch, training=True)
            logs, state = self._model.train_step(tuple(state), batch)
            return logs, [list(group) for group in state]

        def body(number: Any, carry: Any) -> Any:
            state, seen = carry
            logs, state = step(state, first + number)
            return state, {name: seen[name].at[number].set(value) for name, value in logs.items()}

        logs, _ = jax.eval_shape(step, state, 0)
        nothing = {
            name: jnp.zeros((places.shape[0], *value.shape), value.dtype)
            for name, value in logs.items()
        }
        state, seen = jax.lax.fori_loop(0, count, body, (state, nothing))
        return seen, state

    def test(self, state: State, data: Split, places: Any) -> tuple[dict[str, Any], Any]:
        """The figures over all batches of `places`, and the state of the metrics."""

        def step(metrics: Any, rows: Any) -> tuple[Any, Any]:
            batch = self._batch(data, rows, 0, training=False)
            logs, (*_, metrics) = self._model.test_step((*state[:-1], metrics), batch)
            return list(metrics), logs

        metrics, logs = jax.lax.scan(step, state[-1], places)
        return {name: values[-1] for name, values in logs.items()}, metrics

    def _batch(self, data: Split, rows: Any, epoch: Any, *, training: bool) -> tuple[Any, ...]:
        images, index = data.images[rows], data.indices[rows]
        weights = () if data.weights is None else (data.weights[rows],)
        inputs = {"image": images, INDEX: index, EPOCH: jnp.full_like(index, epoch)}
        named = isinstance(self._model.input, dict)
        if not (named or (training and isinstance(self._model, StepAugmented))):
            inputs = keras.ops.cast(centre_window(images, self._size), "float32")
        return inputs, data.labels[rows], *weights


class Pace:
    """How many steps a chunk has: so many that it takes as long as it should."""

    def __init__(self) -> None:
        self._chunk = 1

    def steps(self, left: int) -> int:
        """Of the next chunk, where so many steps are left."""
        return min(self._chunk, left)

    def took(self, count: int, seconds: float) -> None:
        """Told how long a chunk of `count` steps has taken."""
        if count == self._chunk:
            self._chunk = max(1, round(count * min(_GROWTH, _SECONDS_A_CHUNK / seconds)))


class TrainingProgram(Protocol):
    """What runs the steps of one run: a program of its own, or one that several runs share."""

    def split(self, feed: Feed, name: str) -> Split:
        """A split of the run's data on the device."""
        ...

    def train(
        self, data: Split, places: jax.Array, epoch: int, first: int
    ) -> dict[str, NDArray[np.float32]]:
        """Run the next steps, on the batches whose rows are `places` from row `first` on.

        Args:
            data: the training split.
            places: `(batches, rows)`, of an epoch.
            epoch: its number.
            first: of the batches to train on.

        Returns:
            The figures of the epoch after each step: as many as there were steps.
        """
        ...

    def test(self, data: Split, places: NDArray[np.int32], epoch: int) -> dict[str, float]:
        """The figures over the batches whose rows are `places`, with those before."""
        ...


class Program:
    """The compiled steps of one run.

    Args:
        model: as in `Steps`.
        size: as in `Steps`.
    """

    def __init__(self, model: keras.Model, size: Size | None) -> None:
        steps = Steps(model, size)
        self._model = model
        self._pace = Pace()
        self._train = jax.jit(steps.train, donate_argnums=0)
        self._test = jax.jit(steps.test)

    def split(self, feed: Feed, name: str) -> Split:
        return load(feed, name)

    def train(
        self, data: Split, places: jax.Array, epoch: int, first: int
    ) -> dict[str, NDArray[np.float32]]:
        count = self._pace.steps(len(places) - first)
        start = time.monotonic()
        logs, state = self._train(state_of(self._model), data, places, epoch, first, count)
        assign(self._model, state)
        seen = {name: np.asarray(values)[:count] for name, values in logs.items()}
        self._pace.took(count, time.monotonic() - start)
        return seen

    def test(self, data: Split, places: NDArray[np.int32], epoch: int) -> dict[str, float]:
        logs, metrics = self._test(state_of(self._model, optimizer=False), data, places)
        assign_metrics(self._model, metrics)
        return {name: float(value) for name, value in logs.items()}


def state_of(model: keras.Model, *, optimizer: bool = True) -> State:
    """The values of the model's variables: weights, others, optimizer, metrics."""
    return [[variable.value for variable in group] for group in _variables(model, optimizer)]


def assign(model: keras.Model, state: State) -> None:
    """Give the variables of `model` the values of `state`."""
    for variables, values in zip(_variables(model, True), state, strict=True):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def assign_metrics(model: keras.Model, metrics: list[Any]) -> None:
    """Give the metrics' variables of `model` these values."""
    for variable, value in zip(model.metrics_variables, metrics, strict=True):
        variable.assign(value)


def _variables(model: keras.Model, optimizer: bool) -> list[list[Any]]:
    middle = [model.optimizer.variables] if optimizer else []
    return [
        model.trainable_variables,
        model.non_trainable_variables,
        *middle,
        model.metrics_variables,
    ]


class DeviceFit:
    """What `fit` is for the streaming feed, with the same callbacks.

    Args:
        model: compiled, its metrics built; what `with_augmentation` gave.
        feed: of the run.
        program: what runs its steps; None for one of its own.
    """

    def __init__(
        self, model: keras.Model, feed: Feed, program: TrainingProgram | None = None
    ) -> None:
        self._model = model
        self._feed = feed
        self._program = program or Program(model, feed.settings.augment.size)
        self._training = self._program.split(feed, "train")
        held_out = feed.stream.examples("validation") > 0
        self._validation = self._program.split(feed, "validation") if held_out else None

    def fit(self, start: Position, callbacks: list[keras.callbacks.Callback]) -> int:
        """Train from `start` to the last epoch, or until a callback ends it.

        Returns:
            The number of the epoch that was the last.
        """
        epochs = self._feed.settings.trainer.epochs
        told = keras.callbacks.CallbackList(callbacks, model=self._model, epochs=epochs)
        self._model.stop_training = False
        told.on_train_begin()
        orders = self._feed.orders(start.epoch)
        step, epoch = start.step, start.epoch
        for epoch in range(start.epoch, epochs):
            self._model.reset_metrics()
            told.on_epoch_begin(epoch)
            logs = self._epoch(next(orders), epoch, step, told)
            if self._validation is not None:
                logs |= self._validate(self._validation, epoch, told)
            told.on_epoch_end(epoch, logs)
            step = 0
            if self._model.stop_training:
                break
        told.on_train_end()
        return epoch

    def _epoch(
        self,
        order: NDArray[np.int64],
        epoch: int,
        first: int,
        told: keras.callbacks.CallbackList,
    ) -> dict[str, float]:
        done, last = 0, {}
        for places in _batched(order, self._feed.settings.trainer.examples_per_step):
            on_device = jax.device_put(places)
            step = min(first, len(places))
            first -= step
            while step < len(places):
                logs = self._program.train(self._training, on_device, epoch, step)
                count = len(logs["loss"])
                step += count
                done += count
                last = {name: float(values[-1]) for name, values in logs.items()}
                told.on_train_batch_end(done - 1, {**last, "loss": logs["loss"]})
        return last

    def _validate(
        self, data: Split, epoch: int, told: keras.callbacks.CallbackList
    ) -> dict[str, float]:
        self._model.reset_metrics()
        told.on_test_begin()
        trainer = self._feed.settings.trainer
        examples = len(data.labels)
        if trainer.limit_steps is not None:
            examples = min(examples, trainer.limit_steps * trainer.batch_size)
        logs: dict[str, float] = {}
        # A stop waits for its end, which is near, and loses nothing of the epoch.
        for places in _batched(np.arange(examples), trainer.batch_size):
            logs = self._program.test(data, places, epoch)
        told.on_test_end(logs)
        return {f"val_{name}": value for name, value in logs.items()}


def _batched(order: NDArray[np.int64], rows: int) -> Iterator[NDArray[np.int32]]:
    """The whole batches as one array `(batches, rows)`, then the smaller last one."""
    whole = len(order) // rows * rows
    for part in (order[:whole].reshape(-1, rows), order[None, whole:]):
        if part.size:
            yield part.astype(np.int32)
