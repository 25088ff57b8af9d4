"""The confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

# Beyond this many classes neither numbers nor names would be legible.
_MOST_LABELLED = 30


def confusion_matrix(
    actual: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """How many images of each class (row) were taken for each class (column).

    Example:
        >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (actual, predicted), 1)
    return matrix


def draw_confusion(matrix: NDArray[np.int64], classes: Sequence[str], path: Path) -> None:
    """The matrix as a PNG at `path`; colours are shares of the row."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    size = min(4 + 0.45 * len(classes), 14)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    correct = np.trace(matrix)
    total = matrix.sum()
    axes.set_title(f"{correct:,} of {total:,} right ({correct / max(total, 1):.2%})")
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    if len(classes) <= _MOST_LABELLED:
        names = range(len(classes))
        # A class may be called "$5"; that is no formula.
        axes.set_xticks(names, classes, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(names, classes, parse_math=False)
        for row, column in np.argwhere(matrix):
            colour = "white" if shares[row, column] > 0.5 else "black"
            count = str(matrix[row, column])
            axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=8)
    figure.savefig(path, dpi=110)
