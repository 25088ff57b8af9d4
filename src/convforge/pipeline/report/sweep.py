"""The jobs of a sweep in one picture: what was swept against what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from convforge.pipeline.report.figure import picture
from convforge.pipeline.report.style import BLUE, INK, ORANGE, WIDTH, shortened

# Values that are this many times apart are shown on a logarithmic axis.
_WIDE = 8.0
# Of an axis' height, what lines through the same value of it share.
_FAN = 0.05
# Pixels of a value beside an axis: of its letters, and of the room for them.
_LETTERS, _ROOM = 12, 170
# Pixels, of the picture, and of each of many axes side by side.
_HEIGHT, _AXIS_WIDTH = 560, 220


@dataclass(frozen=True)
class Point:
    """One job.

    Args:
        values: of the swept keys, as one writes them.
        figure: what came of it.
        whole: whether it was trained to its end.
    """

    values: Mapping[str, str]
    figure: float
    whole: bool


def draw_sweep(
    points: Sequence[Point], keys: Sequence[str], figure: str, path: Path, *, higher: bool
) -> None:
    """The picture of all `points` as a PNG at `path`.

    One key: the figure against it. Two: one against the other, the figure as colour. More: a line
    for each job through an axis for each key. Keys whose values are no numbers have a place for
    each value; jobs that were not trained to their end are hollow or dashed.

    Args:
        points: of which each has a value for each key.
        keys: that have more than one value.
        figure: its name.
        path: of the picture.
        higher: whether more of the figure is better.
    """
    scales = {key: _Scale.of([point.values[key] for point in points]) for key in keys}
    width = max(WIDTH, _AXIS_WIDTH * (len(keys) + 1)) if len(keys) > 2 else WIDTH
    draw = _against if len(keys) == 1 else _plane if len(keys) == 2 else _parallel
    with picture(path, width, _HEIGHT) as drawn:
        axes = drawn.subplots()
        draw(axes, points, scales, figure, higher)
        axes.set_title(_title(points, figure, higher), fontweight="bold")


@dataclass(frozen=True)
class _Scale:
    """Where the values of a key lie on an axis.

    Args:
        names: of values that are no numbers, in the order of their places; None for numbers.
        log: whether the axis is logarithmic.
        numbers: those that there are, in order.
    """

    names: list[str] | None
    log: bool
    numbers: list[float]

    @classmethod
    def of(cls, values: Sequence[str]) -> _Scale:
        try:
            numbers = sorted({float(value) for value in values})
        except ValueError:
            return cls(sorted(set(values)), False, [])
        finite = bool(np.isfinite(numbers).all())
        if not finite:
            return cls(sorted(set(values)), False, [])
        wide = numbers[0] > 0 and numbers[-1] / numbers[0] >= _WIDE
        return cls(None, wide, numbers)

    def place(self, value: str) -> float:
        return float(value) if self.names is None else float(self.names.index(value))

    def share(self, value: str) -> float:
        """The place from 0 to 1."""
        low, high = self.ends
        place = self.place(value)
        if self.log:
            low, high, place = np.log([low, high, place])
        return 0.5 if high == low else float((place - low) / (high - low))

    @property
    def ends(self) -> tuple[float, float]:
        if self.names is not None:
            return 0.0, float(len(self.names) - 1)
        return self.numbers[0], self.numbers[-1]

    @property
    def few(self) -> bool:
        """Whether each number can stand beside the axis: as one gives them, not as drawn."""
        shares = [self.share(repr(number)) for number in self.numbers]
        short = all(len(f"{number:g}") <= 6 for number in self.numbers)
        return short and all(after - before > 0.06 for before, after in pairwise(shares))

    def set_up(self, axes: Axes, which: str, key: str) -> None:
        axis = getattr(axes, f"{which}axis")
        getattr(axes, f"set_{which}label")(key)
        if self.names is not None:
            labels = [shortened(name, _LETTERS, _ROOM) for name in self.names]
            axis.set_ticks(range(len(labels)), labels)
            getattr(axes, f"set_{which}margin")(0.5 / max(1, len(labels)))
            if which == "x" and max(map(len, labels)) * len(labels) > 60:
                axes.tick_params("x", rotation=25)
                for label in axes.get_xticklabels():
                    label.set_horizontalalignment("right")
            return
        if self.log:
            getattr(axes, f"set_{which}scale")("log")
        if self.few:
            axis.set_ticks(self.numbers, [f"{number:g}" for number in self.numbers])
            axis.set_minor_formatter(NullFormatter())


def _against(
    axes: Axes, points: Sequence[Point], scales: Mapping[str, _Scale], figure: str, higher: bool
) -> None:
    ((key, scale),) = scales.items()
    for whole in (True, False):
        some = [point for point in points if point.whole == whole]
        if some:
            axes.scatter(
                [scale.place(point.values[key]) for point in some],
                [point.figure for point in some],
                s=36,
                facecolors=BLUE if whole else "none",
                edgecolors=BLUE,
                alpha=0.8,
                label="finished" if whole else "ended early",
            )
    scale.set_up(axes, "x", key)
    _mark_best(axes, points, scales, figure, higher)
    axes.set_ylabel(figure)
    figures = [point.figure for point in points]
    if min(figures) > 0 and max(figures) / min(figures) >= _WIDE:
        axes.set_yscale("log")
    axes.grid()
    axes.legend()


def _plane(
    axes: Axes, points: Sequence[Point], scales: Mapping[str, _Scale], figure: str, higher: bool
) -> None:
    (x, x_scale), (y, y_scale) = scales.items()
    colours = _colours(points, higher)
    for point in sorted(points, key=lambda point: point.figure, reverse=not higher):
        colour = _colour(colours, point)
        axes.scatter(
            x_scale.place(point.values[x]),
            y_scale.place(point.values[y]),
            s=90,
            facecolors=[colour] if point.whole else "none",
            edgecolors=[colour],
            linewidths=1.8,
        )
    x_scale.set_up(axes, "x", x)
    y_scale.set_up(axes, "y", y)
    _mark_best(axes, points, scales, figure, higher)
    _add_bar(axes, colours, figure, points)
    axes.grid()
    # Beside the points a ring of its own would look like one of them.
    axes.legend(loc="lower left", bbox_to_anchor=(0, -0.2), borderaxespad=0)


def _parallel(
    axes: Axes, points: Sequence[Point], scales: Mapping[str, _Scale], figure: str, higher: bool
) -> None:
    colours = _colours(points, higher)
    places = list(range(len(scales) + 1))
    low, high = _spread(points, higher)
    best = _best(points, higher)
    order = sorted(points, key=lambda point: point.figure, reverse=not higher)
    for number, point in enumerate(order):
        last = (np.clip(point.figure, low, high) - low) / (high - low)
        # Lines through the same few values lie beside one another.
        beside = _FAN * (number / len(order) - 0.5)
        heights = [
            scale.share(point.values[key]) + (beside if scale.names or scale.few else 0.0)
            for key, scale in scales.items()
        ]
        axes.plot(
            places,
            [*heights, 1 - last if not higher else last],
            color=_colour(colours, point),
            linewidth=3.5 if point is best else 1.6,
            linestyle="-" if point.whole else (0, (4, 3)),
            alpha=1.0 if point.whole else 0.6,
            zorder=2 + number / len(order),
        )
    for place, scale in zip(places, scales.values(), strict=False):
        axes.axvline(place, color=INK, linewidth=0.8, zorder=1)
        for share, label in _marks(scale):
            axes.annotate(
                label,
                (place, share),
                (-5, 0),
                textcoords="offset points",
                fontsize=8,
                ha="right",
                va="center",
                zorder=4,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.0},
            )
    axes.axvline(places[-1], color=INK, linewidth=0.8, zorder=1)
    axes.set_xticks(places, [*scales, figure])
    axes.tick_params("x", labelsize=8, length=0)
    axes.set_yticks([])
    axes.set_xlim(-0.55, places[-1] + 0.05)
    axes.spines[:].set_visible(False)
    _add_bar(axes, colours, figure, points)


def _marks(scale: _Scale) -> list[tuple[float, str]]:
    """Labels of an axis, and where they stand from 0 to 1."""
    if scale.names is not None:
        return [(scale.share(name), shortened(name, _LETTERS, _ROOM)) for name in scale.names]
    if scale.few:
        return [(scale.share(repr(number)), f"{number:g}") for number in scale.numbers]
    low, high = scale.ends
    space = np.geomspace if scale.log else np.linspace
    numbers: NDArray[np.floating] = space(low, high, 5)
    return [(number / 4, f"{value:.3g}") for number, value in enumerate(numbers)]


def _spread(points: Sequence[Point], higher: bool) -> tuple[float, float]:
    """From the best to the middle of the others, and as much again.

    So that one that went wrong does not make all others look the same.
    """
    figures = [point.figure for point in points]
    best, middle = _best(points, higher).figure, float(np.median(figures))
    worst = min(figures) if higher else max(figures)
    limit = best + 2 * (middle - best)
    edge = max(worst, limit) if higher else min(worst, limit)
    if edge == best:
        edge = worst if worst != best else best + (-1 if higher else 1)
    return (edge, best) if higher else (best, edge)


def _colours(points: Sequence[Point], higher: bool) -> ScalarMappable:
    low, high = _spread(points, higher)
    # The best is dark, whichever way that is.
    return ScalarMappable(Normalize(low, high, clip=True), "viridis_r" if higher else "viridis")


def _colour(colours: ScalarMappable, point: Point) -> tuple[float, ...]:
    (colour,) = colours.to_rgba(np.array([point.figure]))
    return tuple(colour)


def _add_bar(axes: Axes, colours: ScalarMappable, figure: str, points: Sequence[Point]) -> None:
    low, high = colours.get_clim()
    figures = [point.figure for point in points]
    beyond = {(False, False): "neither", (True, False): "min", (False, True): "max"}
    extend = beyond.get((min(figures) < low, max(figures) > high), "both")
    axes.figure.colorbar(colours, ax=axes, extend=extend).set_label(figure)


def _best(points: Sequence[Point], higher: bool) -> Point:
    done = [point for point in points if point.whole] or list(points)
    return (max if higher else min)(done, key=lambda point: point.figure)


def _mark_best(
    axes: Axes, points: Sequence[Point], scales: Mapping[str, _Scale], figure: str, higher: bool
) -> None:
    best = _best(points, higher)
    places = [scale.place(best.values[key]) for key, scale in scales.items()]
    x, y = places if len(places) == 2 else (places[0], best.figure)
    label = f"best: {figure} {best.figure:.4g}"
    ring: Any = {"facecolors": "none", "edgecolors": ORANGE, "linewidths": 1.5}
    axes.scatter(x, y, s=220, label=label, **ring)


def _title(points: Sequence[Point], figure: str, higher: bool) -> str:
    early = sum(not point.whole for point in points)
    ended = f", {early} of them ended early" if early else ""
    return f"{len(points)} jobs{ended}: {figure}, the {'higher' if higher else 'lower'} the better"
