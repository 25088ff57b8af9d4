"""The test images that the net was most wrong about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from convforge.pipeline.report.sheet import draw_sheet

_WORST, _COLUMNS = 24, 8


def draw_worst(images: NDArray[Any], captions: Sequence[str], path: Path) -> list[Path]:
    """The first of `images` `(n, height, width, channels)` as a PNG at `path`; none for none.

    Returns:
        The files written.
    """
    if not len(images):
        return []
    shown = range(min(len(images), _WORST))
    rows = [shown[start : start + _COLUMNS] for start in range(0, len(shown), _COLUMNS)]
    draw_sheet(
        [[images[i] for i in row] for row in rows],
        path,
        title=f"the worst of {len(images):,} errors",
        captions=[[captions[i] for i in row] for row in rows],
    )
    return [path]
