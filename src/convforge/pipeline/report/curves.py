"""Learning curves: what overfitting looks like."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.figure import Figure

from convforge.pipeline.metrics import headline


def read_history(path: Path) -> dict[str, list[float]]:
    """The columns of a `history.csv`."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]} if rows else {}


def draw_curves(table: Path, path: Path) -> None:
    """Loss and what people ask for, on training and validation images over the epochs, as a PNG.

    The title of each panel says the final gap between the two.

    Args:
        table: a run's `history.csv`.
        path: of the picture.
    """
    history = read_history(table)
    figure = Figure(figsize=(10, 4), layout="constrained")
    metrics = ("loss", headline(history).name)
    for axes, metric in zip(figure.subplots(1, 2), metrics, strict=True):
        training = history[metric]
        axes.plot(history["epoch"], training, marker=".", label="training (augmented, dropout on)")
        title = f"{metric}: training {training[-1]:.4f}"
        if f"val_{metric}" in history:
            held_out = history[f"val_{metric}"]
            axes.plot(history["epoch"], held_out, marker=".", label="validation")
            title += f", validation {held_out[-1]:.4f}, gap {held_out[-1] - training[-1]:+.4f}"
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.set_ylabel(metric)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)
