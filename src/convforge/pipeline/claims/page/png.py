"""Drawings as PNG, for pages that show no SVG."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import Polygon

from convforge.pipeline.claims.page.colours import LIGHT
from convforge.pipeline.claims.page.drawing import Area, Drawing, Line, Mark, Part
from convforge.pipeline.report.figure import picture, points

_ALIGN = {"start": "left", "middle": "center", "end": "right"}


def write_png(drawing: Drawing, path: Path, *, width: float) -> None:
    """The drawing in light, so many pixels wide, at `path`."""
    scale = width / drawing.width
    with picture(path, width, drawing.height * scale, layout=None) as figure:
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set(xlim=(0, drawing.width), ylim=(drawing.height, 0))
        axes.axis("off")
        for part in drawing.parts:
            _draw(axes, part, scale)


def _draw(axes: Axes, part: Part, scale: float) -> None:
    colour = LIGHT[part.colour]
    if isinstance(part, Area):
        axes.add_patch(Polygon(part.points, facecolor=colour, linewidth=0, alpha=part.opacity))
    elif isinstance(part, Line):
        x, y = zip(*part.points, strict=True)
        width = points(part.width * scale)
        # Matplotlib counts dashes in widths of the line.
        dash = (0, tuple(each / part.width for each in part.dash)) if part.dash else "-"
        axes.plot(x, y, color=colour, linewidth=width, linestyle=dash, solid_capstyle="butt")
    elif isinstance(part, Mark):
        _mark(axes, part, colour, scale)
    else:
        axes.text(
            *part.place,
            part.text,
            fontsize=points(part.size * scale),
            color=colour,
            ha=_ALIGN[part.align],
            va="baseline",
            weight="bold" if part.bold else "normal",
        )


def _mark(axes: Axes, mark: Mark, colour: str, scale: float) -> None:
    axes.plot(
        *mark.place,
        linestyle="",
        marker="x" if mark.shape == "cross" else "o",
        markersize=points(2 * mark.radius * scale),
        color=colour,
        markerfacecolor=LIGHT["paper"] if mark.shape == "ring" else colour,
        markeredgewidth=points(scale * (0 if mark.shape == "dot" else 2)),
    )
