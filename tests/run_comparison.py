"""Runs to compare, and whether two of them ended alike: their weights and tables of epochs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from convforge.serving.predictor import load_predictor

# All that has a state, every augmentation, a smaller last batch, and no convolution, which XLA
# computes slowly on processors.
STATEFUL_NET = (
    "model.layers.conv1=null",
    "model.layers.conv2=null",
    "model.layers.dense1.units=16",
    "model.layers.prelu1.type=batch_normalization",
    "augment=full",
    "tracking=none",
    "trainer.batch_size=60",
    "trainer.epochs=3",
)


def assert_same_run(ours: Path, theirs: Path) -> None:
    """The same weights and figures to float tolerance."""
    for here, there in zip(_weights(ours), _weights(theirs), strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(history_of(ours), history_of(theirs), rtol=1e-4, atol=1e-5)


def _weights(run: Path) -> list[np.ndarray]:
    return [np.array(value) for value in load_predictor(run).model.get_weights()]


def history_of(run: Path) -> np.ndarray:
    """A row for each epoch, without how long it took."""
    with (run / "history.csv").open(newline="") as file:
        rows = [{**row, "epoch_seconds": "0"} for row in csv.DictReader(file)]
    return np.array([list(row.values()) for row in rows], dtype=float)
