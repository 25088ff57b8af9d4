"""The confusion matrix, and which classes are confused most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.report.figure import ERRORS, SHARES_RIGHT, picture, points
from convforge.pipeline.report.style import (
    BACKGROUND,
    BLUE,
    FAINT,
    INK,
    ORANGE,
    WIDTH,
    font,
    shortened,
)

# Beyond this many classes neither numbers nor names would be legible.
_MOST_LABELLED = 30
_SMALLEST_HEIGHT, _LARGEST_HEIGHT = 420, 860
# Pixels of the longest class name beside the matrix, and of letters.
_NAME_ROOM, _LETTERS, _SMALL_LETTERS = 150, 12, 10
# Of many classes: the pairs and the classes that are listed; cells that a screen shows apart.
_MOST_LISTED, _MOST_CELLS = 15, 250


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
    """The matrix as a PNG at `path`.

    What is right is blue, by its share of the class; errors are orange, by their number beside that
    of the most frequent one, so that one error of a hundred images is seen. Of more than 30 classes
    names and numbers stand in lists of the most confused pairs and of the worst classes.
    """
    if len(classes) <= _MOST_LABELLED:
        _draw_labelled(matrix, classes, path)
    else:
        _draw_with_lists(matrix, classes, path)


def confused_pairs(matrix: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Class, what it was taken for, and how many times, the most frequent first.

    Example:
        >>> confused_pairs(np.array([[5, 1, 0], [0, 4, 2], [0, 0, 6]]))
        [(1, 2, 2), (0, 1, 1)]
    """
    errors = _errors(matrix)
    rows, columns = np.nonzero(errors)
    order = np.argsort(-errors[rows, columns], kind="stable")
    return [(int(rows[i]), int(columns[i]), int(errors[rows[i], columns[i]])) for i in order]


def _errors(matrix: NDArray[np.int64]) -> NDArray[np.int64]:
    return matrix * (1 - np.eye(len(matrix), dtype=np.int64))


def _shares(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of each class, what is right; not a number where there are no images of it."""
    totals = matrix.sum(axis=1)
    shares: NDArray[np.float64] = np.divide(
        np.diag(matrix), totals, out=np.full(len(matrix), np.nan), where=totals > 0
    )
    return shares


def _colours(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """The cells' colours, `(classes, classes, 4)`: white where there is nothing."""
    errors = _errors(matrix)
    colours = np.ones((*matrix.shape, 4))
    wrong = errors > 0
    colours[wrong] = ERRORS(errors[wrong] / max(errors.max(), 1))
    right = np.flatnonzero(np.diag(matrix))
    colours[right, right] = SHARES_RIGHT(_shares(matrix)[right])
    return colours


def _headline(matrix: NDArray[np.int64]) -> str:
    right, total = int(np.trace(matrix)), int(matrix.sum())
    return (
        f"{right:,} of {pluralize(total, 'image')} right ({right / max(total, 1):.2%}), "
        f"{pluralize(total - right, 'error')}"
    )


def _draw_labelled(matrix: NDArray[np.int64], classes: Sequence[str], path: Path) -> None:
    number = len(classes)
    height = min(_SMALLEST_HEIGHT + 36 * number, _LARGEST_HEIGHT)
    letters = _LETTERS if number <= 20 else _SMALL_LETTERS
    names = [shortened(name, letters, _NAME_ROOM) for name in classes]
    with picture(path, WIDTH, height) as figure:
        axes = figure.subplots()
        axes.imshow(_colours(matrix), aspect="auto")
        axes.set_title(_headline(matrix), weight="bold")
        axes.set_xlabel("predicted")
        axes.set_ylabel("actual")
        size = points(letters)
        widest = max(font(letters).getlength(name) for name in names)
        turned = widest > (WIDTH - _NAME_ROOM - widest) / number - 6
        axes.set_xticks(range(number), names, fontsize=size, rotation=90 if turned else 0)
        axes.set_yticks(range(number), names, fontsize=size)
        _add_recall(axes, matrix, size)
        axes.set_xticks(np.arange(number + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(number + 1) - 0.5, minor=True)
        axes.grid(which="minor")
        axes.tick_params(which="both", length=0)
        for row, column in np.argwhere(matrix):
            # On orange black is easier to read than white, however dark.
            dark = row == column and _shares(matrix)[row] > 0.6
            style: dict[str, Any] = {"color": BACKGROUND if dark else INK, "fontsize": size}
            axes.text(column, row, f"{matrix[row, column]:,}", ha="center", va="center", **style)


def _add_recall(axes: Axes, matrix: NDArray[np.int64], size: float) -> None:
    """To the right of each row, the share of its images that are right."""
    beside = axes.secondary_yaxis("right")
    labels = ["none" if np.isnan(share) else f"{share:.1%}" for share in _shares(matrix)]
    beside.set_yticks(range(len(matrix)), labels, fontsize=size)
    beside.set_ylabel("right of its images")
    beside.tick_params(length=0)


def _draw_with_lists(matrix: NDArray[np.int64], classes: Sequence[str], path: Path) -> None:
    with picture(path, WIDTH, 1010) as figure:
        figure.suptitle(_headline(matrix), x=0.01, ha="left", weight="bold", fontsize=11)
        above, lists = figure.subfigures(2, 1, height_ratios=(600, 380), squeeze=False)[:, 0]
        axes = above.subplots()
        axes.imshow(_coarse(_colours(matrix)), extent=(0, len(classes), len(classes), 0))
        axes.set_xlabel(f"predicted, by the number of the class (0 to {len(classes) - 1})")
        axes.set_ylabel("actual")
        axes.set_title("blue: right; orange: errors", fontsize=9, color=FAINT)
        pairs, worst = lists.subplots(1, 2)
        _draw_pairs(pairs, matrix, classes)
        _draw_worst_classes(worst, matrix, classes)


def _coarse(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Blocks of cells as one, as dark as the darkest of them: a screen would blend them away."""
    size = -(-len(colours) // _MOST_CELLS)
    short = -len(colours) % size
    padded = np.pad(colours, ((0, short), (0, short), (0, 0)), constant_values=1)
    blocks = len(padded) // size
    cells = padded.reshape(blocks, size, blocks, size, 4).swapaxes(1, 2)
    cells = cells.reshape(blocks, blocks, size * size, 4)
    darkest = cells.sum(axis=3).argmin(axis=2)
    return np.take_along_axis(cells, darkest[..., None, None], axis=2)[:, :, 0]


def _draw_pairs(axes: Axes, matrix: NDArray[np.int64], classes: Sequence[str]) -> None:
    pairs = confused_pairs(matrix)[:_MOST_LISTED]
    labels = [
        " → ".join(
            shortened(classes[number], _SMALL_LETTERS, 100) for number in (actual, predicted)
        )
        for actual, predicted, _ in pairs
    ]
    totals = matrix.sum(axis=1)
    values = [f"{count:,} of {totals[actual]:,}" for actual, _, count in pairs]
    axes.set_title("taken for another most often", fontsize=9.5, weight="bold")
    _draw_bars(axes, labels, [count for *_, count in pairs], values, ORANGE)


def _draw_worst_classes(axes: Axes, matrix: NDArray[np.int64], classes: Sequence[str]) -> None:
    shares, totals = _shares(matrix), matrix.sum(axis=1)
    worst = [i for i in np.argsort(shares, kind="stable") if totals[i]][:_MOST_LISTED]
    labels = [shortened(classes[number], _SMALL_LETTERS, 160) for number in worst]
    values = [f"{matrix[i, i]:,} of {totals[i]:,}" for i in worst]
    axes.set_title("classes least often right", fontsize=9.5, weight="bold")
    _draw_bars(axes, labels, shares[worst].tolist(), values, BLUE)


def _draw_bars(
    axes: Axes,
    labels: Sequence[str],
    lengths: Sequence[float],
    values: Sequence[str],
    colour: str,
) -> None:
    rows = range(len(labels))
    bars = axes.barh(rows, lengths, color=colour, height=0.7)
    axes.bar_label(bars, values, padding=3, fontsize=points(_SMALL_LETTERS))
    axes.set_yticks(rows, labels, fontsize=points(_SMALL_LETTERS))
    # Few bars are no thicker than many.
    axes.set_ylim(_MOST_LISTED - 0.5, -0.5)
    axes.set_xlim(0, max([*lengths, 1e-9]) * 1.4)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)
