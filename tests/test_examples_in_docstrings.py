"""The examples in the docstrings of models and pipeline run and print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import convforge

SOURCE = Path(convforge.__file__).parent
# These are run beside their own tests.
LIBRARY = {"augment", "geometry", "layers", "losses", "optimizers"}
MODULES = sorted(
    ".".join(("convforge", *path.relative_to(SOURCE).with_suffix("").parts))
    for path in SOURCE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
    and path.relative_to(SOURCE).with_suffix("").parts[0] not in LIBRARY
)


@pytest.mark.parametrize("module", MODULES)
def test_its_examples_hold(module: str) -> None:
    outcome = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert outcome.attempted > 0
    assert outcome.failed == 0
