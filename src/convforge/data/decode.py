"""From the bytes of an image file to pixels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError


class BadImageError(ValueError):
    """Why a file is not used, in a few words."""


def decode(
    content: bytes, *, channels: int, size: Sequence[int] | None = None
) -> NDArray[np.uint8]:
    """The pixels of an image file.

    The first frame is taken, its EXIF orientation applied, and its colours converted to grey or
    RGB. 16-bit grey is reduced to its high byte.

    Args:
        content: the file's bytes, in any format that Pillow reads.
        channels: 1 for grey, 3 for RGB.
        size: height and width to resize to (bilinear, anti-aliased), or None for as it is.

    Returns:
        `(height, width, channels)`, 0..255.

    Raises:
        BadImageError: empty, not an image, truncated, or too large to be one.

    Example:
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (4, 2), (255, 0, 0)).save(file, "PNG")
        >>> decode(file.getvalue(), channels=3).shape
        (2, 4, 3)
    """
    if not content:
        raise BadImageError("empty, or not to be read from its archive")
    try:
        image = _open(content)
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
        image = image.convert("L" if channels == 1 else "RGB")
        if size is not None:
            height, width = size
            image = image.resize((width, height), Image.Resampling.BILINEAR)
    except UnidentifiedImageError:
        raise BadImageError("not an image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImageError("more pixels than an honest image has") from None
    except Exception as error:  # Pillow's decoders raise whatever hostile bytes lead them to.
        raise BadImageError(f"damaged: {error}") from None
    return np.asarray(image, np.uint8).reshape(image.height, image.width, channels)


def _open(content: bytes) -> Any:
    """The first frame, upright."""
    with warnings.catch_warnings():
        # Pillow warns at 89 million pixels, where a small file can fill the memory.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(content))
        image.load()
    return ImageOps.exif_transpose(image)
