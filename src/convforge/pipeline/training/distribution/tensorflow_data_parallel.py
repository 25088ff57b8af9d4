"""Data parallelism on TensorFlow: a replica of the model on every device, their gradients added up.

Each replica sees its own rows alone, so whatever depends on the whole batch must be told of it:
the share that a replica's mean loss has in the batch's, the moments of batch normalisation, and
the rows of a dropout mask that are a replica's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import keras
import tensorflow as tf

from convforge.errors import InputError
from convforge.pipeline.training.distribution.batch_statistics import over_replicas
from convforge.pipeline.training.distribution.keras_internals import replace_call
from convforge.pipeline.training.distribution.strategy import (
    Distribution,
    check_count,
    check_shares,
)


class MirroredDevices(Distribution):
    """`tf.distribute.MirroredStrategy` over this machine's accelerators, or its processors.

    Args:
        count: how many of them, or None for all.

    Raises:
        InputError: there are not as many.
    """

    endless = True

    def __init__(self, count: int | None) -> None:
        there = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        short = [device.name.removeprefix("/device:") for device in there]
        check_count(count, short, "TensorFlow")
        names = tuple(device.name for device in there[:count])
        self.devices = len(names)
        self._strategy = _strategy(names)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Variables are mirrored."""
        with self._strategy.scope():
            yield

    def check(self, batch_size: int, rows: tuple[int, ...]) -> None:
        """Refuse batches that cannot be divided, or that leave a device without a row.

        Raises:
            InputError: names the batch sizes that can be, or the sizes that leave none.
        """
        check_shares(batch_size, self.devices, "distribute=devices")
        for last in rows:
            if last < self.devices:
                raise InputError(
                    f"trainer.batch_size={batch_size} leaves a last batch of {last} for "
                    f"{self.devices} devices: give another, or distribute.devices={last} or fewer"
                )

    def prepare(self, model: keras.Model) -> None:
        """Let batch normalisation and dropout know the whole batch."""
        super().prepare(model)
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dropout):
                replace_call(layer, _WholeMask(layer))

    def loss(self, loss: keras.losses.Loss) -> keras.losses.Loss:
        """`loss`, whose gradient counts as much as its replica's rows do."""
        return _SharedLoss(loss)

    def batches(self, batches: Any) -> Any:
        """Each batch in as many parts as there are replicas, without end."""
        count = self.devices
        parts = batches.repeat().flat_map(lambda *batch: _parts(batch, count))
        # Where there may be an end, every step asks each replica whether it has come.
        parts = parts.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        return self._strategy.distribute_datasets_from_function(lambda _: parts)


@cache
def _strategy(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    """One for all jobs of a process: a second one numbers its all-reduces like the first."""
    return tf.distribute.MirroredStrategy(devices)


def _parts(batch: Any, count: int) -> Any:
    """A data set of `count` parts of a batch, in order, as equal as can be."""
    rows = tf.shape(tf.nest.flatten(batch)[0], tf.int64)[0]

    def part(number: Any) -> Any:
        first, past = _first_row(rows, number, count), _first_row(rows, number + 1, count)
        return tf.nest.map_structure(lambda whole: whole[first:past], batch)

    return tf.data.Dataset.range(count).map(part)


def _first_row(rows: Any, number: Any, count: int) -> Any:
    """The first row of part `number` of `count`; the first parts have one row more."""
    return number * (rows // count) + tf.minimum(number, rows % count)


@tf.custom_gradient
def _with_gradient_times(value: Any, factor: Any) -> Any:
    def gradient(upstream: Any) -> Any:
        return upstream * tf.cast(factor, upstream.dtype), None

    return tf.identity(value), gradient


class _SharedLoss(keras.losses.Loss):
    """A loss that Keras averages over a replica's rows and divides by the number of replicas.

    That is a part of the whole batch's mean if all replicas have as many rows; where they have
    not, the gradient is corrected by the quotient. The loss itself is left alone: Keras' running
    mean of it weighs every replica by its rows already.
    """

    def __init__(self, loss: keras.losses.Loss) -> None:
        super().__init__(name=loss.name, reduction=loss.reduction)
        self._loss = loss

    def call(self, y_true: Any, y_pred: Any) -> Any:
        context = tf.distribute.get_replica_context()
        if context is None:  # Keras asks for the shape of the result.
            return self._loss.call(y_true, y_pred)
        rows = tf.cast(tf.shape(y_pred)[0], tf.float32)
        factor = rows * context.num_replicas_in_sync / over_replicas(rows)
        return self._loss.call(y_true, _with_gradient_times(y_pred, factor))


class _WholeMask:
    """A dropout layer's `call` that draws one mask for the whole batch, as one device would.

    Keras' own draws the same mask on every replica, since their seeds are mirrored.
    """

    def __init__(self, layer: keras.layers.Dropout) -> None:
        self._layer = layer

    def __call__(self, inputs: Any, training: bool = False) -> Any:
        layer = self._layer
        if not training or layer.rate == 0:
            return inputs
        context = tf.distribute.get_replica_context()
        if context is None:
            return inputs
        rows = tf.shape(inputs)[0]
        whole = over_replicas(rows)
        count, number = context.num_replicas_in_sync, context.replica_id_in_sync_group
        first = _first_row(whole, tf.cast(number, whole.dtype), count)
        ones = tf.ones(tf.concat([[whole], tf.shape(inputs)[1:]], 0), inputs.dtype)
        mask = keras.random.dropout(ones, layer.rate, seed=layer.seed_generator)
        return inputs * mask[first : first + rows]
