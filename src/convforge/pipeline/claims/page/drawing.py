"""Drawings of lines, areas, marks and words, each at its place in pixels.

One drawing becomes SVG, in light and dark, and PNG; see `svg.py` and `png.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal, TypeAlias

from convforge.pipeline.report.style import font, shortened

Point: TypeAlias = tuple[float, float]
Shape: TypeAlias = Literal["dot", "ring", "cross"]
Align: TypeAlias = Literal["start", "middle", "end"]

#: Of things by their number; dashes tell them apart where colours do not.
SERIES = ("s0", "s1", "s2", "s3", "s4", "s5")
DASHES: tuple[tuple[float, ...], ...] = ((), (6, 3), (2, 2), (9, 3, 2, 3))
LINE_HEIGHT = 1.25
#: How much wider bold letters are.
BOLD = 1.1
# Text is measured in large letters: a font's hints make small ones a little wider or narrower.
_MEASURED = 100


@dataclass(frozen=True)
class Line:
    """A line through points."""

    points: tuple[Point, ...]
    colour: str
    width: float = 1.0
    dash: tuple[float, ...] = ()


@dataclass(frozen=True)
class Area:
    """What points enclose."""

    points: tuple[Point, ...]
    colour: str
    opacity: float = 1.0


@dataclass(frozen=True)
class Mark:
    """A dot, a ring or a cross."""

    place: Point
    shape: Shape
    colour: str
    radius: float = 4.0


@dataclass(frozen=True)
class Words:
    """A line of text; its place is on the base line."""

    place: Point
    text: str
    size: float = 12.0
    colour: str = "ink"
    align: Align = "start"
    bold: bool = False


Part: TypeAlias = Line | Area | Mark | Words


@dataclass
class Drawing:
    """Parts, the later over the earlier, on a sheet of `width` × `height` pixels.

    Args:
        width: of the sheet.
        height: of the sheet.
        title: what is to be seen, for who cannot see it.
        parts: of the drawing.
    """

    width: float
    height: float
    title: str
    parts: list[Part] = field(default_factory=list)

    def add(self, *parts: Part) -> None:
        """Put `parts` over those that are there."""
        self.parts += parts

    def write(
        self,
        lines: Iterable[str],
        place: Point,
        *,
        size: float = 12.0,
        colour: str = "ink",
        align: Align = "start",
        bold: bool = False,
    ) -> float:
        """Write lines below one another, the first one's base at `place`; where the next stands."""
        x, y = place
        for text in lines:
            self.add(Words((x, y), text, size, colour, align, bold))
            y += size * LINE_HEIGHT
        return y


def series(number: int) -> tuple[str, tuple[float, ...]]:
    """The colour and the dashes of a thing by its number; twelve are told apart.

    Example:
        >>> series(0), series(7)
        (('s0', ()), ('s1', (9, 3, 2, 3)))
    """
    return SERIES[number % len(SERIES)], DASHES[number % len(DASHES)]


def beside(drawings: Sequence[Drawing], title: str, *, columns: int, gap: float) -> Drawing:
    """Drawings in rows of so many, as one."""
    rows = [drawings[start : start + columns] for start in range(0, len(drawings), columns)]
    width = max(sum(each.width for each in row) + gap * (len(row) - 1) for row in rows)
    height = sum(max(each.height for each in row) for row in rows) + gap * (len(rows) - 1)
    page, top = Drawing(width, height, title), 0.0
    for row in rows:
        left = 0.0
        for each in row:
            page.add(*(_moved(part, left, top) for part in each.parts))
            left += each.width + gap
        top += max(each.height for each in row) + gap
    return page


def _moved(part: Part, right: float, down: float) -> Part:
    if isinstance(part, Line | Area):
        return replace(part, points=tuple((x + right, y + down) for x, y in part.points))
    return replace(part, place=(part.place[0] + right, part.place[1] + down))


def rectangle(left: float, top: float, right: float, bottom: float) -> tuple[Point, ...]:
    """Its corners."""
    return (left, top), (right, top), (right, bottom), (left, bottom)


def wrapped(text: str, size: float, room: float) -> list[str]:
    """`text` in lines of `room` pixels at most, in letters of `size` pixels.

    Example:
        >>> wrapped("max pooling beats average pooling", 12, 120)
        ['max pooling beats', 'average pooling']
    """
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if not lines[-1] or text_width(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return [
        line if text_width(line, size) <= room else shortened(line, size, room) for line in lines
    ]


def text_width(text: str, size: float) -> float:
    """Pixels that a line takes in letters of `size` pixels.

    Letter by letter: what stands closer in pairs depends on how Pillow was built.
    """
    return sum(map(_letter_width, text)) * size / _MEASURED


@cache
def _letter_width(letter: str) -> float:
    return float(font(_MEASURED).getlength(letter))
