"""The house: rooms on floors, drawn from the imports; an import goes down or stays in its room."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from source_imports import MODULES, SOURCE, imports, module_of

# From the ground up. A room is a folder, or a file that lies beside the rooms of its half. What
# stands on one line is on one floor: these know nothing of one another.
FLOORS = (
    # The library: Keras and NumPy.
    ("errors", "geometry", "quiet_start", "keras_registry"),
    ("__init__",),
    ("layers", "losses", "optimizers", "augment"),
    ("models",),
    # What a logged model needs to answer.
    ("serving",),
    # The pipeline.
    (
        "pipeline",
        "pipeline/filesystem",
        "pipeline/machine",
        "pipeline/pluralize",
        "pipeline/printable",
    ),
    ("pipeline/credentials",),
    ("pipeline/run_folder", "pipeline/ray_cluster", "pipeline/project", "pipeline/settings"),
    ("pipeline/progress", "pipeline/composition", "pipeline/metrics"),
    ("pipeline/data",),
    ("pipeline/data/preparation/containers", "pipeline/data/preparation/index"),
    ("pipeline/data/preparation/sources",),
    ("pipeline/data/preparation", "pipeline/data/reading"),
    ("pipeline/tracking",),
    ("pipeline/training/resume",),
    ("pipeline/training/distribution",),
    ("pipeline/training",),
    ("pipeline/explanation",),
    ("pipeline/report", "pipeline/prediction"),
    ("pipeline/stages",),
    ("pipeline/export",),
    ("pipeline/sweeps",),
    ("pipeline/claims",),
    ("pipeline/claims/page",),
    ("pipeline/commands",),
    ("pipeline/cli",),
    ("__main__",),
)


def imported(file: Path) -> set[str]:
    """The project's modules that a file imports, in functions and under TYPE_CHECKING too."""
    found = {module_of(name) for statement in imports(file) for name in statement.names}
    return {module for module in found if module not in (None, "convforge")}


IMPORTS = {module: imported(file) - {module} for module, file in MODULES.items()}


def room(module: str) -> str:
    """The folder that holds a module, or its own name where that is a half of the house."""
    path = MODULES[module].relative_to(SOURCE)
    in_half = path.parent in (Path(), Path("pipeline")) and path.name != "__init__.py"
    return (
        path.with_suffix("") if in_half or path == Path("__init__.py") else path.parent
    ).as_posix()


def _circle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_files_stand_in_a_circle() -> None:
    assert _circle(IMPORTS) == []


def test_no_rooms_stand_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module, others in IMPORTS.items():
        graph.setdefault(room(module), set()).update(map(room, others))
    for name, others in graph.items():
        others.discard(name)
    assert _circle(graph) == []


def test_every_room_is_on_one_floor() -> None:
    placed = [name for floor in FLOORS for name in floor]
    assert sorted(placed) == sorted({room(module) for module in MODULES})


def upward(imports: Mapping[str, set[str]]) -> list[str]:
    """The imports that point to the same floor's other rooms, or to a floor above."""
    floor_of = {name: number for number, floor in enumerate(FLOORS) for name in floor}
    return [
        f"{module} imports {other}"
        for module, others in imports.items()
        for other in sorted(others)
        if room(other) != room(module) and floor_of[room(other)] >= floor_of[room(module)]
    ]


def test_an_import_goes_down_or_stays_in_its_room() -> None:
    assert upward(IMPORTS) == []


@pytest.mark.parametrize(
    ("module", "other"),
    [
        ("convforge.layers.prelu", "convforge.models.build"),
        ("convforge.layers.prelu", "convforge.augment.layer"),
        ("convforge.serving.decode", "convforge.pipeline.settings.data"),
        ("convforge.pipeline.tracking.journal", "convforge.pipeline.stages.train"),
    ],
)
def test_an_import_upwards_is_seen(module: str, other: str) -> None:
    assert upward({module: {other}}) == [f"{module} imports {other}"]


def test_a_circle_is_seen() -> None:
    assert set(_circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}
