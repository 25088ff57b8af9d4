"""Sheets of images in rows and columns, each with a caption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray


def draw_sheet(
    rows: Sequence[Sequence[NDArray[np.floating]]],
    path: Path,
    *,
    title: str,
    captions: Sequence[Sequence[str]] | None = None,
) -> None:
    """Images `(height, width, channels)` in 0..255 as a PNG at `path`, one row per sequence."""
    columns = max(len(row) for row in rows)
    extra = 0.3 if captions else 0.0
    size = (1.3 * columns, (1.3 + extra) * len(rows) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for number, row in enumerate(rows):
        for column, image in enumerate(row):
            shown = np.clip(image / 255.0, 0, 1)
            axes = grid[number, column]
            axes.imshow(shown.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            if captions:
                axes.set_title(captions[number][column], fontsize=7, parse_math=False)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110)
