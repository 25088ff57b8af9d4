"""Using a trained model: from image files and requests to what it says of them.

MLflow loads a logged model by this package's name (`loader_module="convforge.serving"`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def _load_pyfunc(path: str) -> Any:
    """MLflow's entry point: the model in the folder `path`."""
    # Late: who predicts by `convforge predict` needs no MLflow.
    from convforge.serving.mlflow_model import load

    return load(Path(path))
