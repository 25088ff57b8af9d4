"""Axes of one chart: numbers to pixels, grid lines and their labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from convforge.pipeline.claims.page.drawing import BOLD, LINE_HEIGHT, Drawing, Line, Point, wrapped

_LETTERS, _TITLE = 11.0, 12.5
_TOP, _LEFT, _RIGHT, _BOTTOM, _EDGE = 30.0, 44.0, 12.0, 40.0, 6.0
# Where the largest value is so many times the smallest, both are only seen on a logarithmic axis.
_WIDE = 6.0
# On which there is a line for each power of ten alone beyond so many times.
_DECADES = 300.0


@dataclass(frozen=True)
class Scale:
    """Numbers from `low` to `high` along one side of a chart."""

    low: float
    high: float
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """From 0 at the low end to 1 at the high one; what lies beyond is at the end."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[float]:
        """Numbers to write beside it.

        Example:
            >>> Scale(0, 20).ticks, Scale(0.7, 30, logarithmic=True).ticks
            ([0.0, 5.0, 10.0, 15.0, 20.0], [1.0, 2.0, 5.0, 10.0, 20.0])
        """
        ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)
        if self.logarithmic:
            steps = (1, 2, 5) if self.high / self.low < _DECADES else (1,)
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)))
            ticks = [step * 10.0**power for power in powers for step in steps]
        return [float(tick) for tick in ticks if self.low <= tick <= self.high]


def scale_for(values: Sequence[float], *, linear: bool = False) -> Scale:
    """A scale on which all of the numbers, none below 0, are seen; logarithmic where that helps."""
    positive = [value for value in values if value > 0]
    if not positive:
        return Scale(0.0, 1.0)
    low, high = min(positive), max(positive)
    if linear or high / low < _WIDE:
        return Scale(0.0, high * 1.05)
    return Scale(low / 1.15, high * 1.15, logarithmic=True)


def epochs_scale(epochs: int) -> Scale:
    """From the first epoch to the last."""
    return Scale(1.0, max(2.0, float(epochs)))


def whole_ticks(scale: Scale) -> list[float]:
    """Whole numbers along a scale.

    Example:
        >>> whole_ticks(Scale(1, 20))
        [5.0, 10.0, 15.0, 20.0]
    """
    locator = MaxNLocator(5, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    ticks = locator.tick_values(scale.low, scale.high)
    return [float(tick) for tick in ticks if scale.low <= tick <= scale.high]


@dataclass(frozen=True)
class Chart:
    """The field of a drawing: `x` from left to right and `y` from bottom to top."""

    page: Drawing
    title: str
    x: Scale
    y: Scale

    def place(self, x: float, y: float) -> Point:
        """The pixels of a point."""
        top = _TOP + (len(self._lines) - 1) * _TITLE * LINE_HEIGHT
        width = self.page.width - _LEFT - _RIGHT
        height = self.page.height - top - _BOTTOM
        return _LEFT + self.x.share(x) * width, top + (1 - self.y.share(y)) * height

    @property
    def _lines(self) -> list[str]:
        return wrapped(self.title, _TITLE * BOLD, self.page.width - 2 * _EDGE)

    def frame(self, below: str, x_ticks: Sequence[float], unit: str) -> None:
        """Title, grid, and what the axes are."""
        page = self.page
        page.write(self._lines, (_EDGE, 16), size=_TITLE, bold=True)
        for tick in self.y.ticks:
            left, right = self.place(self.x.low, tick), self.place(self.x.high, tick)
            page.add(Line((left, right), "grid"))
            label, place = _written(tick) + unit, (_LEFT - 6, left[1] + 4)
            page.write([label], place, size=_LETTERS, colour="faint", align="end")
        ends = self.place(self.x.low, self.y.low), self.place(self.x.high, self.y.low)
        page.add(Line(ends, "faint"))
        for tick in x_ticks:
            x, y = self.place(tick, self.y.low)
            page.add(Line(((x, y), (x, y + 4)), "faint"))
            page.write([_written(tick)], (x, y + 16), size=_LETTERS, colour="faint", align="middle")
        middle = (_LEFT + page.width - _RIGHT) / 2
        place = (middle, page.height - 8)
        page.write([below], place, size=_LETTERS, colour="faint", align="middle")


def _written(tick: float) -> str:
    return f"{tick:.6g}".replace("-", "−")
