"""Using a trained model: the folder that training saves, and what it says of an image file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from convforge.data.decode import BadImage, decode
from convforge.errors import InputError

WEIGHTS = "model.keras"
CARD = "card.json"


class ModelCard(BaseModel):
    """What one must know to use a model besides its weights; `card.json` in its folder."""

    model_config = ConfigDict(frozen=True)

    name: str
    classes: list[str]
    #: Height, width, channels of the pixels it takes, 0..255.
    image_shape: list[int]
    data_digest: str
    version: str


@dataclass(frozen=True)
class Predictor:
    """A loaded model."""

    model: Any
    card: ModelCard

    def probabilities(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Class probabilities `(n, classes)` of pixels `(n, height, width, channels)` in 0..255."""
        return np.asarray(self.model.predict(np.asarray(images, np.float32), verbose=0))

    def read(self, path: Path) -> NDArray[np.uint8]:
        """The pixels of an image file, resized to what the model takes."""
        height, width, channels = self.card.image_shape
        try:
            return decode(path.read_bytes(), channels=channels, size=(height, width))
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from error
        except BadImage as error:
            raise InputError(f"{path}: {error}") from error


def save_model(folder: Path, model: Any, card: ModelCard) -> None:
    """Write the model and its card into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / WEIGHTS)
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_predictor(path: Path) -> Predictor:
    """The model in `path`: its folder, its `model.keras`, or a run's folder such as build/train.

    Raises:
        InputError: there is no model.
    """
    candidates: Sequence[Path] = (path, path.parent, path / "model", path / "data" / "model")
    for folder in candidates:
        if (folder / CARD).is_file() and (folder / WEIGHTS).is_file():
            return _load(folder)
    raise InputError(f"{path} holds no model ({WEIGHTS} and {CARD}): train one first")


def _load(folder: Path) -> Predictor:
    import keras

    import convforge.layers  # noqa: F401  registers the layers with Keras

    model = keras.saving.load_model(folder / WEIGHTS, compile=False)
    card = ModelCard.model_validate_json((folder / CARD).read_bytes())
    return Predictor(model, card)
