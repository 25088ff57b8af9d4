"""The learned kernels of the first layer."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from convforge.layers import LocallyConnected2D, Maxout, MaxoutConv2D
from convforge.pipeline.explanation.feature_maps import FeatureMaps, find_feature_maps
from convforge.pipeline.report.sheet import MARGIN, draw_head, head_height, sheet
from convforge.pipeline.report.style import WIDTH

# Pixels of the sheet: between the pieces of a unit, between units, and between plain kernels.
_PIECE_GAP, _UNIT_GAP, _PLAIN_GAP = 2, 14, 6
# A kernel is enlarged to this at most, and where there are few to no more than can be taken in.
_LARGEST = 96
# The units fill a field of this height at most.
_MOST_HEIGHT = 520
# What a full last row may cost: of the size, and of the width of a row.
_NEARLY, _FILLED = 0.7, 0.85


def draw_first_kernels(model: keras.Model, path: Path) -> Path | None:
    """The kernels of the first convolution, as a PNG at `path`; None where there is none.

    A locally connected layer has other kernels at each place; it is passed by.
    """
    for maps in find_feature_maps(model):
        layer = maps.convolution
        if isinstance(layer, LocallyConnected2D) or not hasattr(layer, "kernel"):
            continue
        kernels = np.asarray(keras.ops.convert_to_numpy(layer.kernel), np.float32)
        draw_kernels(kernels, path, name=layer.name, pieces=_pieces(maps))
        return path
    return None


def _pieces(maps: FeatureMaps) -> int:
    """How many kernels a Maxout unit takes the largest of; 1 for other activations."""
    for layer in (maps.convolution, *maps.followers):
        if isinstance(layer, MaxoutConv2D | Maxout):
            return int(layer.num_pieces)
    return 1


def draw_kernels(kernels: NDArray[np.floating], path: Path, *, name: str, pieces: int = 1) -> None:
    """The kernels `(height, width, channels, number)` side by side, as a PNG at `path`.

    Three channels are shown as colours, any other number as the mean over the channels in grey.
    Zero is the same mid-grey everywhere; the kernels of a unit share their scale, so that one sees
    which of them is larger.

    Args:
        kernels: the pieces of a Maxout unit beside one another, as `MaxoutConv2D` keeps them.
        path: of the picture.
        name: of the layer.
        pieces: kernels in a unit.
    """
    height, width, channels, number = kernels.shape
    units = number // pieces
    tiles = _unit_tiles(kernels if channels == 3 else kernels.mean(axis=2, keepdims=True), pieces)
    gap = _UNIT_GAP if pieces > 1 else _PLAIN_GAP
    scale, columns = _layout(units, (height, width), pieces, gap)
    unit_width = pieces * width * scale + (pieces - 1) * _PIECE_GAP
    rows = ceil(units / columns)
    size = f"{height}×{width}×{channels}"
    title = f"{name}: {number} kernels of {size}"
    note = "mid-grey is zero; each is scaled by its largest weight"
    if pieces > 1:
        title = f"{name}: {units} Maxout units of {pieces} kernels of {size}"
        note = (
            "the kernels of a unit stand together, scaled by the largest weight of them; "
            "mid-grey is zero"
        )
    top = head_height(note)
    page_height = top + rows * (height * scale + gap) + MARGIN - gap
    with sheet(path, WIDTH, page_height) as page:
        draw_head(page, title, note)
        for unit in range(units):
            left = MARGIN + unit % columns * (unit_width + gap)
            upper = top + unit // columns * (height * scale + gap)
            for piece in range(pieces):
                tile = np.kron(tiles[unit * pieces + piece], np.ones((scale, scale, 1)))
                page.pixels(tile, left + piece * (width * scale + _PIECE_GAP), upper)


def _unit_tiles(kernels: NDArray[np.floating], pieces: int) -> NDArray[Any]:
    """`(number, height, width, channels)` in 0..1, zero at 0.5, scaled unit by unit."""
    height, width, channels, number = kernels.shape
    by_unit = kernels.reshape(height, width, channels, number // pieces, pieces)
    peaks = np.abs(by_unit).max(axis=(0, 1, 2, 4), keepdims=True)
    shown = 0.5 + 0.5 * by_unit / np.maximum(peaks, np.finfo(kernels.dtype).tiny)
    return np.moveaxis(shown.reshape(kernels.shape), 3, 0)


def _layout(units: int, size: tuple[int, int], pieces: int, gap: int) -> tuple[int, int]:
    """How often a kernel's pixel is repeated, and how many units stand in a row.

    As large as the page takes them, or somewhat smaller, or in somewhat shorter rows, where that
    leaves less of the last row empty.
    """
    height, width = size
    room = WIDTH - 2 * MARGIN + gap
    layouts = []
    for scale in range(max(1, _LARGEST // max(size)), 0, -1):
        unit_width = pieces * width * scale + (pieces - 1) * _PIECE_GAP + gap
        most = max(1, min(units, room // unit_width))
        shortest = min(most, ceil(_FILLED * room / unit_width))
        for columns in range(most, shortest - 1, -1):
            rows = ceil(units / columns)
            if scale == 1 or rows * (height * scale + gap) <= _MOST_HEIGHT:
                layouts.append((rows * columns - units, -scale, -columns))
    smallest = _NEARLY * max(-scale for _, scale, _ in layouts)
    _, scale, columns = min(layout for layout in layouts if -layout[1] >= smallest)
    return -scale, -columns
