"""What MLflow calls to load and serve a logged model (`loader_module="convforge.serving"`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convforge.serving.predictor import Predictor, load_predictor


class _ServedModel:
    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, model_input: Any, params: Any = None) -> NDArray[np.float32]:
        """Class probabilities or numbers for pixels `(n, height, width, channels)` in 0..255."""
        return self._predictor.outputs(np.asarray(model_input))


def _load_pyfunc(path: str) -> _ServedModel:
    """MLflow's entry point: the model in the folder `path`."""
    return _ServedModel(load_predictor(Path(path)))
