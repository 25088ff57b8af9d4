"""`examples/`: the library in projects that are not this one, on every backend."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from source_imports import imports

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
# Each prints its accuracy on 500 digits that it has not learned from.
SCRIPTS = ("subclassed_model", "mobilenet_head")


@pytest.mark.parametrize("name", [*SCRIPTS, "reuse_layers"])
def test_an_example_is_short_and_imports_the_library_alone(name: str) -> None:
    file = EXAMPLES / f"{name}.py"
    assert len(file.read_text(encoding="utf-8").splitlines()) < 60
    modules = [module for statement in imports(file) for module in statement.names]
    assert any(module.startswith("convforge.layers") for module in modules)
    parts = {module.split(".")[1] for module in modules if module.startswith("convforge.")}
    assert parts <= {"augment", "layers", "losses", "optimizers"}


def test_an_exported_model_is_asked_without_the_library() -> None:
    """Its test with each runtime is in export/test_export.py."""
    file = EXAMPLES / "exported_model.py"
    modules = {module.split(".")[0] for statement in imports(file) for module in statement.names}
    runtimes = {"onnxruntime", "tensorflow", "ai_edge_litert"}
    assert modules == {"json", "sys", "pathlib", "numpy", "PIL"} | runtimes


@pytest.mark.backends
@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_an_example_learns_to_tell_digits(name: str, backend: str) -> None:
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # PyTorch's threads wait in loops: beside another process they cost it minutes.
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1].split()
    assert last[:2] == ["held-out", "accuracy"]
    assert float(last[2]) > 0.85
    # The one that saves its model says what the loaded one achieves.
    assert last[3:] in ([], ["and", "loaded", "again", last[2]])
