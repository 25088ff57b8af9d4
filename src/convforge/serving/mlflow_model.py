"""The model that MLflow serves: from a request to answers that say what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from numpy.typing import NDArray

from convforge.errors import InputError
from convforge.serving.predictor import Predictor, load_predictor
from convforge.serving.request import chunks

#: The parameter of a request: how many classes of each image are named.
TOP = "top"


class RefusedRequestError(MlflowException):
    """Status 400 (or 500) and one line that says why.

    MLflow's server writes the whole input before a message, which may be an image of megabytes.
    """

    @property
    def message(self) -> str:
        """What the answer says."""
        return self._line

    @message.setter
    def message(self, line: str) -> None:
        if not hasattr(self, "_line"):
            self._line = line


class ServedModel:
    """What MLflow calls to answer.

    Args:
        predictor: the loaded model.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        # Requests come in threads; one prediction uses all cores.
        self._lock = Lock()

    def predict(
        self, model_input: Any, params: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """An answer for each image: its class and the probability, or the predicted numbers.

        Args:
            model_input: image files in base64 or pixels; see `convforge.serving.request.chunks`.
            params: `top`: how many classes to name, the likeliest first, beside the first one.

        Raises:
            RefusedRequestError: it cannot be answered, and why.
        """
        card = self._predictor.card
        top = (params or {}).get(TOP, 1)
        try:
            if top < 1:
                raise InputError(f"top={top} is not allowed: give a number ≥ 1")
            outputs = np.concatenate([self._outputs(each) for each in chunks(model_input, card)])
        except InputError as error:
            raise RefusedRequestError(str(error), error_code=INVALID_PARAMETER_VALUE) from error
        if not np.isfinite(outputs).all():
            raise RefusedRequestError(
                "the model answers with what is no number: train it again",
                error_code=INTERNAL_ERROR,
            )
        return [card.answer(row, top) for row in outputs]

    def _outputs(self, images: NDArray[Any]) -> NDArray[np.float32]:
        with self._lock:
            return self._predictor.outputs(images)


def load(path: Path) -> ServedModel:
    """The model in the folder `path`, as MLflow has downloaded it."""
    return ServedModel(load_predictor(path))
