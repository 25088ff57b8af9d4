"""The test images that the net was most wrong about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from convforge.pipeline.report.sheet import draw_sheet, image_side
from convforge.pipeline.report.style import WIDTH

_COLUMNS = 6
#: What is taken in at a glance.
MOST_ERRORS = 4 * _COLUMNS
#: Pixels for a line of a caption.
CAPTION_ROOM = image_side(WIDTH, _COLUMNS)


def draw_worst(
    images: NDArray[Any], captions: Sequence[str], path: Path, *, title: str, note: str
) -> list[Path]:
    """`images` `(n, height, width, channels)` in their order as a PNG at `path`; none for none.

    Returns:
        The files written.
    """
    if not len(images):
        return []
    starts = range(0, len(images), _COLUMNS)
    draw_sheet(
        [list(images[start : start + _COLUMNS]) for start in starts],
        path,
        title=title,
        note=note,
        captions=[captions[start : start + _COLUMNS] for start in starts],
        columns=_COLUMNS,
    )
    return [path]
