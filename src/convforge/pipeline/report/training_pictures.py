"""The pictures that every training run leaves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from convforge.pipeline.report.augmentations import draw_augmentations
from convforge.pipeline.report.curves import draw_curves, read_history
from convforge.pipeline.report.kernels import draw_kernels

if TYPE_CHECKING:
    from convforge.pipeline.training.trainer import Trainer

_SHEET_ROWS, _SHEET_DRAWS = 6, 9


def draw_training_pictures(fit: Trainer, history: Path, folder: Path) -> list[Path]:
    """Learning curves, the first layer's kernels, and augmented images, as PNG in `folder`.

    A network without a convolution has no kernels to show.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [folder / "learning_curves.png", folder / "augmented_images.png"]
    draw_curves(read_history(history), pictures[0])
    draw_augmentations(
        fit.stream,
        pictures[1],
        augmentation=fit.settings.augment,
        seed=fit.settings.seed,
        rows=_SHEET_ROWS,
        columns=_SHEET_DRAWS,
    )
    kernels = _first_kernels(fit.model)
    if kernels is not None:
        name, weights = kernels
        pictures.append(folder / "first_layer_kernels.png")
        height, width, channels, number = weights.shape
        title = f"{name}: {number} kernels of {height}×{width}×{channels}"
        draw_kernels(weights, pictures[-1], title=title)
    return pictures


def _first_kernels(model: keras.Model) -> tuple[str, np.ndarray] | None:
    for layer in model.layers:
        for weight in layer.weights:
            if len(weight.shape) == 4:
                return layer.name, np.asarray(keras.ops.convert_to_numpy(weight))
    return None
