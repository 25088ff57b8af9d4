"""The house in one picture: its rooms on their floors, as the imports have them.

Rooms, floors and imports are those that tests/test_floors.py holds the package to.
"""

from __future__ import annotations

from functools import cache

import test_floors

from convforge.pipeline.claims.page.drawing import Area, Drawing, Line, Point, Words, rectangle

_WIDTH, _HEIGHT, _GAP, _ROW, _EDGE = 900.0, 26.0, 18.0, 44.0, 10.0
_LETTERS = 12.0
_ALONE = (-60.0, 200.0, -240.0, 60.0, 280.0)
_LETTER = 7.4


def _colour(room: str) -> str:
    if room.startswith("pipeline"):
        return "s0"
    return "s2" if room in ("serving", "quiet_start", "__main__") else "s1"


@cache
def room_imports() -> dict[str, set[str]]:
    """Which rooms each room imports from."""
    found: dict[str, set[str]] = {}
    for module, others in test_floors.IMPORTS.items():
        room = test_floors.room(module)
        found.setdefault(room, set()).update(map(test_floors.room, others))
        found[room].discard(room)
    return found


def direct_imports(imports: dict[str, set[str]]) -> set[tuple[str, str]]:
    """The imports that no other room stands between.

    Example:
        >>> sorted(direct_imports({"a": {"b", "c"}, "b": {"c"}, "c": set()}))
        [('a', 'b'), ('b', 'c')]
    """

    @cache
    def below(room: str) -> frozenset[str]:
        return frozenset(imports[room]).union(*(below(each) for each in imports[room]))

    return {
        (room, other)
        for room, others in imports.items()
        for other in others
        if not any(other in below(each) for each in others - {other})
    }


def house() -> Drawing:
    """Floors from the ground up, each room a box, each import a line down."""
    floors = list(reversed(test_floors.FLOORS))
    height = _EDGE * 2 + _ROW * len(floors)
    page = Drawing(_WIDTH, height, "Rooms on floors; a line is an import, and none points upwards")
    boxes: dict[str, tuple[float, float, float]] = {}
    for number, floor in enumerate(floors):
        widths = [_LETTER * len(_short(room)) + 18 for room in floor]
        left = (_WIDTH - sum(widths) - _GAP * (len(floor) - 1)) / 2
        # Rooms alone on their floor stand in turn here and there, so that lines pass beside them.
        if len(floor) == 1:
            left += _ALONE[number % len(_ALONE)]
        for room, width in zip(floor, widths, strict=True):
            boxes[room] = (left, _EDGE + number * _ROW, width)
            left += width + _GAP
    for room, other in sorted(direct_imports(room_imports())):
        page.add(Line(_curve(boxes[room], boxes[other]), "faint", 0.9))
    for room, (left, top, width) in boxes.items():
        box = rectangle(left, top, left + width, top + _HEIGHT)
        page.add(Area(box, "paper"), Area(box, _colour(room), 0.16))
        page.add(Line((*box, box[0]), _colour(room), 1.4))
        place = (left + width / 2, top + _HEIGHT / 2 + 4)
        page.add(Words(place, _short(room), _LETTERS, "ink", "middle"))
    return page


def _short(room: str) -> str:
    return {"__init__": "convforge", "pipeline": "pipeline"}.get(
        room, room.removeprefix("pipeline/").replace("data/preparation/", "preparation/")
    )


def _curve(
    upper: tuple[float, float, float], lower: tuple[float, float, float]
) -> tuple[Point, ...]:
    """From the floor of one box to the ceiling of another, upright at both ends."""
    start = (upper[0] + upper[2] / 2, upper[1] + _HEIGHT)
    end = (lower[0] + lower[2] / 2, lower[1])
    steps = 24
    points = []
    for step in range(steps + 1):
        share = step / steps
        smooth = share * share * (3 - 2 * share)
        points.append(
            (start[0] + (end[0] - start[0]) * smooth, start[1] + (end[1] - start[1]) * share)
        )
    return tuple(points)
