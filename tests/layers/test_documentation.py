"""The docstrings say what they must, their examples run, and the example script needs no more."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import pytest

import convforge
from convforge import geometry, layers, losses, optimizers

SOURCE = Path(convforge.__file__).parent
PARTS = ("geometry", "layers", "losses", "optimizers")
MODULES = [
    ".".join(("convforge", *path.relative_to(SOURCE).with_suffix("").parts))
    for path in sorted(SOURCE.rglob("*.py"))
    if path.relative_to(SOURCE).with_suffix("").parts[0] in PARTS
    and ">>> " in path.read_text(encoding="utf-8")
]


def public(module: Any) -> list[Any]:
    """Its classes and functions; those of a package with `__all__`, those made in a module."""
    values = [getattr(module, name) for name in getattr(module, "__all__", dir(module))]
    made = [value for value in values if inspect.isclass(value) or inspect.isfunction(value)]
    return [
        value
        for value in made
        if not value.__name__.startswith("_")
        and value.__module__.startswith(module.__name__)
        and value.__module__.startswith("convforge.")
    ]


NAMES = [name for module in (geometry, layers, losses, optimizers) for name in public(module)]
CLASSES = [name for name in NAMES if inspect.isclass(name) and name.__module__ != geometry.__name__]


@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples_run(module: str) -> None:
    results = doctest.testmod(importlib.import_module(module))
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.__name__)
def test_every_public_name_has_an_example(name: Any) -> None:
    assert ">>> " in (name.__doc__ or "")


@pytest.mark.parametrize("name", CLASSES, ids=lambda name: name.__name__)
def test_layers_losses_and_optimizer_say_formula_arguments_errors_and_source(name: Any) -> None:
    formula = "=" if "=" in name.__doc__.split("Args:")[0] else "←"
    for part in (formula, "Args:", "Raises:", "Example:", "References:"):
        assert part in name.__doc__, part
    assert "Shapes:" in name.__doc__ or issubclass(name, keras.optimizers.Optimizer)


@pytest.mark.slow
def test_the_example_script_trains_with_the_layers_alone() -> None:
    script = SOURCE.parents[1] / "examples" / "reuse_layers.py"
    check = (
        "import runpy, sys; "
        f"runpy.run_path({str(script)!r}, run_name='__main__'); "
        "print(sorted({name.partition('.')[0] for name in sys.modules})); "
        "print(sorted(name for name in sys.modules if name.startswith('convforge.')))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    packages, ours = (ast.literal_eval(line) for line in done.stdout.splitlines()[-2:])
    assert not {"hydra", "omegaconf", "mlflow", "dvc", "pydantic"} & set(packages)
    # What `import convforge` registers with Keras, and what that is made of: no pipeline.
    parts = {name.split(".")[1] for name in ours}
    assert parts == {"augment", "geometry", "layers", "losses", "optimizers", "keras_registry"}
    accuracy = float(done.stdout.split("held-out accuracy")[1].split()[0])
    assert accuracy > 0.9
