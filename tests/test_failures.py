"""What can go wrong in a run says so plainly, and nothing good is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from omegaconf import OmegaConf

from convforge.errors import DivergenceError, InputError
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.train import dump, train
from convforge.pipeline.training.out_of_memory import translate_memory_errors
from convforge.serving.predictor import load_predictor

QUIET = Progress(Verbosity.QUIET)
NET = (
    "tracking=none",
    "model.layers.conv1.filters=4",
    "model.layers.conv2.filters=4",
    "model.layers.dense1.units=16",
    "schedule=constant",
    "trainer.epochs=3",
)


def _first_infinite_layer(model: keras.Model) -> str:
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28, 1)).astype("float32")
    for layer in model.layers[1:]:
        outputs = keras.Model(model.inputs, layer.output)(images)
        if not np.isfinite(np.asarray(outputs)).all():
            return str(layer.name)
    raise AssertionError("all layers put out finite numbers")


@pytest.mark.parametrize("seconds", [0, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_loss_that_is_no_number_names_step_and_layer_and_the_weights_before_are_kept(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path, seconds: int
) -> None:
    """Whether the newest checkpoint is from one iteration before, or from the beginning."""
    rates = ("optimizer.learning_rate=1e18", f"trainer.checkpoint.seconds={seconds}")
    settings = compose(*NET, *rates)
    with pytest.raises(DivergenceError) as raised:
        train(settings, digits, tmp_path / "run", tmp_path, QUIET)
    message = str(raised.value)
    assert "in epoch 1, iteration " in message
    assert "optimizer.learning_rate=1e+18" in message
    kept = load_predictor(tmp_path / "run" / "last_good").model
    assert all(np.isfinite(np.asarray(weight)).all() for weight in kept.weights)
    assert f"what layer {_first_infinite_layer(kept)} puts out is not finite" in message
    events = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").open()]
    assert events[-1]["status"] == "FAILED"
    assert not list((tmp_path / "outputs" / "unfinished").glob("[!.]*")), "it would fail again"


@pytest.mark.integration
def test_a_loss_above_the_limit_stops_the_run(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    settings = compose(*NET, "trainer.largest_loss=0.001")
    with pytest.raises(DivergenceError, match=r"epoch 1, iteration 1 of 5, .* but too large"):
        train(settings, digits, tmp_path / "run", tmp_path, QUIET)


def _take_tensorflow(numbers: int) -> None:
    import tensorflow as tf

    tf.zeros([numbers], tf.float64)


def _take_jax(numbers: int) -> None:
    import jax.numpy as jnp

    jnp.zeros(numbers, jnp.float32).block_until_ready()


def _take_torch(numbers: int) -> None:
    import torch

    torch.zeros(numbers)


@pytest.mark.parametrize(
    "take",
    [
        pytest.param(_take_tensorflow, marks=pytest.mark.backends),
        _take_jax,
        pytest.param(_take_torch, marks=pytest.mark.backends),
    ],
)
def test_too_large_a_batch_is_told_with_one_that_fits(take: Callable[[int], None]) -> None:
    """With each backend's own error; TensorFlow waits ten seconds for memory to become free."""

    def step(batch_size: int) -> None:
        take(1 if batch_size <= 2 else batch_size << 42)

    message = r"trainer\.batch_size=5 needs more memory than there is; 2 fits"
    with pytest.raises(InputError, match=message), translate_memory_errors(5, step):
        step(5)


def test_the_batch_that_fits_is_found_by_halving() -> None:
    """Of 250: 125, 62, 31."""

    def step(batch_size: int) -> None:
        if batch_size > 31:
            raise MemoryError

    fits = pytest.raises(InputError, match=r"batch_size=250 needs more memory .*; 31 fits$")
    with fits, translate_memory_errors(250, step):
        step(250)


def test_a_model_too_large_for_one_example_is_told_so() -> None:
    def step(_: int) -> None:
        raise MemoryError

    with (
        pytest.raises(InputError, match="not even one example fits"),
        translate_memory_errors(250, step),
    ):
        step(250)


@pytest.mark.slow
def test_a_full_disk_stops_a_run_plainly_and_the_same_command_goes_on(
    compose: Callable[..., Settings], digits: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        settings = compose(*NET, "trainer.epochs=1")
        (disk / "params.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(dump(settings))))
        (disk / "conf").mkdir()
        (disk / "conf" / "config.yaml").touch()
        (disk / "other").write_bytes(bytes((3 << 20) - (96 << 10)))
        arguments = ["--params", "params.yaml", "--data", str(digits), "--out", str(disk / "run")]
        command = [sys.executable, "-m", "convforge.pipeline.stages.train", *arguments]
        stopped = subprocess.run(command, cwd=disk, capture_output=True, text=True)
        assert stopped.returncode == 2, stopped.stderr
        assert "no space is left on the disk" in stopped.stderr
        assert "Traceback" not in stopped.stderr
        (disk / "other").unlink()
        again = subprocess.run(command, cwd=disk, capture_output=True, text=True)
        assert again.returncode == 0, again.stderr
        assert (disk / "run" / "model" / "model.keras").is_file()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
