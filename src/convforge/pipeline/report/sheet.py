"""Sheets of images in rows and columns, each with a caption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

# Inches between the images.
_GAP = 0.08


def draw_sheet(
    rows: Sequence[Sequence[NDArray[Any]]],
    path: Path,
    *,
    title: str,
    captions: Sequence[Sequence[str]] | None = None,
    inches: float = 1.3,
) -> None:
    """Images `(height, width, channels)` in 0..255 as a PNG at `path`, one row per sequence.

    Title and captions may have several lines; each image gets a square of `inches`.
    """
    columns = max(len(row) for row in rows)
    lines = max((caption.count("\n") + 1 for row in captions or [] for caption in row), default=0)
    top, above = 0.2 + 0.17 * (title.count("\n") + 1), _GAP + 0.11 * lines
    width, height = (inches + _GAP) * columns, (inches + above) * len(rows) + top + _GAP
    # One pair of axes in inches for all: a pair for each image takes ten times as long to draw.
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    for number, row in enumerate(rows):
        bottom = height - top - (inches + above) * (number + 1) + _GAP
        for column, image in enumerate(row):
            left = _GAP / 2 + (inches + _GAP) * column
            _show(axes, np.clip(image / 255.0, 0, 1), left, bottom, inches)
            if captions:
                middle = left + inches / 2
                style: dict[str, Any] = {"ha": "center", "va": "bottom", "parse_math": False}
                axes.text(
                    middle, bottom + inches + 0.03, captions[number][column], fontsize=6, **style
                )
    axes.set(xlim=(0, width), ylim=(0, height), aspect="auto")
    axes.axis("off")
    figure.text(0.5, 1 - 0.08 / height, title, fontsize=10, ha="center", va="top")
    figure.savefig(path, dpi=110)


def _show(axes: Axes, image: NDArray[Any], left: float, bottom: float, inches: float) -> None:
    """`image` in the middle of a square of `inches`, in its own proportions."""
    rows, columns = image.shape[:2]
    scale = inches / max(rows, columns)
    left += (inches - columns * scale) / 2
    bottom += (inches - rows * scale) / 2
    axes.imshow(
        image.squeeze(),
        cmap="gray",
        vmin=0,
        vmax=1,
        interpolation="nearest",
        extent=(left, left + columns * scale, bottom, bottom + rows * scale),
    )
