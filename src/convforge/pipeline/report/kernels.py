"""The learned kernels of the first layer."""

from __future__ import annotations

from math import ceil, sqrt
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray


def draw_first_kernels(model: keras.Model, path: Path) -> Path | None:
    """The kernels of the first layer that has some, as a PNG at `path`; None without any."""
    for layer in model.layers:
        for weight in layer.weights:
            if len(weight.shape) == 4:
                kernels = np.asarray(keras.ops.convert_to_numpy(weight))
                height, width, channels, number = kernels.shape
                title = f"{layer.name}: {number} kernels of {height}×{width}×{channels}"
                draw_kernels(kernels, path, title=title)
                return path
    return None


def draw_kernels(kernels: NDArray[np.floating], path: Path, *, title: str) -> None:
    """The kernels `(height, width, channels, number)` side by side, as a PNG at `path`.

    Three channels are shown as colours, any other number as the mean over the channels in grey.
    Each kernel is scaled on its own to symmetric limits, so that zero is the same mid-grey in all.
    """
    height, width, channels, number = kernels.shape
    if channels != 3:
        kernels = kernels.mean(axis=2, keepdims=True)
    peaks = np.abs(kernels).max(axis=(0, 1, 2), keepdims=True)
    shown = 0.5 + 0.5 * kernels / np.maximum(peaks, np.finfo(kernels.dtype).tiny)
    columns = ceil(sqrt(number))
    rows = ceil(number / columns)
    sheet = np.ones((rows * (height + 1) + 1, columns * (width + 1) + 1, shown.shape[2]))
    for position in range(number):
        top = position // columns * (height + 1) + 1
        left = position % columns * (width + 1) + 1
        sheet[top : top + height, left : left + width] = shown[..., position]
    figure = Figure(figsize=(6, 6 * rows / columns + 0.4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.axis("off")
    figure.savefig(path, dpi=110)
