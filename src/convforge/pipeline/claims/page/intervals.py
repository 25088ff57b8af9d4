"""Intervals along the shared axis: how a comparison is drawn, in the forest and of one claim."""

from __future__ import annotations

from convforge.pipeline.claims.page.axis import Axis, Interval
from convforge.pipeline.claims.page.drawing import (
    Align,
    Area,
    Drawing,
    Line,
    Mark,
    Shape,
    rectangle,
)
from convforge.pipeline.claims.result import Outcome

#: The mark of the estimate says the verdict, and its colour says it again.
SHAPES: dict[Outcome, Shape] = {
    "reproduced": "dot",
    "not reproduced": "cross",
    "undecided": "ring",
}
COLOURS: dict[Outcome, str] = {
    "reproduced": "s0",
    "not reproduced": "s1",
    "undecided": "s5",
}
SIGNS: dict[Outcome, str] = {"reproduced": "●", "not reproduced": "✕", "undecided": "○"}
#: What the axis counts in, and the letters of that, in pixels.
UNIT = "in units of the smallest effect that counts"
AXIS_LETTERS = 10.5
# Pixels: an arrow's side.
_ARROW = 4.0


def draw_field(page: Drawing, axis: Axis, top: float, bottom: float) -> None:
    """The band that does not count, and lines at zero and at the numbers."""
    page.add(Area(rectangle(axis.place(-1), top, axis.place(1), bottom), "band"))
    for tick in axis.ticks:
        ends = (axis.place(tick), top), (axis.place(tick), bottom)
        page.add(Line(ends, "grid") if tick else Line(ends, "faint", dash=(3, 2)))


def draw_numbers(page: Drawing, axis: Axis, top: float) -> None:
    """The numbers below a field, as far as they stand clear of one another."""
    last = -page.width
    for tick in axis.ticks:
        place = axis.place(tick)
        if place - last > 1.7 * AXIS_LETTERS:
            text = f"{tick:g}".replace("-", "−")
            _note(page, text, place, top + 13, "middle")
            last = place


def draw_meaning(page: Drawing, axis: Axis, y: float) -> None:
    """What the sides of the axis are, above it."""
    low, middle, high = axis.place(-1), axis.place(0), axis.place(1)
    _note(page, "too small", middle, y - 12, "middle")
    _note(page, "to count", middle, y, "middle")
    _note(page, "← against", low - 6, y, "end")
    _note(page, "as claimed →", high + 6, y, "start")


def _note(page: Drawing, text: str, x: float, y: float, align: Align) -> None:
    page.write([text], (x, y), size=AXIS_LETTERS, colour="faint", align=align)


def draw_interval(
    page: Drawing, axis: Axis, found: Interval, outcome: Outcome, y: float, *, width: float = 2.5
) -> None:
    """The interval and its estimate; an end that is not known, or not on the axis, is an arrow."""
    colour = COLOURS[outcome]
    if found.low is not None or found.high is not None:
        low = axis.low if found.low is None else found.low
        high = axis.high if found.high is None else found.high
        left, right = axis.place(low), axis.place(high)
        page.add(Line(((left, y), (right, y)), colour, width))
        if found.low is None or found.low < axis.low:
            page.add(_arrow(axis.left, y, -1, colour))
        if found.high is None or found.high > axis.high:
            page.add(_arrow(axis.right, y, 1, colour))
    if found.estimate is not None:
        page.add(Mark((axis.place(found.estimate), y), SHAPES[outcome], colour, 4.5))


def _arrow(x: float, y: float, way: int, colour: str) -> Area:
    tip, back = x + way * _ARROW, x - way * _ARROW
    return Area(((tip, y), (back, y - _ARROW), (back, y + _ARROW)), colour)
