"""Where a training run moves the pixels: before the model, in a layer of it, or in its step.

In all three places the same function gets the same seed, epoch and example index, so a run sees
the same images whichever it is; see `place` of `convforge.augment.Augmentation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from convforge.augment import Augment, Augmentation, centre_window, draw_and_apply
from convforge.augment.settings import Size
from convforge.pipeline.training.accumulation import AccumulatedSteps

INDEX, EPOCH = "index", "epoch"


def with_augmentation(
    network: keras.Model,
    augmentation: Augmentation,
    *,
    seed: int,
    colour_basis: NDArray[np.floating[Any]] | None,
    rows: int | None = None,
) -> keras.Model:
    """What `fit` trains, sharing all weights with `network`.

    Args:
        network: From float images `(batch, height, width, channels)` in 0..255.
        augmentation: The settings; `place` decides what comes back.
        seed: Of the draws.
        colour_basis: Of the training split, [C, C]; None where no colours are altered.
        rows: Of the parts in which each batch is trained; None for whole batches.

    Returns:
        The network itself for "input"; a model of "image", "index" and "epoch" that starts with a
        layer named "augment" for "model"; for "step" the network with a training step of its own,
        for mappings of the same three. None of them augments when it evaluates or predicts; where
        the settings have a size, they then take images of this size, or larger ones' centres.
    """
    if augmentation.place == "model":
        return _in_the_model(network, augmentation, seed, colour_basis, rows)
    if augmentation.place == "step":
        # In a list, since Keras warns where a mapping comes for a single input.
        inputs, output = network.inputs, network.outputs[0]
        if augmentation.size is not None:
            image = keras.Input(_shape_before(network, augmentation), name="image")
            inputs, output = [image], network(CentreWindow(augmentation.size)(image))
        trained = StepAugmented(inputs, output, name=network.name)
        trained.augmentation, trained.seed = augmentation, seed
        trained.colour_basis, trained.rows = colour_basis, rows
        return trained
    if rows is None:
        return network
    return _in_parts(network.inputs[0], network.outputs[0], network.name, rows)


def augmented_images(trained: keras.Model, inputs: Any) -> Any:
    """The images that the network itself sees of a batch's `inputs`."""
    if isinstance(trained, StepAugmented):
        return trained.augmented(inputs)
    if isinstance(inputs, dict):
        layer = trained.get_layer("augment")
        image, index, epoch = (inputs[name] for name in ("image", INDEX, EPOCH))
        return layer(image, index=index, epoch=epoch, training=True)
    return inputs


def _in_the_model(
    network: keras.Model,
    augmentation: Augmentation,
    seed: int,
    colour_basis: NDArray[Any] | None,
    rows: int | None,
) -> keras.Model:
    image = keras.Input(_shape_before(network, augmentation), name="image")
    index, epoch = (keras.Input((), dtype="int32", name=name) for name in (INDEX, EPOCH))
    layer = Augment(augmentation, colour_basis=colour_basis, seed=seed, name="augment")
    inputs = {"image": image, INDEX: index, EPOCH: epoch}
    output = network(layer(image, index=index, epoch=epoch))
    return _in_parts(inputs, output, network.name, rows)


def _in_parts(inputs: Any, output: Any, name: str, rows: int | None) -> keras.Model:
    """The functional model, which trains each batch in parts of so many rows."""
    if rows is None:
        return keras.Model(inputs, output, name=name)
    trained = AccumulatedSteps(inputs, output, name=name)
    trained.rows = rows
    return trained


def _shape_before(network: keras.Model, augmentation: Augmentation) -> tuple[int | None, ...]:
    """Of the images that reach the augmentation: larger in training where it has a size."""
    shape: tuple[int | None, ...] = network.input_shape[1:]
    return shape if augmentation.size is None else (None, None, *shape[2:])


class CentreWindow(keras.layers.Layer):
    """The centre of larger images; images of its size as they are."""

    def __init__(self, size: Size) -> None:
        super().__init__(dtype="float32", trainable=False, autocast=False)
        self.size = size

    def call(self, images: Any) -> Any:
        """Exact pixels."""
        return keras.ops.cast(centre_window(images, self.size), "float32")

    def compute_output_shape(self, images_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """(B, h, w, C)."""
        return (images_shape[0], *self.size, images_shape[3])


class StepAugmented(AccumulatedSteps):
    """A functional model whose training step augments the images of its batch first."""

    augmentation: Augmentation
    seed: int
    colour_basis: NDArray[Any] | None
    #: What takes the place of the augmentation's; None for its own.
    strengths: Mapping[str, Any] | None = None

    def augmented(self, inputs: dict[str, Any]) -> Any:
        """The images that one training step sees."""
        return draw_and_apply(
            inputs["image"],
            self.augmentation,
            seed=self.seed,
            epoch=inputs[EPOCH],
            index=inputs[INDEX],
            colour_basis=self.colour_basis,
            strengths=self.strengths,
        )

    def train_step(self, *arguments: Any) -> Any:
        """One iteration: JAX hands over the state before the batch, the others the batch alone."""
        *state, (inputs, *labels) = arguments
        return super().train_step(*state, ([self.augmented(inputs)], *labels))
