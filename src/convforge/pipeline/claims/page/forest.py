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


@dataclass(frozen=True)
class _Placed:
    """A row with the lines of its title, from `top` down."""

    row: _Row
    title: list[str]
    top: float
    height: float


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
    left = _EDGE if stacked else width * _TITLES
    right = width - _EDGE if stacked else width * (1 - _VERDICTS)
    placed = _placed(list(_rows(results, main_alone)), left, width, stacked=stacked)
    found = [interval_of(each.row.record) for each in placed if each.row.record]
    axis = axis_for(found, left + 3 * _EDGE, right - 2 * _EDGE)
    bottom = placed[-1].top + placed[-1].height
    title = f"Forest plot of {len(results)} claims, {results[0].scale_title}"
    page = Drawing(width, bottom + _FOOT, title)
    draw_meaning(page, axis, _HEAD - 8)
    if not stacked:
        draw_field(page, axis, _HEAD, bottom)
    for each in placed:
        if each.row.bold and each.top > _HEAD:
            page.add(Line(((_EDGE, each.top), (width - _EDGE, each.top)), "grid"))
        if stacked:
            _draw_stacked(page, axis, each)
        else:
            _draw_beside(page, axis, each, right + _EDGE)
    draw_numbers(page, axis, bottom)
    foot = (width / 2 if stacked else (axis.left + axis.right) / 2, bottom + 29)
    page.write([UNIT], foot, size=AXIS_LETTERS, colour="faint", align="middle")
    return page


def _rows(results: Sequence[ClaimResult], main_alone: bool) -> Iterator[_Row]:
    for result in results:
        alone = main_alone or len(result.comparisons) == 1
        if not alone:
            yield _Row(result.title, True, None)
        for record in [result.comparisons[result.main]] if alone else result.comparisons:
            unit, effect = result.figures[record.figure].unit, ""
            if record.estimate is not None:
                effect = wording.effect(record.estimate, record.rule, unit)
            title = result.title if alone else record.title
            if record.rule == "equivalence":
                title = f"{title} (claimed: no difference)"
            yield _Row(title, alone and not main_alone, record, effect)


def _placed(rows: Sequence[_Row], left: float, width: float, *, stacked: bool) -> list[_Placed]:
    """The rows below one another."""
    placed, top = [], _HEAD
    for row in rows:
        room = (width if stacked or row.record is None else left) - 2 * _EDGE
        title = wrapped(row.title, _LETTERS, room / (BOLD if row.bold else 1))
        words = len(title) * _LETTERS * LINE_HEIGHT
        if row.record is None:
            height = words + _GAP
        elif stacked:
            height = words + _SMALL * LINE_HEIGHT + _STRIP + 1.5 * _GAP
        else:
            height = max(words, (_LETTERS + _SMALL) * LINE_HEIGHT) + _GAP
        placed.append(_Placed(row, title, top, height))
        top += height
    return placed


def _draw_beside(page: Drawing, axis: Axis, placed: _Placed, verdicts: float) -> None:
    """Title, interval, and verdict with its effect, from left to right."""
    row, words = placed.row, len(placed.title) * _LETTERS * LINE_HEIGHT
    first = placed.top + _LETTERS + (placed.height - words) / 2
    page.write(placed.title, (_EDGE, first), size=_LETTERS, bold=row.bold)
    if row.record is None:
        return
    middle = placed.top + placed.height / 2
    draw_interval(page, axis, interval_of(row.record), row.record.outcome, middle)
    if row.effect:
        page.write([row.verdict], (verdicts, middle - 2), size=_LETTERS)
        page.write([row.effect], (verdicts, middle + 12), size=_SMALL, colour="faint")
    else:
        page.write([row.verdict], (verdicts, middle + 4), size=_LETTERS)


def _draw_stacked(page: Drawing, axis: Axis, placed: _Placed) -> None:
    """Title, verdict and interval, one below the other."""
    row, first = placed.row, (_EDGE, placed.top + _LETTERS + _GAP / 2)
    below = page.write(placed.title, first, size=_LETTERS, bold=row.bold)
    if row.record is None:
        return
    line = f"{row.verdict}, {row.effect}" if row.effect else row.verdict
    page.write([line], (_EDGE, below), size=_SMALL, colour="faint")
    bottom = placed.top + placed.height - _GAP / 2
    draw_field(page, axis, bottom - _STRIP, bottom)
    middle = bottom - _STRIP / 2
    draw_interval(page, axis, interval_of(row.record), row.record.outcome, middle)
