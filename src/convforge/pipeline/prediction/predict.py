"""From paths to answers, some images at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convforge.errors import InputError
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.prediction.answers import FORMATS
from convforge.pipeline.prediction.image_files import ImageReading, count
from convforge.pipeline.progress import Progress, Verbosity
from convforge.serving.predictor import Predictor, open_model

_BATCH = 64


def predict(
    name: str, model: Path, paths: Sequence[Path], form: str, top: int, progress: Progress
) -> int:
    """Write what the model sees in every image at `paths` to standard output.

    Args:
        name: what the person has called the model.
        model: its path.
        paths: of images, folders and archives.
        form: of `FORMATS`.
        top: how many classes to name.
        progress: told of every image that cannot be read.

    Returns:
        How many images could not be read.

    Raises:
        InputError: there is no model, no image can be read, or the model answers with what is no
            number.
    """
    stored = open_model(model)
    reading = ImageReading(paths, stored.card, progress)
    batches = _batches(reading)
    # Before the model is loaded, which takes seconds.
    first = next(batches, None)
    if first is None:
        raise InputError(reading.nothing)
    predictor = stored.load()
    progress.say(f"{name}: {stored.card.weights}")
    answers = FORMATS[form](stored.card, top)
    # The lines themselves show how far it is, where they are seen.
    told = Progress(Verbosity.QUIET) if sys.stdout.isatty() else progress
    with told.task("predict", unit="images", total=count(paths)) as task:
        for batch in chain([first], batches):
            outputs = finite_outputs(name, predictor, np.stack(batch.images))
            for image, row in zip(batch.names, outputs, strict=True):
                answers.write(image, row)
            task.advance(len(batch.names))
    if reading.failed:
        progress.warn(f"{pluralize(reading.failed, 'file')} could not be read")
    return reading.failed


@dataclass
class _Batch:
    names: list[str] = field(default_factory=list)
    images: list[NDArray[np.uint8]] = field(default_factory=list)


def _batches(reading: ImageReading) -> Iterator[_Batch]:
    """Some images at a time."""
    batch = _Batch()
    for name, image in reading.images():
        batch.names.append(name)
        batch.images.append(image)
        if len(batch.names) == _BATCH:
            yield batch
            batch = _Batch()
    if batch.names:
        yield batch


def finite_outputs(name: str, predictor: Predictor, images: NDArray[Any]) -> NDArray[np.float32]:
    """What the model that a person calls `name` says of `images`, `(n, outputs)`.

    Raises:
        InputError: it is no number.
    """
    outputs = predictor.outputs(images)
    if not np.isfinite(outputs).all():
        raise InputError(f"{name} answers with what is no number: train it again")
    return outputs
