"""What is sent to a served model: image files in base64, or pixels; anything else is refused."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convforge.errors import BadItemError, InputError
from convforge.serving.model_card import ModelCard
from convforge.serving.predictor import decode_image

# No photograph has more; what is below is decoded within `Decoding.max_pixels`.
_LARGEST_FILE = 32 * 2**20
# Images decoded together: memory stays bounded however many a request holds.
_CHUNK = 64
_EXPECTED = "send image files in base64, or pixels 0..255"


def chunks(model_input: Any, card: ModelCard) -> Iterator[NDArray[Any]]:
    """The pixels `(n, height, width, channels)` of a request, some images at a time.

    Args:
        model_input: strings in base64 (as they are, or `data:image/…;base64,…`) or bytes of image
            files, in any list, array or one column of a data frame; or pixels `(n, height, width,
            channels)` of the model's own size, whole numbers 0..255.
        card: of the model.

    Raises:
        InputError: it is neither, an image is damaged or too large, or the numbers cannot be
            pixels 0..255; before the first chunk wherever that can be seen by then.
    """
    try:
        values = np.asarray(model_input)
    except ValueError as error:  # NumPy's way to say that lists differ in length.
        raise InputError("the images of a request must have one shape") from error
    if not values.size:
        raise InputError(f"the request holds no image: {_EXPECTED}")
    values = np.atleast_1d(values)
    first = values.flat[0]
    if isinstance(first, str | bytes):
        # A data frame of one column is `(n, 1)`.
        if values.size != len(values):
            raise InputError(f"images have shape {values.shape}: give one file for each image")
        yield from _decoded(values.reshape(-1).tolist(), card)
        return
    pixels = _pixels(values, card)
    for start in range(0, len(pixels), _CHUNK):
        yield pixels[start : start + _CHUNK]


def _decoded(files: Sequence[Any], card: ModelCard) -> Iterator[NDArray[Any]]:
    for start in range(0, len(files), _CHUNK):
        part = files[start : start + _CHUNK]
        images = [_image(file, start + number, card) for number, file in enumerate(part)]
        yield np.stack(images)


def _image(file: Any, number: int, card: ModelCard) -> NDArray[np.uint8]:
    try:
        return decode_image(_content(file), card)
    except BadItemError as error:
        raise InputError(f"image {number}: {error}") from error


def _content(file: Any) -> bytes:
    if isinstance(file, str):
        text = file.partition(";base64,")[2] if file.startswith("data:") else file
        if len(text) > _LARGEST_FILE * 4 // 3:
            raise BadItemError(f"has more than {_LARGEST_FILE:,} bytes")
        try:
            file = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadItemError("not in base64") from error
    if not isinstance(file, bytes):
        raise BadItemError(f"{type(file).__name__} beside image files")
    if len(file) > _LARGEST_FILE:
        raise BadItemError(f"has more than {_LARGEST_FILE:,} bytes")
    return file


def _pixels(values: NDArray[Any], card: ModelCard) -> NDArray[Any]:
    """`values`, once they are seen to be pixels of the model's size."""
    height, width, channels = card.image_shape
    if values.ndim == 1:
        raise InputError(f"{type(values.flat[0]).__name__} is no image: {_EXPECTED}")
    if values.ndim != 4 or values.shape[1:] != (height, width, channels):
        raise InputError(
            f"the pixels have shape {values.shape}, but the model takes "
            f"(n, {height}, {width}, {channels}); files of any size are taken in base64"
        )
    if values.dtype == object:  # As JSON brings them, whole numbers among fractions.
        kinds = {type(value) for value in values.flat}
        if not kinds <= {int, float}:
            wrong = sorted(kind.__name__ for kind in kinds - {int, float})
            raise InputError(f"pixels are numbers, not {', '.join(wrong)}")
        values = _numbers(values, whole=kinds == {int})
    if values.dtype.kind not in "iuf":
        raise InputError(f"pixels are numbers, not {values.dtype}")
    with np.errstate(invalid="ignore"):
        lowest, highest = values.min(), values.max()
        if not 0 <= lowest <= highest <= 255:  # A NaN fails each comparison.
            raise InputError(f"pixels are 0..255, and these are {lowest:g}..{highest:g}")
    if values.dtype.kind == "f":
        if highest <= 1:
            raise InputError(
                f"the pixels are {lowest:g}..{highest:g}: they must be 0..255, not scaled to 0..1"
            )
        if not np.array_equal(values, np.floor(values)):
            raise InputError("pixels are whole numbers 0..255, and some of these are fractions")
    return values


def _numbers(values: NDArray[Any], *, whole: bool) -> NDArray[Any]:
    try:
        return values.astype(np.int64 if whole else np.float64)
    except OverflowError as error:
        raise InputError("pixels are 0..255, and some of these are far more") from error
