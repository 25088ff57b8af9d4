"""What the last run of the pipeline achieved, in a few lines."""

from __future__ import annotations

import json
from pathlib import Path

from convforge.composition import read_params
from convforge.errors import InputError
from convforge.stages.evaluate import METRICS
from convforge.stages.train import CONFIG
from convforge.tracking.delivery import read_state


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
            f"{settings.model.name} on {settings.data.name}: "
            f"test accuracy {figures['test_accuracy']:.2%}, loss {figures['test_loss']:.4f}, "
            f"{figures['test_images']:,} images",
            f"  run       {_run(root)}",
            "  pictures  build/train/pictures/  build/evaluate/",
            "  model     build/train/model/",
            "next: make ui  (with .venv active: convforge predict build/train IMAGE, "
            "dvc metrics diff, dvc plots show)",
        )
    )


def _run(root: Path) -> str:
    # The evaluation's, since it opens a run of its own where the store has lost the training's.
    state = read_state(root / "build" / "evaluate")
    return f"{state['run_id']} in {state['tracking_uri']}" if state else "not tracked"
