"""Gradient accumulation: a batch in parts, one after the other, and one step for all of them.

Keras' own way, `gradient_accumulation_steps` of an optimizer, counts every part as an iteration: a
schedule sees the last part's number instead of the step's, the moving average of the weights moves
with every part, a smaller last batch weighs as much as a whole one, what is left at the end of the
last epoch is lost, and under `MirroredStrategy` it cannot be traced. Here the whole batch comes to
one training step, which adds the gradients up before it calls the optimizer: whatever counts
steps, and every checkpoint between them, is that of a run with such batches.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import keras


class AccumulatedSteps(keras.Model):
    """A functional model whose training step goes through its batch in parts.

    For a batch of N images in M = ⌈N / rows⌉ parts of n_1 … n_M, with the mean losses L_1 … L_M,

        ∇L = Σ_m n_m/N·∇L_m

    is the gradient of the whole batch's mean loss, to rounding, where an image's loss depends on no
    other image: without batch normalisation, whose moments are those of a part, and with the
    random numbers of dropout drawn for each part.

    Part m has the rows m, m + M, m + 2·M, …, so that no part is much smaller than another, and the
    devices that share a batch row by row share each part too.
    """

    #: Of a part at most; None trains whole batches, by Keras' own step.
    rows: int | None = None

    def train_step(self, *arguments: Any) -> Any:
        """One iteration: JAX hands over the state before the batch, the others the batch alone."""
        if self.rows is None:
            return super().train_step(*arguments)
        return _STEPS[keras.backend.backend()](self, self.rows, *arguments)


def _tensorflow_step(model: keras.Model, rows: int, batch: Any) -> Any:
    import tensorflow as tf

    variables = [variable.value for variable in model.trainable_variables]
    whole = tf.shape(tf.nest.flatten(batch)[0])[0]
    parts = (whole + rows - 1) // rows

    def add_part(number: Any, sums: list[Any]) -> tuple[Any, list[Any]]:
        # Slices by such a step would lose their static shape.
        numbers = tf.range(number, whole, parts)
        part = tf.nest.map_structure(lambda column: tf.gather(column, numbers), batch)
        x, y, weights = _columns(part)
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            loss = model.compute_loss(x, y, outputs, weights, training=True)
            scaled = model.optimizer.scale_loss(loss)
        count = tf.shape(outputs)[0]
        _update_metrics(model, loss, count, y, outputs)
        share = tf.cast(count, tf.float32) / tf.cast(whole, tf.float32)
        gradients = tape.gradient(scaled, variables)
        added = [
            total + tf.cast(share, total.dtype) * tf.convert_to_tensor(gradient)
            for total, gradient in zip(sums, gradients, strict=True)
        ]
        return number + 1, added

    zeros = [tf.zeros_like(variable) for variable in variables]
    # One part at a time, or the memory of all would be taken.
    _, sums = tf.while_loop(
        lambda number, sums: number < parts, add_part, (0, zeros), parallel_iterations=1
    )
    model.optimizer.apply(sums, model.trainable_variables)
    return model.get_metrics_result()


def _torch_step(model: keras.Model, rows: int, batch: Any) -> Any:
    import torch

    whole = len(keras.tree.flatten(batch)[0])
    parts = ceil(whole / rows)
    # It keeps what it has added up in the variables themselves.
    model.zero_grad()
    for number in range(parts):
        x, y, weights = _columns(_part(batch, number, parts))
        outputs = model(x, training=True)
        loss = model.compute_loss(x, y, outputs, weights, training=True)
        _update_metrics(model, loss, len(outputs), y, outputs)
        (model.optimizer.scale_loss(loss) * (len(outputs) / whole)).backward()
    variables = model.trainable_variables
    with torch.no_grad():
        model.optimizer.apply([variable.value.grad for variable in variables], variables)
    return model.get_metrics_result()


def _jax_step(model: keras.Model, rows: int, state: Any, batch: Any) -> Any:
    import jax

    trainable, others, of_optimizer, of_metrics = state
    whole = len(keras.tree.flatten(batch)[0])
    parts = ceil(whole / rows)
    gradient = jax.value_and_grad(_jax_loss, argnums=1, has_aux=True)

    def add_part(carried: Any, part: Any) -> tuple[Any, None]:
        sums, others, of_metrics = carried
        x, y, weights = _columns(part)
        (_, (loss, outputs, others)), gradients = gradient(
            model, trainable, others, of_optimizer, x, y, weights
        )
        share = len(outputs) / whole
        sums = [total + share * each for total, each in zip(sums, gradients, strict=True)]
        mapping = list(zip(model.metrics_variables, of_metrics, strict=True))
        with keras.StatelessScope(mapping) as scope:
            _update_metrics(model, loss, len(outputs), y, outputs)
        of_metrics = [scope.get_current_value(each) for each in model.metrics_variables]
        return (sums, others, of_metrics), None

    carried = ([jax.numpy.zeros_like(each) for each in trainable], others, of_metrics)
    if whole % parts == 0:
        # Compiled once for all parts.
        stacked = keras.tree.map_structure(
            lambda column: column.reshape(-1, parts, *column.shape[1:]).swapaxes(0, 1), batch
        )
        carried, _ = jax.lax.scan(add_part, carried, stacked)
    else:
        for number in range(parts):
            # It waits for the part before, or the memory of all would be taken.
            carried, waited = jax.lax.optimization_barrier((carried, batch))
            carried, _ = add_part(carried, _part(waited, number, parts))
    sums, others, of_metrics = carried
    trainable, of_optimizer = model.optimizer.stateless_apply(of_optimizer, sums, trainable)
    with keras.StatelessScope(list(zip(model.metrics_variables, of_metrics, strict=True))):
        logs = model.get_metrics_result()
    return logs, (trainable, others, of_optimizer, of_metrics)


def _jax_loss(
    model: Any, trainable: Any, others: Any, of_optimizer: Any, x: Any, y: Any, weights: Any
) -> Any:
    """The scaled loss, then what else a part of a batch leaves."""
    outputs, others = model.stateless_call(trainable, others, x, training=True)
    mapping = [
        *zip(model.trainable_variables, trainable, strict=True),
        *zip(model.non_trainable_variables, others, strict=True),
        *zip(model.optimizer.variables, of_optimizer, strict=True),
    ]
    with keras.StatelessScope(mapping):
        loss = model.compute_loss(x, y, outputs, weights, training=True)
        scaled = model.optimizer.scale_loss(loss)
    return scaled, (loss, outputs, others)


def _part(batch: Any, number: int, parts: int) -> Any:
    return keras.tree.map_structure(lambda column: column[number::parts], batch)


def _columns(batch: Any) -> tuple[Any, Any, Any]:
    """Inputs, labels, and any weights of a batch."""
    x, y, *weights = batch
    return x, y, weights[0] if weights else None


def _update_metrics(model: keras.Model, loss: Any, rows: Any, y: Any, outputs: Any) -> None:
    for metric in model.metrics:
        if metric.name == "loss":
            metric.update_state(loss, sample_weight=rows)
        else:
            metric.update_state(y, outputs)


_STEPS: dict[str, Callable[..., Any]] = {
    "tensorflow": _tensorflow_step,
    "torch": _torch_step,
    "jax": _jax_step,
}
