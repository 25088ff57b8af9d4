"""Where a run went wrong: the step and the layer at which numbers stopped being finite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from convforge.pipeline.training.resume.checkpoints import Checkpoint, Position, is_finite
from convforge.pipeline.training.resume.state import capture, layer_of, restore
from convforge.pipeline.training.run_state import DivergedError


@dataclass(frozen=True)
class Divergence:
    """What `trace` found; the model has the weights from before it."""

    position: Position
    what: str


def trace(
    model: keras.Model,
    before: Checkpoint,
    error: DivergedError,
    *,
    steps_per_epoch: int,
    batches: Callable[[Position], Any],
    images: Callable[[Any], Any],
) -> Divergence:
    """Run the last steps again, from the newest checkpoint, and look.

    The loss of a step is computed with the weights that the step before has left, so these two are
    looked at one by one.

    Args:
        model: in training, compiled; it is left with the last weights that gave a good loss.
        before: a checkpoint from before the error.
        error: what was seen.
        steps_per_epoch: of the run.
        batches: the training batches from a position on.
        images: what the network sees of a batch's inputs.
    """

    def number(position: Position) -> int:
        return position.epoch * steps_per_epoch + position.step

    restore(model, before.arrays, metrics=False)
    first, last = number(before.position), number(error.position)
    unseen = max(0, last - 1 - first)
    if unseen:
        model.fit(
            batches(before.position), steps_per_epoch=unseen, epochs=1, verbose=0, shuffle=False
        )
    stream = iter(batches(Position(*divmod(first + unseen, steps_per_epoch))))
    for step in range(first + unseen, last + 1):
        inputs, *labels = (_to_numpy(part) for part in next(stream))
        position = Position(*divmod(step, steps_per_epoch))
        good = capture(model, metrics=False)
        culprit = _first_bad_output(model, images(inputs))
        # Looking has moved batch normalisation's averages and dropout's seeds.
        restore(model, good, metrics=False)
        if culprit is not None:
            return Divergence(position, f"what layer {culprit} puts out is not finite")
        model.train_on_batch(inputs, *labels)
        after = capture(model, metrics=False)
        bad = [name for name, array in after.items() if not is_finite(array)]
        if bad:
            restore(model, good, metrics=False)
            what = f"the gradient is not finite, in layer {layer_of(bad[0])} first"
            return Divergence(position, what)
        if step == last:
            restore(model, good, metrics=False)
            return Divergence(position, "what the layers put out is finite, but too large")
    raise AssertionError("the last step returns")


def _first_bad_output(model: keras.Model, images: Any) -> str | None:
    network = model if len(model.inputs) == 1 else model.layers[-1]
    layers = [layer for layer in network.layers if not isinstance(layer, keras.layers.InputLayer)]
    taps = keras.Model(network.inputs, [layer.output for layer in layers])
    outputs = taps(images, training=True)
    for layer, output in zip(layers, outputs if len(layers) > 1 else [outputs], strict=True):
        if not is_finite(keras.ops.convert_to_numpy(keras.ops.cast(output, "float32"))):
            return str(layer.name)
    return None


def _to_numpy(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _to_numpy(value) for name, value in part.items()}
    return part.numpy()
