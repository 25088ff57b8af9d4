"""Drawings as SVG: text stays text, and colours follow the reader's light or dark."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from convforge.pipeline.claims.page.colours import DARK, LIGHT, variables
from convforge.pipeline.claims.page.drawing import Area, Drawing, Line, Mark, Part, Point, Words

FONT = '"DejaVu Sans",Verdana,system-ui,sans-serif'
#: A part's class is its colour.
RULES = "".join(f".{name}{{color:var(--{name})}}" for name in LIGHT)
STYLE = f"{RULES}svg text{{fill:currentColor;font-family:{FONT}}}"
# Of a cross, beside a dot of the same size.
_CROSS = 0.9


def inline(drawing: Drawing) -> Markup:
    """The drawing as an element of a page that has `STYLE` and the colours' variables."""
    return _element(drawing, Markup(""), Markup(""))


def standalone(drawing: Drawing) -> str:
    """The drawing as a file of its own, on a background of its own."""
    rules = Markup(
        f"<style>:root{{{variables(LIGHT)}}}"
        f"@media(prefers-color-scheme:dark){{:root{{{variables(DARK)}}}}}{STYLE}</style>\n"
        '<rect width="100%" height="100%" class="paper" fill="currentColor"/>\n'
    )
    size = Markup(' xmlns="http://www.w3.org/2000/svg" width="{}" height="{}"').format(
        _number(drawing.width), _number(drawing.height)
    )
    return str(_element(drawing, size, rules)) + "\n"


def _element(drawing: Drawing, attributes: Markup, first: Markup) -> Markup:
    return Markup('<svg{} viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>').format(
        attributes,
        _number(drawing.width),
        _number(drawing.height),
        drawing.title,
        first,
        Markup("\n").join(map(_part, drawing.parts)),
    )


def _part(part: Part) -> Markup:
    match part:
        case Line():
            dash = Markup(' stroke-dasharray="{}"').format(" ".join(map(_number, part.dash)))
            return Markup(
                '<path class="{}" d="M{}" fill="none" stroke="currentColor" stroke-width="{}"{}/>'
            ).format(
                part.colour,
                _path(part.points),
                _number(part.width),
                dash if part.dash else "",
            )
        case Area():
            opacity = Markup(' opacity="{:.2g}"').format(part.opacity)
            return Markup('<path class="{}" d="M{}Z" fill="currentColor"{}/>').format(
                part.colour, _path(part.points), opacity if part.opacity < 1 else ""
            )
        case Mark():
            return _mark(part)
        case Words():
            x, y = map(_number, part.place)
            anchor = Markup(' text-anchor="{}"').format(part.align)
            return Markup('<text class="{}" x="{}" y="{}" font-size="{}"{}{}>{}</text>').format(
                part.colour,
                x,
                y,
                _number(part.size),
                anchor if part.align != "start" else "",
                Markup(' font-weight="bold"') if part.bold else "",
                part.text,
            )


def _mark(mark: Mark) -> Markup:
    x, y = mark.place
    if mark.shape == "cross":
        arm = mark.radius * _CROSS
        path = f"M{_path(((x - arm, y - arm), (x + arm, y + arm)))}"
        path += f"M{_path(((x - arm, y + arm), (x + arm, y - arm)))}"
        return Markup(
            '<path class="{}" d="{}" fill="none" stroke="currentColor" stroke-width="2"/>'
        ).format(mark.colour, path)
    look = 'fill="currentColor"'
    if mark.shape == "ring":
        look = 'style="fill:var(--paper)" stroke="currentColor" stroke-width="1.8"'
    return Markup('<circle class="{}" cx="{}" cy="{}" r="{}" {}/>').format(
        mark.colour, _number(x), _number(y), _number(mark.radius), Markup(look)
    )


def _path(points: Sequence[Point]) -> str:
    return "L".join(f"{_number(x)} {_number(y)}" for x, y in points)


def _number(value: float) -> str:
    """To a tenth of a pixel; no -0."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")
