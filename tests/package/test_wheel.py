"""The wheel, in environments that hold what it asks for and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.package
REPOSITORY = Path(__file__).parents[2]
CONSTRAINTS = REPOSITORY / "constraints.txt"
# What a person does with the library: a net of the lecture's layers is trained and saved.
TRAIN = """
import keras, numpy as np
from convforge.augment import Augment, Augmentation
from convforge.augment.settings import Geometry, Reflection
from convforge.layers import (AveragePooling2D, Conv2D, LocalResponseNormalization,
    LocallyConnected2D, MaxoutConv2D, MaxoutDense, MaxPooling2D, PReLU)
from convforge.losses import Hinge
from convforge.optimizers import MomentumSGD

augmentation = Augmentation(reflection=Reflection(0.5), geometry=Geometry(rotation=10.0))
keras.utils.set_random_seed(1)
net = keras.Sequential([
    keras.Input((12, 12, 3)),
    Augment(augmentation, seed=3),
    Conv2D(4, 3, padding=1, mode="convolution"), PReLU(), LocalResponseNormalization(3),
    MaxPooling2D(3, strides=2), MaxoutConv2D(4, 3, num_pieces=2, padding=1),
    LocallyConnected2D(2, 3), AveragePooling2D(2), keras.layers.Flatten(),
    MaxoutDense(6, num_pieces=2), keras.layers.Dense(1),
])
net.compile(MomentumSGD(0.01, 0.9, 0.0005), Hinge())
images = np.random.default_rng(0).uniform(0, 255, (8, 12, 12, 3)).astype("float32")
before = [np.array(weight) for weight in net.get_weights()]
net.fit(images, np.sign(np.arange(8) - 3.5), epochs=2, verbose=0)
assert any(np.abs(a - b).max() > 0 for a, b in zip(net.get_weights(), before))
net.save("net.keras")
np.savez("seen.npz", images=images, outputs=net.predict(images, verbose=0))
print("trained on", keras.backend.backend())
"""
LOAD = """
import convforge, keras, numpy as np
net, seen = keras.saving.load_model("net.keras"), np.load("seen.npz")
assert np.abs(net.predict(seen["images"], verbose=0) - seen["outputs"]).max() < 1e-5
assert type(net.optimizer).__name__ == "MomentumSGD", net.optimizer
net.fit(seen["images"], np.ones(8), verbose=0)
print("loaded")
"""
INSTALLED = """
from importlib.metadata import distributions
print(*sorted(item.metadata["Name"].lower() for item in distributions()))
"""


def run(*command: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**environment, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done


class Environment:
    """A virtual environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
        self.work.mkdir()

    def install(self, *what: str | Path) -> None:
        self.python("-m", "pip", "install", "-q", "--disable-pip-version-check", *what)

    def python(self, *arguments: str | Path) -> str:
        return run(self.folder / "bin" / "python", *arguments, cwd=self.work).stdout

    def convforge(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(self.folder / "bin" / "convforge", *arguments, cwd=self.work, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "-w",
        folder,
        REPOSITORY,
        cwd=folder,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def library(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel with the library's own dependencies, and JAX as the backend."""
    environment = Environment(tmp_path_factory.mktemp("library") / "environment")
    environment.install("-c", CONSTRAINTS, f"{wheel}[jax]")
    return environment


def test_the_wheel_holds_the_package_and_nothing_beside_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"convforge", "hydra_plugins"}
    assert "convforge/py.typed" in names
    assert not [name for name in names if re.search(r"(^|/)(tests?[_/.]|conftest)", name)]


def test_the_library_comes_without_the_pipeline_and_trains_saves_and_loads(
    library: Environment,
) -> None:
    assert library.python("-c", TRAIN).splitlines()[-1] == "trained on jax"
    assert library.python("-c", LOAD).splitlines()[-1] == "loaded"
    installed = set(library.python("-c", INSTALLED).split())
    assert {"convforge", "keras", "numpy", "jax"} <= installed
    pipeline = {"tensorflow", "mlflow", "dvc", "hydra-core", "pydantic", "pillow", "matplotlib"}
    assert not installed & pipeline
    assert len(installed) < 40


def test_a_command_says_which_extra_it_needs(library: Environment) -> None:
    version = library.convforge("--version")
    assert (version.returncode, version.stdout.split()[0]) == (0, "convforge")
    assert library.convforge("--help").returncode == 0
    for command in (["train"], ["summary", "model=alexnet"], ["predict", "run", "image.png"]):
        done = library.convforge(*command)
        assert done.returncode == 2, done.stdout
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"error: convforge {command[0]} needs ")
        assert line.endswith("pip install 'convforge[pipeline]'")
