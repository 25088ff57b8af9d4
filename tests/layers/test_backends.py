"""The same numbers on TensorFlow, JAX and PyTorch, each in processes of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import agreement
import keras
import numpy as np
import pytest

pytestmark = pytest.mark.backends

HERE = Path(__file__).parent
BACKENDS = ("tensorflow", "jax", "torch")
OTHERS = [name for name in BACKENDS if name != keras.backend.backend()]
TESTS = [HERE, HERE.parent / "losses", HERE.parent / "optimizers"]
# The docstrings' examples are about what they show; this file would start itself without end.
LEFT_OUT = [HERE / "test_documentation.py", Path(__file__)]


@pytest.fixture(scope="module", autouse=True)
def all_installed() -> None:
    """A backend that is not there would leave what these tests protect unseen: no skipping."""
    missing = [name for name in BACKENDS if importlib.util.find_spec(name) is None]
    assert not missing, f"not installed: {', '.join(missing)} (make test-backends installs them)"


@pytest.fixture(scope="module", autouse=True)
def compiled_before(request: pytest.FixtureRequest) -> None:
    """Let JAX keep what it compiled: the second run of these tests takes a quarter of the time."""
    cache = getattr(request.config, "cache", None)
    if cache is not None:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache.mkdir("jax")))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def start(backend: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # PyTorch's threads wait in loops: beside another process they cost it minutes.
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def suites() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """The numeric tests under the other backends, started together."""
    ignored = [f"--ignore={path}" for path in LEFT_OUT]
    running = {
        name: start(
            name,
            *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow"),
            *ignored,
            *map(str, TESTS),
        )
        for name in OTHERS
    }
    yield running
    for process in running.values():
        process.kill()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that each backend trained from the same start."""
    folder = tmp_path_factory.mktemp("agreement")
    rng = np.random.default_rng(5)
    keras.utils.set_random_seed(5)
    weights = agreement.network().get_weights()
    np.savez(
        folder / "start.npz",
        images=rng.normal(size=(32, 12, 12, 3)).astype("float32"),
        classes=rng.integers(0, 5, 32),
        **{f"weight{i}": weight for i, weight in enumerate(weights)},
    )
    script = str(HERE / "agreement.py")
    for process in [start(name, script, "train", str(folder)) for name in BACKENDS]:
        finish(process)
    return folder


@pytest.mark.parametrize("backend", OTHERS)
def test_twenty_steps_from_the_same_weights_agree(trained: Path, backend: str) -> None:
    reference = np.load(trained / f"{keras.backend.backend()}.npz")
    other = np.load(trained / f"{backend}.npz")
    begin = np.load(trained / "start.npz")
    weights = [key for key in reference.files if key.startswith("weight")]
    # Iterations and learning rate, and a velocity for each weight: all of them are trained.
    assert len(reference.files) == 1 + len(weights) + 2 + len(weights)
    for key in weights:
        assert np.abs(reference[key] - begin[key]).max() > 0
    for key in {*reference.files} - {"outputs"}:
        scale = np.abs(reference[key]).max()
        assert np.abs(other[key] - reference[key]).max() <= 1e-4 * scale


@pytest.mark.parametrize("backend", BACKENDS)
def test_models_saved_on_any_backend_load_in_a_fresh_process(trained: Path, backend: str) -> None:
    output = finish(start(backend, str(HERE / "agreement.py"), "load", str(trained)))
    assert output.splitlines()[-1] == f"loaded {len(BACKENDS)}"


@pytest.mark.parametrize("backend", OTHERS)
def test_every_numeric_test_passes_on(
    suites: dict[str, subprocess.Popen[str]], backend: str
) -> None:
    assert " passed" in finish(suites[backend])
