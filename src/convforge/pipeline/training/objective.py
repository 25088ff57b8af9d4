"""What training minimises and reports: the lecture's losses (9) to (12), for classes or numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from convforge import augment
from convforge.augment import Augmentation, numpy_ops
from convforge.errors import InputError
from convforge.losses import Hinge
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.metrics import metrics_of
from convforge.pipeline.settings.objective import LossSettings, RegressionTask, TaskSettings

# Enough draws to know their standard deviation to a few percent.
_DRAWS = 4096


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
