"""All claims of a scale under one another: the forest plot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from convforge.pipeline.claims.page import wording
from convforge.pipeline.claims.page.axis import Axis, axis_for, interval_of
from convforge.pipeline.claims.page.drawing import BOLD, LINE_HEIGHT, Drawing, Line, wrapped
from convforge.pipeline.claims.page.intervals import (
    AXIS_LETTERS,
    SIGNS,
    UNIT,
    draw_field,
    draw_interval,
    draw_meaning,
    draw_numbers,
)
from convforge.pipeline.claims.result import ClaimResult, ComparisonRecord

# Pixels.
_LETTERS, _SMALL, _EDGE = 12.5, 11.0, 6.0
_HEAD, _FOOT = 34.0, 38.0
# Between rows, and of the strip that an interval below its title has.
_GAP, _STRIP = 8.0, 20.0
# Of titles and verdicts beside the axis, as shares of the width.
_TITLES, _VERDICTS = 0.37, 0.235


@dataclass(frozen=True)
class _Row:
    """A comparison, or a claim's own title above several."""

    title: str
    bold: bool
    record: ComparisonRecord | None
    effect: str = ""

    @property
    def verdict(self) -> str:
        """With its sign."""
        return f"{SIGNS[self.record.outcome]} {self.record.outcome}" if self.record else ""


def draw_forest(
    results: Sequence[ClaimResult],
    *,
    width: float,
    stacked: bool = False,
    main_alone: bool = False,
) -> Drawing:
    """The comparisons of all claims on one axis.

    Args:
        results: of one scale.
        width: of the drawing, in pixels.
        stacked: titles above the intervals instead of beside them: for narrow pages.
        main_alone: of each claim only the comparison that gives its verdict.
    """
    rows = list(_rows(results, main_alone))
    left = _EDGE if stacked else width * _TITLES
    right = width - _EDGE if stacked else width * (1 - _VERDICTS)
    found = [interval_of(row.record) for row in rows if row.record]
    axis = axis_for(found, left + 3 * _EDGE, right - 2 * _EDGE)
    texts = [_wrapped(row, left, width, stacked) for row in rows]
    heights = [_height(row, text, stacked) for row, text in zip(rows, texts, strict=True)]
    bottom = _HEAD + sum(heights)
    title = f"Forest plot of {len(results)} claims, {results[0].scale_title}"
    page = Drawing(width, bottom + _FOOT, title)
    draw_meaning(page, axis, _HEAD - 8)
    if not stacked:
        draw_field(page, axis, _HEAD, bottom)
    top = _HEAD
    for row, text, height in zip(rows, texts, heights, strict=True):
        if row.bold and top > _HEAD:
            page.add(Line(((_EDGE, top), (width - _EDGE, top)), "grid"))
        (_draw_stacked if stacked else _draw_beside)(page, axis, row, text, top, height, right)
        top += height
    draw_numbers(page, axis, bottom)
    middle = width / 2 if stacked else (axis.left + axis.right) / 2
    foot = (middle, bottom + 29)
    page.write([UNIT], foot, size=AXIS_LETTERS, colour="faint", align="middle")
    return page


def _rows(results: Sequence[ClaimResult], main_alone: bool) -> Iterator[_Row]:
    for result in results:
        alone = main_alone or len(result.comparisons) == 1
        if not alone:
            yield _Row(result.title, True, None)
        for record in [result.comparisons[result.main]] if alone else result.comparisons:
            effect = wording.effect(
                record.estimate, record.rule, result.figures[record.figure].unit
            )
            if record.estimate is None:
                effect = ""
            title = result.title if alone else record.title
            if record.rule == "equivalence":
                title = f"{title} (claimed: no effect)"
            yield _Row(title, alone and not main_alone, record, effect)


def _wrapped(row: _Row, left: float, width: float, stacked: bool) -> list[str]:
    room = (width if stacked or row.record is None else left) - 2 * _EDGE
    return wrapped(row.title, _LETTERS, room / (BOLD if row.bold else 1))


def _height(row: _Row, text: Sequence[str], stacked: bool) -> float:
    words = len(text) * _LETTERS * LINE_HEIGHT
    if row.record is None:
        return words + _GAP
    if stacked:
        return words + _SMALL * LINE_HEIGHT + _STRIP + 1.5 * _GAP
    return max(words, (_LETTERS + _SMALL) * LINE_HEIGHT) + _GAP


def _draw_beside(
    page: Drawing,
    axis: Axis,
    row: _Row,
    text: Sequence[str],
    top: float,
    height: float,
    right: float,
) -> None:
    """Title, interval, and verdict with its effect, from left to right."""
    words = len(text) * _LETTERS * LINE_HEIGHT
    first = top + _LETTERS + (height - words) / 2
    page.write(text, (_EDGE, first), size=_LETTERS, bold=row.bold)
    if row.record is None:
        return
    middle = top + height / 2
    draw_interval(page, axis, interval_of(row.record), row.record.outcome, middle)
    base = middle - 2 if row.effect else middle + 4
    page.write([row.verdict], (right + _EDGE, base), size=_LETTERS)
    page.write(
        [row.effect] if row.effect else [], (right + _EDGE, base + 14), size=_SMALL, colour="faint"
    )


def _draw_stacked(
    page: Drawing,
    axis: Axis,
    row: _Row,
    text: Sequence[str],
    top: float,
    height: float,
    right: float,
) -> None:
    """Title, verdict and interval, one below the other."""
    first = (_EDGE, top + _LETTERS + _GAP / 2)
    below = page.write(text, first, size=_LETTERS, bold=row.bold)
    if row.record is None:
        return
    line = f"{row.verdict}, {row.effect}" if row.effect else row.verdict
    page.write([line], (_EDGE, below), size=_SMALL, colour="faint")
    strip = top + height - _STRIP - _GAP / 2
    draw_field(page, axis, strip, strip + _STRIP)
    draw_interval(page, axis, interval_of(row.record), row.record.outcome, strip + _STRIP / 2)
