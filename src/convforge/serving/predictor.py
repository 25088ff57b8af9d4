"""Using a trained model: the folder that training saves, and what it says of an image file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convforge.augment.window import centre_window
from convforge.errors import InputError
from convforge.quiet_start import import_quietly
from convforge.serving.decode import Decoding, ImageFiles
from convforge.serving.model_archive import ModelArchive
from convforge.serving.model_card import CARD, EXAMPLE, ModelCard, read_card, write_card

WEIGHTS = "model.keras"
#: The folder of the two in a run's.
RUN_MODEL = "model"
# Images that are predicted together.
_LARGEST_BATCH = 64


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
        parts = [
            self._batch(np.asarray(images[start : start + _LARGEST_BATCH], np.float32))
            for start in range(0, len(images), _LARGEST_BATCH)
        ]
        return np.concatenate(parts)

    def _batch(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        # Filled up to a power of two: a backend compiles anew for each size.
        count = len(images)
        filled = np.zeros((1 << (count - 1).bit_length(), *images.shape[1:]), np.float32)
        filled[:count] = images
        return np.asarray(self.model.predict_on_batch(filled), np.float32)[:count]


def save_model(
    folder: Path, model: Any, card: ModelCard, example: NDArray[np.uint8] | None = None
) -> None:
    """Write the model and its card into `folder`, and an image `(height, width, channels)`."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / WEIGHTS)
    write_card(folder / CARD, card)
    if example is not None:
        pixels = example[..., 0] if example.shape[-1] == 1 else example
        Image.fromarray(pixels).save(folder / EXAMPLE)


def find_model(path: Path) -> tuple[Path, Path]:
    """The `.keras` file and the card of the model at `path`.

    Args:
        path: a `.keras` file with its card beside it, the folder of the two, or a folder with that:
            a run's, or that of an MLflow model.

    Raises:
        InputError: there is no model.
    """
    try:
        if path.suffix == ".keras" and path.is_file():
            if not (path.parent / CARD).is_file():
                raise InputError(
                    f"{path} has no {CARD} beside it, which says what it takes and answers"
                )
            return path, path.parent / CARD
        # MLflow keeps a logged model's files below `data`.
        for folder in (path, path / RUN_MODEL, path / "data" / RUN_MODEL):
            if (folder / CARD).is_file() and (folder / WEIGHTS).is_file():
                return folder / WEIGHTS, folder / CARD
    except OSError as error:  # A name that is too long.
        raise InputError(f"{path}: {error.strerror}") from error
    raise InputError(f"{path} holds no model ({WEIGHTS} and {CARD}): train one first")


def decoding_of(card: ModelCard) -> Decoding:
    """What pixels the model's centre window is taken of."""
    rows, columns, channels = card.image_shape
    height, width = card.stored_size or (rows, columns)
    return Decoding(channels, (height, width), card.geometry, card.background)


def decode_image(content: bytes, card: ModelCard) -> NDArray[np.uint8]:
    """The pixels of an image file's `content`, as the model takes them.

    Raises:
        BadItemError: it is none, too large, or damaged.
    """
    rows, columns, _ = card.image_shape
    image = ImageFiles().decode(content, decoding_of(card))
    window: NDArray[np.uint8] = centre_window(image[None], (rows, columns))[0]
    return window


@dataclass(frozen=True)
class StoredModel:
    """A model's folder, looked into and not loaded yet."""

    card: ModelCard
    archive: ModelArchive

    def load(self) -> Predictor:
        """The model, ready to predict.

        Raises:
            InputError: its archive holds what no layer can be built from.
        """
        import_quietly("keras")
        return Predictor(self.archive.load(len(self.card.outputs)), self.card)


def open_model(path: Path) -> StoredModel:
    """The model at `path`, its card and archive checked; see `find_model`.

    Raises:
        InputError: there is none, or it is not what this project saves.
    """
    weights, described = find_model(path)
    card = read_card(described.parent)
    archive = ModelArchive(weights)
    archive.check_input(card.image_shape)
    return StoredModel(card, archive)


def load_predictor(path: Path) -> Predictor:
    """The model at `path`, loaded; see `open_model`."""
    return open_model(path).load()
