"""The examples of the docstrings run, and the package imports what the library half may."""

from __future__ import annotations

import ast
import doctest
import importlib
import sys
from pathlib import Path

import pytest

import convforge.augment

FOLDER = Path(convforge.augment.__file__).parent
MODULES = [f"convforge.augment.{path.stem}" for path in sorted(FOLDER.glob("[!_]*.py"))]


@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples_run(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.stem)
def test_only_keras_numpy_and_the_library_half_are_imported(file: Path) -> None:
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    outside = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}
    allowed = ("keras", "numpy", "convforge.augment", "convforge.geometry")
    assert all(name.startswith(allowed) for name in outside)


def test_the_package_offers_its_names() -> None:
    functions = {"Augment", "Augmentation", "apply", "check_targets", "colour_basis", "draw"}
    others = {"TARGETS", "centre_window", "draw_and_apply", "target_values"}
    settings = {"Colour", "Crop", "Geometry", "Reflection"}
    assert set(convforge.augment.__all__) == functions | others | settings
    assert all(getattr(convforge.augment, name) for name in convforge.augment.__all__)
    assert not hasattr(convforge.augment, "anything_else")
