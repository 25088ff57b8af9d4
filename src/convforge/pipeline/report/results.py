"""What the last run of the pipeline achieved, in a few lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from convforge.errors import InputError
from convforge.pipeline.composition import read_params
from convforge.pipeline.run_folder import CONFIG, METRICS
from convforge.pipeline.tracking.replay import State


def results(root: Path) -> str:
    """Accuracy and loss, where run, pictures and model are, and what to type next.

    Raises:
        InputError: the pipeline has not run yet.
    """
    metrics = root / "build" / "evaluate" / METRICS
    if not metrics.is_file():
        raise InputError("the pipeline has not run yet: `make repro`, or `dvc repro`")
    figures = json.loads(metrics.read_text(encoding="utf-8"))
    settings = read_params(root / "build" / "train" / CONFIG)
    return "\n".join(
        (
            f"{settings.model.name} on {settings.data.name}: test {achieved(figures)}, "
            f"loss {figures['test_loss']:.4f}, {figures['test_images']:,} images",
            f"  run       {_run(root)}",
            "  pictures  build/train/pictures/  build/evaluate/",
            "  model     build/train/model/",
            "next: make ui  (with .venv active: convforge predict build/train IMAGE, "
            "dvc metrics diff, dvc plots show)",
        )
    )


def achieved(figures: Mapping[str, float]) -> str:
    """The figure that people ask for first.

    Example:
        >>> achieved({"test_accuracy": 0.987}), achieved({"test_mae": 3.5, "test_rmse": 4.0})
        ('accuracy 98.70%', 'mean absolute error 3.5')
    """
    if "test_accuracy" in figures:
        return f"accuracy {figures['test_accuracy']:.2%}"
    return f"mean absolute error {figures['test_mae']:.4g}"


def _run(root: Path) -> str:
    # The evaluation's, since it opens a run of its own where the store has lost the training's.
    state = State.read(root / "build" / "evaluate")
    if state.tracking_uri is None:
        return "not tracked"
    if state.run_id is None:  # What is delivered later does not change what DVC keeps.
        return f"convforge.key {state.key} in {state.tracking_uri} (after convforge sync)"
    return f"{state.run_id} in {state.tracking_uri}"
