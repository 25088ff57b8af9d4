"""What the library may import, light starts, and registration with Keras."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from source_imports import MODULES, SOURCE, imports, module_of

LIBRARY = ["geometry", "layers", "losses", "optimizers", "augment", "models"]
# What the library's parts may import of one another.
ALLOWED = {
    "geometry": set(),
    "layers": {"geometry"},
    "losses": {"geometry"},
    "optimizers": {"geometry"},
    "augment": {"geometry"},
    "models": {"geometry", "layers"},
}
# Backends that a file may import, since it is itself imported on that backend only.
BACKEND_FILES = {"jax_convolution.py": {"jax"}, "torch_step.py": {"torch"}}


def _part(module: str) -> str | None:
    """`convforge.layers.maxout.MaxoutDense` → `layers`."""
    names = module.split(".")
    return names[1] if names[0] == "convforge" and len(names) > 1 else None


def _files(part: str) -> list[Path]:
    module = SOURCE / f"{part}.py"
    files = [module] if module.is_file() else sorted((SOURCE / part).rglob("*.py"))
    assert files, f"no such part: {part}"
    return files


@pytest.mark.parametrize("part", LIBRARY)
def test_the_library_half_imports_keras_numpy_and_nothing_of_the_pipeline(part: str) -> None:
    for file in _files(part):
        allowed = {"convforge", "keras", "numpy"} | BACKEND_FILES.get(file.name, set())
        for module in sum((statement.names for statement in imports(file)), ()):
            package = module.split(".")[0]
            assert package in allowed | sys.stdlib_module_names, f"{file.name}: {module}"
            own = _part(module)
            assert own in {None, part, *ALLOWED[part]}, f"{file.name} imports {module}"


# Imports in a function that bring no package, and why they are there.
BRING_NOTHING = {
    "convforge.augment.layer": "Keras, being imported, imports this file, and may define it itself",
    "convforge.pipeline.training.distribution.keras_internals": "a module of one backend of Keras",
}


def _packages(names: set[str], seen: set[str]) -> set[str]:
    """The packages of others that importing these brings; `seen` are own modules passed by."""
    found = set()
    for name in names:
        own = module_of(name)
        if own is None:
            found |= {name.split(".")[0]} - sys.stdlib_module_names
        elif own not in seen:
            seen.add(own)
            at_once = [
                some.names
                for some in imports(MODULES[own])
                if not some.in_function and not some.for_types
            ]
            found |= _packages({own.rpartition(".")[0], *sum(at_once, ())} - {""}, seen)
    return found


def _brings_nothing(module: str) -> list[tuple[str, ...]]:
    """The imports in functions of `module` that bring no package but what it has by then."""
    at_start = _packages({module}, set())
    return [
        late.names
        for late in imports(MODULES[module])
        if late.in_function and not _packages(set(late.names), set()) - at_start
    ]


def test_an_import_in_a_function_saves_a_package_at_the_start() -> None:
    """All others stand at the top, where a reader and every tool looks for them."""
    needless = {module: _brings_nothing(module) for module in MODULES}
    assert {module for module, names in needless.items() if names} == BRING_NOTHING.keys()


def _run(code: str, **environment: str) -> str:
    """What `code` prints in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "module",
    [
        "convforge",
        "convforge.pipeline.cli",
        "convforge.pipeline.stages.compose",
        "convforge.pipeline.composition",
    ],
)
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    heavy = "('keras', 'tensorflow', 'mlflow', 'matplotlib', 'ray', 'submitit')"
    assert _run(f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])") == "[]"


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("tensorflow", marks=pytest.mark.integration),
        *(pytest.param(b, marks=pytest.mark.backends) for b in ("jax", "torch")),
    ],
)
def test_the_library_loads_no_backend_and_no_package_that_keras_does_not(backend: str) -> None:
    code = """
import sys, keras
before = {name.split(".")[0] for name in sys.modules}
from convforge import geometry, layers, losses, models, optimizers
after = {name.split(".")[0] for name in sys.modules}
foreign = after - before - set(sys.stdlib_module_names) - {"convforge"}
parts = {name.split(".")[1] for name in sys.modules if name.startswith("convforge.")}
print(sorted(foreign), sorted(parts))
"""
    parts = ["augment", "geometry", "keras_registry", "layers", "losses", "models", "optimizers"]
    assert _run(code, KERAS_BACKEND=backend).splitlines()[-1] == f"[] {parts}"


def test_preprocessing_loads_neither_keras_nor_tensorflow_nor_mlflow(
    shared_project: Path, tmp_path: Path
) -> None:
    """The whole stage runs without them, not only its import."""
    code = f"""
import os, sys
os.chdir({str(shared_project)!r})
from convforge.pipeline.cli import main
overrides = ["data.split.validation=50", "data.split.test=100"]
assert main(["preprocess", "-q", "--out", {str(tmp_path / "out")!r}, *overrides]) == 0
print([m for m in ("keras", "tensorflow", "mlflow", "matplotlib") if m in sys.modules])
"""
    assert _run(code) == "[]"
    assert (tmp_path / "out" / "manifest.json").is_file()


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with each of our registered kinds: layers, optimizer and loss."""
    import keras
    import numpy as np

    from convforge.layers import Conv2D, MaxoutDense, PReLU
    from convforge.optimizers import MomentumSGD

    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            Conv2D(2, 3, padding=1),
            PReLU(),
            keras.layers.Flatten(),
            MaxoutDense(3, num_pieces=2),
        ]
    )
    model.compile(MomentumSGD(0.01), "mse")
    model.fit(np.ones((2, 6, 6, 1)), np.ones((2, 3)), verbose=0)
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return path


@pytest.mark.integration
@pytest.mark.parametrize(
    "order",
    [
        "import convforge; import keras",
        "import keras; import convforge",
        pytest.param(
            "import convforge, importlib.util; importlib.util.find_spec('keras'); import keras",
            marks=pytest.mark.backends,
        ),
    ],
)
def test_a_saved_model_loads_after_importing_convforge_in_either_order(
    saved_model: Path, order: str
) -> None:
    code = f"""
{order}
import numpy as np
model = keras.saving.load_model({str(saved_model)!r})
print(type(model.layers[0]).__module__, type(model.optimizer).__name__)
print(np.asarray(model(np.ones((1, 6, 6, 1)))).tolist())
"""
    import keras
    import numpy as np

    # JAX starts in half of TensorFlow's time.
    classes, output = _run(code, KERAS_BACKEND="jax").splitlines()
    assert classes == "convforge.layers.convolution MomentumSGD"
    expected = keras.saving.load_model(saved_model)(np.ones((1, 6, 6, 1)))
    np.testing.assert_allclose(np.float32(eval(output)), np.asarray(expected), rtol=1e-5)
