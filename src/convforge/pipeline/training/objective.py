"""What training minimises and reports: the lecture's losses (9) to (12), for classes or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from convforge import augment
from convforge.augment import Augmentation, numpy_ops
from convforge.errors import InputError
from convforge.losses import Hinge
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.metrics import metrics_of
from convforge.pipeline.settings.nearest import nearest
from convforge.pipeline.settings.objective import LossSettings, RegressionTask, TaskSettings

# Enough draws to know their standard deviation to a few percent.
_DRAWS = 4096
# Classes among which the nearest name is looked for.
_MOST_CLASSES = 1000


@dataclass(frozen=True)
class Targets:
    """The numbers to predict; the loss sees them less `mean`, divided by `std`."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def targets_of(
    task: TaskSettings, loss: LossSettings, augmentation: Augmentation, seed: int, data: Manifest
) -> Targets | None:
    """What a regression predicts, or None for classes.

    Args:
        task: and `loss`, what is asked for.
        loss: see `task`.
        augmentation: draws the targets, where the task says so; with `seed`.
        seed: of the run.
        data: brings them, where it does not.

    Raises:
        InputError: the data bring numbers that the hinge loss is not defined for.
    """
    if not isinstance(task, RegressionTask):
        return None
    if task.drawn:
        targets = _drawn(tuple(task.drawn), augmentation, seed, data)
    else:
        targets = _brought(loss, data)
    if task.standardize and loss.name != "hinge":
        return targets
    count = len(targets.names)
    return Targets(targets.names, (0.0,) * count, (1.0,) * count)


def _drawn(
    names: tuple[str, ...], augmentation: Augmentation, seed: int, manifest: Manifest
) -> Targets:
    height, width, _ = manifest.image_shape
    drawn = augment.draw(
        augmentation,
        seed=seed,
        epoch=0,
        index=np.arange(_DRAWS),
        image_size=(height, width),
        output_size=augmentation.size or (height, width),
        ops=numpy_ops,
    )
    values = augment.target_values(drawn, names, numpy_ops)
    mean, std = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    return Targets(names, tuple(mean.tolist()), tuple(std.tolist()))


def _brought(loss: LossSettings, manifest: Manifest) -> Targets:
    columns = manifest.targets
    if loss.name == "hinge":
        for column in columns:
            # |y| ≤ 1 everywhere and a mean square of 1: all of them are −1 or 1.
            square = column.std**2 + column.mean**2
            if column.min < -1 or column.max > 1 or abs(square - 1) > 1e-5:
                raise InputError(
                    f"loss=hinge needs targets of −1 and 1, but {column.name} has others, "
                    f"from {column.min:g} to {column.max:g}"
                )
    return Targets(
        tuple(column.name for column in columns),
        tuple(column.mean for column in columns),
        # A number that never varies would be divided by zero; there is nothing to learn of it.
        tuple(column.std or 1.0 for column in columns),
    )


def training_loss(
    name: str, classes: int | None, label_smoothing: float = 0.0
) -> keras.losses.Loss:
    """The loss called `name` in the config, of logits of `classes`, or of numbers if None.

    With label smoothing s the target of an image's class is 1 − s + s/n, that of each of the n − 1
    others s/n (Szegedy et al., 2016).
    """
    if name == "cross_entropy":
        if not label_smoothing or classes is None:
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        smoothed = keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=label_smoothing
        )
        return EachClass(smoothed, classes, other=0.0)
    losses = {
        "mse": keras.losses.MeanSquaredError,
        "mae": keras.losses.MeanAbsoluteError,
        "hinge": Hinge,
    }
    loss = losses[name]()
    return (
        loss
        if classes is None
        else EachClass(loss, classes, other=-1.0 if name == "hinge" else 0.0)
    )


def class_weights(asked: LossSettings, data: Manifest) -> NDArray[np.float32] | None:
    """What an image of each class counts for in the training's loss, by the class's number.

        L = 1/N Σ_i w_{c(i)}·ℓ_i

    over the N images of a batch, a smaller last one too: divided by their number, and not by the
    weights' sum, so that batches add up to an epoch. ℓ_i is the loss of one image by any of (9) to
    (12), label smoothing included. "balanced" is w_c = n / (k·n_c) for the n_c of n training images
    of k classes; the mean of these weights over the images is 1.

    Args:
        asked: the weights, by the name of a class or else by its number; others have 1.
        data: has the classes, and counts the training images.

    Returns:
        `(classes,)`, or None where all count alike.

    Raises:
        InputError: the data have no such class, or only classes without weight.
    """
    given, classes = asked.class_weights, data.classes
    if given is None:
        return None
    counts = np.array(data.splits["train"].class_counts, np.float64)
    if given == "balanced":
        # A class without training images has no weight that matters.
        balanced = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
        return np.asarray(balanced, np.float32)
    assert isinstance(given, dict)
    weights = np.ones(len(classes), np.float32)
    named: set[int] = set()
    for key, weight in given.items():
        number = _number_of(key, classes)
        if number in named:
            raise InputError(f"loss.class_weights names the class {classes[number]} twice")
        named.add(number)
        weights[number] = weight
    if not (counts * weights).any():
        raise InputError(f"loss.class_weights={given} leaves no training image that counts")
    return weights


def _number_of(key: str, classes: Sequence[str]) -> int:
    if key in classes:
        return classes.index(key)
    if key.isdecimal() and int(key) < len(classes):
        return int(key)
    hint = nearest(key, classes[:_MOST_CLASSES])
    raise InputError(
        f"loss.class_weights.{key} is not allowed: the data have no class {key}, by its name or a "
        f"number from 0 to {len(classes) - 1}{hint}"
    )


def training_metrics(name: str, targets: Targets | None) -> list[keras.metrics.Metric]:
    """What every epoch is measured by besides its loss; see `convforge.pipeline.metrics`."""
    return [
        metric.in_training(metric.name, targets.std if targets else ())
        for metric in metrics_of(name, regression=targets is not None)
        if metric.in_training is not None
    ]


class EachClass(keras.losses.Loss):
    """A loss for numbers, between each class's logit and whether it is the image's class.

    Args:
        loss: (10), (11) or (12), or (9) with smoothed targets.
        classes: how many there are.
        other: the target of the classes that are not the image's; that of its own is 1.
    """

    def __init__(self, loss: keras.losses.Loss, classes: int, *, other: float) -> None:
        super().__init__(name=loss.name)
        self._loss = loss
        self._classes = classes
        self._other = other

    def call(self, y_true: Any, y_pred: Any) -> Any:
        ops = keras.ops
        own = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self._classes)
        return self._loss.call(ops.where(own > 0, 1.0, self._other), y_pred)
