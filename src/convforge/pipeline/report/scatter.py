"""Predicted against actual numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray


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
    figure = Figure(figsize=(4.5 * columns, 4.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat[len(names) :]:
        axes.axis("off")
    for number, name in enumerate(names):
        axes, x, y = panels.flat[number], actual[:, number], predicted[:, number]
        axes.axline((float(x.mean()), float(x.mean())), slope=1, color="grey", linewidth=1)
        axes.scatter(x, y, s=6, alpha=0.4)
        axes.set_title(f"{name}: mean error {np.abs(x - y).mean():.3g}", parse_math=False)
        axes.set_xlabel("actual")
        axes.set_ylabel("predicted")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
