"""Predicted against actual numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convforge.pipeline.report.figure import picture
from convforge.pipeline.report.style import BLUE, FAINT, WIDTH, shortened


def draw_scatter(
    actual: NDArray[np.floating],
    predicted: NDArray[np.floating],
    names: Sequence[str],
    path: Path,
) -> None:
    """One panel for each target, as a PNG at `path`; right answers lie on the line.

    Args:
        actual: `(n, targets)`.
        predicted: the same shape.
        names: of the targets.
        path: of the picture.
    """
    columns = min(3, len(names))
    rows = ceil(len(names) / columns)
    width = WIDTH if columns > 1 else WIDTH * 0.65
    side = width / columns
    with picture(path, width, side * rows) as figure:
        panels = figure.subplots(rows, columns, squeeze=False)
        for axes in panels.flat[len(names) :]:
            axes.axis("off")
        for number, name in enumerate(names):
            axes, x, y = panels.flat[number], actual[:, number], predicted[:, number]
            middle = float(x.mean())
            axes.axline((middle, middle), slope=1, color=FAINT, linewidth=1)
            axes.scatter(x, y, s=8, alpha=0.35, color=BLUE, linewidths=0)
            axes.set_title(shortened(name, 15, side - 90), weight="bold", pad=18)
            note = f"mean absolute error {np.abs(x - y).mean():.3g}"
            axes.text(0, 1.02, note, transform=axes.transAxes, fontsize=8.5, color=FAINT)
            axes.set_xlabel("actual")
            axes.set_ylabel("predicted")
            axes.grid(True)
