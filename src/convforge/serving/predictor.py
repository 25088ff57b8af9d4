"""Using a trained model: the folder that training saves, and what it says of an image file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from convforge.augment.window import centre_window
from convforge.errors import BadItemError, InputError
from convforge.serving.decode import Decoding, ImageFiles

WEIGHTS = "model.keras"
CARD = "card.json"
#: The folder of the two in a run's.
RUN_MODEL = "model"


class ModelCard(BaseModel):
    """What one must know to use a model besides its weights; `card.json` in its folder."""

    model_config = ConfigDict(frozen=True)

    name: str
    #: What the outputs stand for: classes, or else the numbers that it predicts.
    classes: list[str]
    targets: list[str] = []
    #: Height, width, channels of the pixels it takes, 0..255.
    image_shape: list[int]
    #: Height and width that an image is given first; the model takes the centre of it. None where
    #: they are the model's own.
    stored_size: list[int] | None = None
    #: How other sizes become that one, and what shows through where images are transparent.
    geometry: Literal["resize", "center_crop"] = "resize"
    background: int = 255
    data_digest: str
    version: str


@dataclass(frozen=True)
class Predictor:
    """A loaded model."""

    model: Any
    card: ModelCard

    def outputs(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Class probabilities or predicted numbers `(n, outputs)`.

        Args:
            images: pixels `(n, height, width, channels)` in 0..255.
        """
        return np.asarray(self.model.predict(np.asarray(images, np.float32), verbose=0))


def save_model(folder: Path, model: Any, card: ModelCard) -> None:
    """Write the model and its card into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / WEIGHTS)
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def find_model(path: Path) -> Path:
    """The folder of the model at `path`: itself, that of a `model.keras`, or within a run's folder.

    Raises:
        InputError: there is no model.
    """
    # MLflow downloads a logged model with its files below `data`.
    own = path.parent if path.name == WEIGHTS else path
    candidates = (own, path / RUN_MODEL, path / "data" / RUN_MODEL)
    for folder in candidates:
        if (folder / CARD).is_file() and (folder / WEIGHTS).is_file():
            return folder
    raise InputError(f"{path} holds no model ({WEIGHTS} and {CARD}): train one first")


def read_card(folder: Path) -> ModelCard:
    """The card of the model in `folder`.

    Raises:
        InputError: it is damaged.
    """
    try:
        return ModelCard.model_validate_json((folder / CARD).read_bytes())
    except ValidationError as error:
        raise InputError(f"{folder / CARD} is damaged: train the model again") from error


def read_image(path: Path, card: ModelCard) -> NDArray[np.uint8]:
    """The pixels of an image file, as the model takes them.

    Raises:
        InputError: the file cannot be read or is not an image.
    """
    rows, columns, channels = card.image_shape
    height, width = card.stored_size or (rows, columns)
    try:
        decoding = Decoding(channels, (height, width), card.geometry, card.background)
        image = ImageFiles().decode(path.read_bytes(), decoding)
        window: NDArray[np.uint8] = centre_window(image[None], (rows, columns))[0]
        return window
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except BadItemError as error:
        raise InputError(f"{path}: {error}") from error


def load_predictor(path: Path) -> Predictor:
    """The model at `path`, loaded; see `find_model`."""
    folder = find_model(path)
    from convforge.quiet_start import import_quietly

    import_quietly("keras")
    import keras

    try:
        model = keras.saving.load_model(folder / WEIGHTS, compile=False)
    except (ValueError, OSError) as error:
        raise InputError(f"{folder / WEIGHTS} is damaged: train the model again") from error
    return Predictor(model, read_card(folder))
