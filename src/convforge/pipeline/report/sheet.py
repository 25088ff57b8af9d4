"""Sheets of images in rows and columns, each with a caption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray


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
    top = 0.3 + 0.17 * (title.count("\n") + 1)
    size = (inches * columns, (inches + 0.1 + 0.11 * lines) * len(rows) + top)
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
                axes.set_title(captions[number][column], fontsize=6, parse_math=False)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110)
