"""Sheets: images, maps over them and captions, each at its place in pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from convforge.pipeline.report.figure import picture, points
from convforge.pipeline.report.style import BLUE, FAINT, INK, ORANGE, WIDTH

# Pixels: between images and at the sheet's edge, and of the letters.
GAP, MARGIN = 7, 12
TITLE, TEXT, SMALL = 16, 12, 11
LINE = 1.3
# How much of the image the strongest place of a map hides.
_OPACITY = 0.85
# Below a map an image is shown in the lighter greys: on black no colour is seen.
_DARKEST = 0.35


class Sheet:
    """A page on which things are placed in pixels from its upper left corner.

    One pair of axes serves all: a pair for each image takes ten times as long to draw.
    """

    def __init__(self, axes: Axes, width: float, height: float) -> None:
        self._axes = axes
        self._size = (width, height)

    def image(self, image: NDArray[Any], left: float, top: float, side: float) -> None:
        """`image` `(height, width, channels)` in 0..255, in the middle of a square of `side`."""
        self._show(np.clip(image / 255.0, 0, 1).squeeze(), self._place(image, left, top, side))

    def pixels(self, image: NDArray[Any], left: float, top: float) -> None:
        """`image` `(height, width, channels)` in 0..1, each of its pixels one of the sheet's."""
        top = round(self._size[1] - top)
        place = (round(left), round(left) + image.shape[1], top - image.shape[0], top)
        self._show(image.squeeze(), place)

    def map(self, values: NDArray[Any], left: float, top: float, side: float) -> None:
        """One feature map `(rows, columns)`, from its least value in black to its largest."""
        low, high = float(values.min()), float(values.max())
        shown = (values - low) / (high - low) if high > low else np.zeros_like(values)
        self._show(shown, self._place(values, left, top, side))

    def heat(
        self, image: NDArray[Any], values: NDArray[Any], left: float, top: float, side: float
    ) -> None:
        """`values` `(rows, columns)` spread over `image` in grey, the largest magnitude strongest.

        Orange above zero, blue below.
        """
        place = self._place(image, left, top, side)
        grey = np.clip(image.mean(axis=2) / 255.0, 0, 1)
        self._show(_DARKEST + (1 - _DARKEST) * grey, place)
        peak = float(np.abs(values).max())
        if not peak:
            return
        colours = np.where((values > 0)[..., None], to_rgb(ORANGE), to_rgb(BLUE))
        strength = _OPACITY * np.abs(values) / peak
        self._show(np.dstack([colours, strength]), place, interpolation="bilinear")

    def text(
        self,
        text: str,
        x: float,
        top: float,
        *,
        size: float = TEXT,
        colour: str = INK,
        align: str = "left",
        weight: str = "normal",
    ) -> None:
        """`text`, of several lines perhaps, whose upper edge is at `top`."""
        y = self._size[1] - top
        style: dict[str, Any] = {"ha": align, "va": "top", "weight": weight, "linespacing": LINE}
        self._axes.text(x, y, text, fontsize=points(size), color=colour, **style)

    def _place(
        self, image: NDArray[Any], left: float, top: float, side: float
    ) -> tuple[float, float, float, float]:
        """Left, right, bottom, top; small images are enlarged by a whole number."""
        rows, columns = image.shape[:2]
        scale = shown_side(image, side) / max(rows, columns)
        left = round(left + (side - columns * scale) / 2)
        top = round(self._size[1] - top - (side - rows * scale) / 2)
        return left, left + columns * scale, top - rows * scale, top

    def _show(
        self,
        image: NDArray[Any],
        place: tuple[float, float, float, float],
        interpolation: str = "auto",
    ) -> None:
        self._axes.imshow(
            image, cmap="gray", vmin=0, vmax=1, interpolation=interpolation, extent=place
        )


@contextmanager
def sheet(path: Path, width: float, height: float) -> Iterator[Sheet]:
    """A sheet of so many pixels, which is a PNG at `path` when the block ends."""
    # Whole pixels: what is enlarged by whole times must not fall between them.
    width, height = ceil(width), ceil(height)
    with picture(path, width, height, layout=None) as figure:
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        yield Sheet(axes, width, height)
        axes.set(xlim=(0, width), ylim=(0, height), aspect="auto")
        axes.axis("off")


def text_height(text: str, size: float = TEXT) -> int:
    """Pixels that the lines of `text` take."""
    return ceil((text.count("\n") + 1) * size * LINE + 2) if text else 0


def draw_sheet(
    rows: Sequence[Sequence[NDArray[Any]]],
    path: Path,
    *,
    title: str,
    note: str = "",
    captions: Sequence[Sequence[str]] | None = None,
    columns: int | None = None,
    width: float = WIDTH,
) -> None:
    """Images `(height, width, channels)` in 0..255 as a PNG at `path`, one row per sequence.

    Args:
        rows: the images.
        path: of the picture.
        title: above all.
        note: below the title, of several lines perhaps.
        captions: below each image, of several lines perhaps.
        columns: that there is room for; None for those of the longest row.
        width: pixels of the sheet.
    """
    room = image_side(width, columns or max(len(row) for row in rows))
    side = shown_side(rows[0][0], room)
    below = [max((text_height(text, SMALL) for text in row), default=0) for row in captions or []]
    below = below or [0] * len(rows)
    top = head_height(note)
    height = top + sum(side + lines + GAP for lines in below) + MARGIN - GAP
    with sheet(path, width, height) as page:
        draw_head(page, title, note)
        for number, row in enumerate(rows):
            for column, image in enumerate(row):
                middle = MARGIN + column * (room + GAP) + room / 2
                page.image(image, middle - side / 2, top, side)
                if captions:
                    under = top + side + 3
                    page.text(captions[number][column], middle, under, size=SMALL, align="center")
            top += side + below[number] + GAP


def shown_side(image: NDArray[Any], room: float) -> float:
    """Pixels of the longer side of `image` in a square of `room`: small ones grow by whole times.

    Example:
        >>> shown_side(np.zeros((28, 20, 1)), 100), shown_side(np.zeros((300, 224, 3)), 100)
        (84, 100)
    """
    longer = max(image.shape[:2])
    return int(room / longer) * longer if longer < room else room


def image_side(width: float, columns: int) -> int:
    """Pixels of each image's square where so many stand beside one another."""
    return int((width - 2 * MARGIN - (columns - 1) * GAP) / columns)


def head_height(note: str) -> float:
    """Pixels from the sheet's edge to what stands below title and note."""
    return MARGIN + text_height("title", TITLE) + text_height(note) + GAP


def draw_head(page: Sheet, title: str, note: str) -> None:
    """Title and note in the upper left corner."""
    page.text(title, MARGIN, MARGIN, size=TITLE, weight="bold")
    page.text(note, MARGIN, MARGIN + text_height(title, TITLE), colour=FAINT)
