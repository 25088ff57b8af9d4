"""What the last run of the pipeline achieved, in a few lines."""

from __future__ import annotations

import json
from pathlib import Path

from convforge.errors import InputError
from convforge.pipeline.composition import read_params
from convforge.pipeline.metrics import achieved
from convforge.pipeline.run_folder import EvaluationFolder, RunFolder
from convforge.pipeline.tracking.replay import State

# Where `dvc.yaml` has them.
_RUN, _EVALUATION = Path("build/train"), Path("build/evaluate")


def results(root: Path) -> str:
    """Accuracy and loss, where run, pictures and model are, and what to type next.

    Raises:
        InputError: the pipeline has not run yet.
    """
    run, evaluation = RunFolder(root / _RUN), EvaluationFolder(root / _EVALUATION)
    if not evaluation.metrics.is_file():
        raise InputError("the pipeline has not run yet: `make repro`, or `dvc repro`")
    figures = json.loads(evaluation.metrics.read_text(encoding="utf-8"))
    settings = read_params(run.config)
    return "\n".join(
        (
            f"{settings.model.name} on {settings.data.name}: test {achieved(figures, 'test')}, "
            f"loss {figures['test_loss']:.4f}, {figures['test_images']:,} images",
            f"  run       {_tracked_in(evaluation)}",
            f"  pictures  {_EVALUATION}/",
            f"  model     {run.model.relative_to(root)}/",
            f"next: make ui  (with .venv active: convforge predict {_RUN} IMAGE, "
            "dvc metrics diff, dvc plots show)",
        )
    )


def _tracked_in(evaluation: EvaluationFolder) -> str:
    # The evaluation's, since it opens a run of its own where the store has lost the training's.
    state = State.read(evaluation.path)
    if state.tracking_uri is None:
        return "not tracked"
    if state.run_id is None:  # What is delivered later does not change what DVC keeps.
        return f"convforge.key {state.key} in {state.tracking_uri} (after convforge sync)"
    return f"{state.run_id} in {state.tracking_uri}"
