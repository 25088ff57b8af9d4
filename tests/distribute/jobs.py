"""Runs to be shared, the processes that share them, and how far their weights are apart."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.train import dump
from convforge.serving.predictor import load_predictor

SCRIPT = Path(__file__).with_name("train_part.py")
#: A net with all that could tell one device from several: augmentation, shuffling, dropout, batch
#: normalisation; 250 digits in batches of 44, so that the last has 30 for 4 devices; the 50 digits
#: for validation are 44 and 6.
SMALL = (
    *("tracking=none", "augment=full", "trainer.epochs=2", "trainer.batch_size=44"),
    *("model.layers.conv1.filters=4", "model.layers.conv2.filters=4"),
    "model.layers.dense1.units=16",
)


def with_normalization(settings: Settings, **groups: Mapping[str, Any]) -> Settings:
    """`settings` with batch normalisation after the first layer, and with other values."""
    config = dump(settings)
    layers = {}
    for name, layer in config["model"]["layers"].items():
        layers[name] = layer
        if name == "conv1":
            layers["norm1"] = {"type": "batch_normalization"}
    config["model"]["layers"] = layers
    return changed(Settings.parse(config), **groups)


def changed(settings: Settings, **groups: Mapping[str, Any]) -> Settings:
    """`settings` with other values in some groups, or with other groups."""
    config = dump(settings)
    for group, values in groups.items():
        config[group] = {**config[group], **values} if "name" not in values else dict(values)
    return Settings.parse(config)


def write_configs(folder: Path, runs: Mapping[str, Settings]) -> Path:
    """A file for each of `runs` in `folder`."""
    folder.mkdir(parents=True)
    for name, settings in runs.items():
        text = OmegaConf.to_yaml(OmegaConf.create(dump(settings)))
        (folder / f"{name}.yaml").write_text(text)
    return folder


def start(
    configs: Path, data: Path, out: Path, backend: str, devices: int, **variables: str
) -> subprocess.Popen[str]:
    """A process that trains what is in `configs`."""
    out.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, SCRIPT, configs, data, out, str(devices)],
        env={**os.environ, "KERAS_BACKEND": backend, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str], seconds: float = 500) -> tuple[int, str]:
    """Exit status and output of `process`."""
    output, _ = process.communicate(timeout=seconds)
    return process.returncode, output


@contextmanager
def none_left(processes: list[subprocess.Popen[str]]) -> Iterator[None]:
    """Whatever happens in the block, none of `processes` outlives it."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def weights(run: Path) -> dict[str, np.ndarray]:
    """By the path that names them."""
    model = load_predictor(run).model
    return {weight.path: np.asarray(weight) for weight in model.weights}


def difference(one: Path, other: Path) -> float:
    """The largest between two weights of the models in the folders of two runs."""
    left, right = weights(one), weights(other)
    assert list(left) == list(right)
    return max(float(np.abs(left[name] - right[name]).max()) for name in left)
