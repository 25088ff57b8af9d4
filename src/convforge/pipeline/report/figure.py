"""Figures in the pictures' style, drawn by Matplotlib."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from convforge.pipeline.report.style import BACKGROUND, BLUE, DPI, FAINT, INK, ORANGE

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": BACKGROUND,
    # Inches, so that no title touches the edge.
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.06,
    # A class may be called "$5"; that is no formula.
    "text.parse_math": False,
}

SHARES_RIGHT = LinearSegmentedColormap.from_list("shares_right", [BACKGROUND, BLUE])
#: It begins where one sees it: a single error is one.
ERRORS = LinearSegmentedColormap.from_list("errors", ["#fbdcc4", ORANGE])


def points(pixels: float) -> float:
    """The size of letters that are so many pixels high, as Matplotlib takes it."""
    return pixels * 72 / DPI


@contextmanager
def picture(
    path: Path,
    width: float,
    height: float,
    *,
    layout: Literal["constrained"] | None = "constrained",
) -> Iterator[Figure]:
    """A figure of `width` × `height` pixels, which is a PNG at `path` when the block ends."""
    with rc_context(_STYLE), warnings.catch_warnings():
        # Of an alphabet that the font has not got.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width / DPI, height / DPI), layout=layout)
        yield figure
        figure.savefig(path, dpi=DPI)
