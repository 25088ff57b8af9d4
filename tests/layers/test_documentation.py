"""The examples of the docstrings run, and the library imports what it may and nothing else."""

from __future__ import annotations

import ast
import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import convforge

SOURCE = Path(convforge.__file__).parent
MODULES = [
    "convforge.geometry",
    "convforge.losses",
    "convforge.optimizers.momentum_sgd",
    *(f"convforge.layers.{path.stem}" for path in sorted((SOURCE / "layers").glob("[!_]*.py"))),
]


@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples_run(module: str) -> None:
    results = doctest.testmod(importlib.import_module(module))
    assert results.failed == 0


@pytest.mark.parametrize("module", MODULES)
def test_the_library_imports_keras_and_numpy_and_nothing_of_the_pipeline(module: str) -> None:
    source = Path(importlib.import_module(module).__file__ or "").read_text("utf-8")
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module)
    foreign = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    library = ("convforge", "convforge.geometry", "convforge.layers", "convforge.optimizers")
    for name in foreign - {"keras", "numpy", *library}:
        assert name.startswith("convforge.layers."), f"{module} imports {name}"


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
    assert not {"hydra", "omegaconf", "mlflow", "dvc"} & set(packages)
    parts = {name.split(".")[1] for name in ours}
    pipeline = {
        "data",
        "stages",
        "training",
        "tracking",
        "report",
        "cli",
        "settings",
        "composition",
    }
    assert "layers" in parts
    assert not parts & pipeline
    accuracy = float(done.stdout.split("held-out accuracy")[1].split()[0])
    assert accuracy > 0.9
