"""Gradient accumulation: a batch in parts is one step, and the step of the whole batch."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from convforge.optimizers import MomentumSGD
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.train import train
from convforge.pipeline.training.accumulation import AccumulatedSteps
from convforge.serving.predictor import load_predictor

QUIET = Progress(Verbosity.QUIET)
# Without dropout, whose mask is another for each part.
NET = (
    "tracking=none",
    "model.layers.conv1.filters=4",
    "model.layers.conv2.filters=4",
    "model.layers.dense1.units=16",
    "model.layers.drop1=null",
    "trainer.epochs=2",
    "loss.class_weights={3: 3}",
    "loss.label_smoothing=0.1",
)


def _history(run: Path) -> list[dict[str, float]]:
    with (run / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _weights(run: Path) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in load_predictor(run).model.weights]


@pytest.mark.slow
def test_parts_of_a_batch_make_the_step_of_the_whole_one(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    """In an epoch of 250 digits, whose last batch of 96 has 58; with a schedule of the steps."""

    def run(size: int, parts: int) -> Path:
        out = tmp_path / f"{size}x{parts}"
        of = (f"trainer.batch_size={size}", f"trainer.accumulate={parts}")
        train(compose(*NET, *of), digits, out, tmp_path, QUIET)
        return out

    whole, parted = run(96, 1), run(24, 4)
    pairs = zip(_weights(whole), _weights(parted), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(other, one, atol=2e-6)
    for left, right in zip(_history(whole), _history(parted), strict=True):
        del left["epoch_seconds"], right["epoch_seconds"]
        assert right == pytest.approx(left, rel=1e-5)


def _stepped(optimizer: str, rows: int | None, **bound: float) -> list[np.ndarray]:
    """A net's weights after three batches of seven images in parts of so many rows."""
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 1))
    hidden = keras.layers.Dense(5, activation="tanh")(keras.layers.Flatten()(image))
    net = AccumulatedSteps(image, keras.layers.Dense(3)(hidden))
    net.rows = rows
    rate = keras.optimizers.schedules.CosineDecay(0.1, decay_steps=3)
    kinds = {"momentum_sgd": MomentumSGD, "adamw": keras.optimizers.AdamW}
    net.compile(
        kinds[optimizer](rate, use_ema=True, ema_momentum=0.5, **bound),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    draw = np.random.default_rng(0)
    for _ in range(3):
        images = draw.normal(size=(7, 6, 6, 1)).astype("float32")
        net.train_on_batch(images, draw.integers(0, 3, 7), draw.uniform(0, 3, 7).astype("float32"))
    assert int(net.optimizer.iterations) == 3
    return [np.asarray(each.numpy()) for each in (*net.weights, *net.optimizer.variables)]


@pytest.mark.parametrize(
    ("optimizer", "rows", "bound"),
    [
        ("momentum_sgd", 3, {"global_clipnorm": 0.1}),
        pytest.param("momentum_sgd", 7, {}, marks=pytest.mark.slow),
        pytest.param("momentum_sgd", 1, {}, marks=pytest.mark.slow),
        pytest.param("adamw", 3, {}, marks=pytest.mark.slow),
    ],
)
def test_an_optimizer_sees_one_step_whatever_its_parts(
    optimizer: str, rows: int, bound: dict[str, float]
) -> None:
    """Iterations, moments, velocities and the moving average of the weights."""
    whole = _stepped(optimizer, None, **bound)
    for one, other in zip(whole, _stepped(optimizer, rows, **bound), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_make_the_same_step_of_parts(backend: str) -> None:
    assert importlib.util.find_spec(backend), f"no {backend}: make test-backends installs it"
    tests = ("-m", "slow or not slow", "-k", "test_an_optimizer_sees or test_parts")
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, __file__],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout
    assert "5 passed" in process.stdout
