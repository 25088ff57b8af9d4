"""What people look at of a run: the card of its data with contact sheets, and its pictures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from convforge.augment.settings import Augmentation
from convforge.pipeline.data.manifest import FILE_NAME, Manifest
from convforge.pipeline.report.data_card import report_data

if TYPE_CHECKING:
    import keras

    from convforge.pipeline.data.reading.stream import Stream

# Read for the contact sheets: a fraction of a second, whatever the size of the data.
_MOST_SHOWN_BYTES = 64 << 20
_SHEET_ROWS, _SHEET_DRAWS = 6, 5


def of_data(data: Path, manifest: Manifest, folder: Path, source: Path) -> list[Path]:
    """Card, contact sheets and manifest of the prepared `data`, in `folder`.

    Returns:
        The files written.
    """
    files = report_data(data, manifest, folder, source, most_bytes=_MOST_SHOWN_BYTES)
    # It names every image that was left out, the card a few of each kind.
    return [*files, Path(shutil.copy2(data / FILE_NAME, folder))]


def of_training(
    model: keras.Model,
    history: Path,
    stream: Stream,
    folder: Path,
    *,
    augmentation: Augmentation,
    seed: int,
) -> list[Path]:
    """Learning curves, the first layer's kernels, and augmented images, as PNG in `folder`.

    Returns:
        The files written.
    """
    # Late: what runs has started Keras by now, in its own way.
    from convforge.pipeline.report.augmentations import draw_augmentations
    from convforge.pipeline.report.curves import draw_curves
    from convforge.pipeline.report.kernels import draw_first_kernels

    folder.mkdir(parents=True, exist_ok=True)
    pictures = [folder / "learning_curves.png", folder / "augmented_images.png"]
    draw_curves(history, pictures[0])
    draw_augmentations(
        stream,
        pictures[1],
        augmentation=augmentation,
        seed=seed,
        rows=_SHEET_ROWS,
        columns=_SHEET_DRAWS,
    )
    kernels = draw_first_kernels(model, folder / "first_layer_kernels.png")
    return pictures if kernels is None else [*pictures, kernels]
