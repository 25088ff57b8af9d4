"""From the bytes of an item to pixels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from math import ceil
from typing import Any, Literal, NamedTuple, ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from convforge.errors import BadItemError

# Formats that hold photographs and drawings. Pillow knows more, among them some that call other
# programs, or hold any number of images one inside the other. JPEG stands for MPO too, the
# phones' JPEG of several images.
_FORMATS = (
    *("JPEG", "PNG", "GIF", "BMP", "PPM"),
    TiffImagePlugin.TiffImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
    AvifImagePlugin.AvifImageFile.format,
    Jpeg2KImagePlugin.Jpeg2KImageFile.format,
)
# Pillow warns of odd metadata, and of many pixels, for which there is a bound here.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_ORIENTATION = 0x0112
_MAX_SAMPLE_VALUE = 281
# White in 16 bits, and where cameras and scanners use 10, 12 or 14 of them.
_WHITE, _FEWER_BITS = 65535, (1023, 4095, 16383)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, as long as it stays this many times larger
# than the result: resizing then hides the difference, which on ImageNet's photographs is 1 grey
# level of 255 on average, and below 10 for all pixels but one in a thousand.
REDUCED_AT_LEAST = 1.5

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Decoding:
    """What pixels are wanted.

    Args:
        channels: 1 for grey (luminance), 3 for RGB.
        size: height and width of the result, or None for the image's own.
        geometry: "as_is" never resizes; "resize" stretches to `size`; "center_crop" takes the
            largest centred part of the shape of `size` and reduces or enlarges that: for a size
            of 256×256 it is AlexNet's, the shorter side 256, then the centre.
        background: the grey level 0..255 that shows through where an image is transparent.
        max_pixels: an image that says it has more is refused before it is decoded.
    """

    channels: int
    size: tuple[int, int] | None = None
    geometry: Literal["as_is", "resize", "center_crop"] = "resize"
    background: int = 255
    max_pixels: int = 64_000_000

    @property
    def resizes(self) -> bool:
        """Whether the result's size is another than the image's own."""
        return self.size is not None and self.geometry != "as_is"

    @property
    def max_bytes(self) -> int:
        """No honest file is larger: `max_pixels` of 4 channels of 16 bits, and its metadata."""
        return 8 * self.max_pixels + (1 << 20)


class ImageProperties(NamedTuple):
    """What an image says of itself before it is decoded."""

    format: str
    height: int
    width: int


class Codec(Protocol):
    """How the bytes of an item become an image."""

    def probe(self, content: bytes, decoding: Decoding) -> ImageProperties:
        """Format and size, cheaply.

        Raises:
            BadItemError: it is none, or too large.
        """
        ...

    def decode(self, content: bytes, decoding: Decoding) -> NDArray[np.uint8]:
        """The pixels `(height, width, channels)`, 0..255.

        Raises:
            BadItemError: it is none, too large, or damaged.
        """
        ...


def _bad_items(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Whatever hostile bytes lead Pillow's decoders to raise becomes a BadItemError."""

    @wraps(function)
    def guarded(*args: Parameters.args, **named: Parameters.kwargs) -> Result:
        try:
            return function(*args, **named)
        except BadItemError:
            raise
        except UnidentifiedImageError:
            raise BadItemError("not an image") from None
        except Image.DecompressionBombError:
            raise BadItemError("more pixels than any image may have") from None
        except MemoryError:
            raise BadItemError("does not fit into memory") from None
        except Exception as error:
            raise BadItemError(f"damaged: {error}") from None

    return guarded


@dataclass(frozen=True)
class ImageFiles:
    """Items are image files of any common format; the content decides, not the name.

    Of an animation the first frame is taken. The EXIF orientation is applied. Palettes, CMYK and
    other colours become RGB, transparent parts show the background. Colour profiles are not
    applied.

    Of grey levels in 16 bits 65535 is white, and the high 8 bits are taken; a TIFF that says it
    uses 9 to 15 of them (BitsPerSample, or a MaxSampleValue of 1023, 4095 or 16383) is white at
    its own maximum. PNG, PPM and JPEG 2000 fill the range by their standards. Fractions, in
    floating-point TIFF, are 0 to 1. Of RGB in 16 bits the decoder gives the high 8 only. Levels
    outside are refused, since to guess another white would make one image of a set lighter than
    the next.
    """

    @_bad_items
    def probe(self, content: bytes, decoding: Decoding) -> ImageProperties:
        """Format and upright size, from the header."""
        image = _open(content, decoding)
        height, width = image.height, image.width
        # Asking for EXIF data decodes a PNG, unless they are there already.
        if "exif" in image.info and _lies_on_its_side(image):
            height, width = width, height
        return ImageProperties(image.format or "", height, width)

    @_bad_items
    def decode(self, content: bytes, decoding: Decoding) -> NDArray[np.uint8]:
        """The pixels of the first frame."""
        image = _open(content, decoding)
        if decoding.resizes and image.format in ("JPEG", "MPO"):
            height, width = _wanted(image, decoding)
            mode = "L" if decoding.channels == 1 else "RGB"
            image.draft(mode, (ceil(REDUCED_AT_LEAST * width), ceil(REDUCED_AT_LEAST * height)))
        image.load()
        upright = _UPRIGHT.get(_orientation(image))
        fitted = _fitted(_coloured(image, decoding), _wanted(image, decoding), decoding)
        return _array(fitted if upright is None else fitted.transpose(upright), decoding)


@dataclass(frozen=True)
class RawPixels:
    """Items are the uint8 pixels of images of one shape, row by row.

    Args:
        height: of each.
        width: of each.
        channels: 1, 3 or 4 (with alpha).
        planar: all of the first channel come first, as in CIFAR's binary version.
    """

    height: int
    width: int
    channels: int
    planar: bool = False

    @property
    def size(self) -> int:
        """Bytes of an image."""
        return self.height * self.width * self.channels

    def probe(self, content: bytes, decoding: Decoding) -> ImageProperties:
        """The shape of all."""
        return ImageProperties("raw", self.height, self.width)

    @_bad_items
    def decode(self, content: bytes, decoding: Decoding) -> NDArray[np.uint8]:
        """The pixels in the wanted colours and size."""
        pixels = np.frombuffer(content, np.uint8)
        if self.planar:
            pixels = pixels.reshape(self.channels, self.height, self.width).transpose(1, 2, 0)
        pixels = np.ascontiguousarray(pixels.reshape(self.height, self.width, self.channels))
        if self.channels == decoding.channels and not decoding.resizes:
            return pixels
        image = Image.fromarray(pixels[..., 0] if self.channels == 1 else pixels)
        fitted = _fitted(_coloured(image, decoding), decoding.size or (0, 0), decoding)
        return _array(fitted, decoding)


def _open(content: bytes, decoding: Decoding) -> Any:
    """The image, with its header read."""
    if not content:
        raise BadItemError("empty")
    image = Image.open(io.BytesIO(content), formats=_FORMATS)
    if image.width * image.height > decoding.max_pixels:
        raise BadItemError(
            f"{image.height}×{image.width} are more pixels than data.max_pixels="
            f"{decoding.max_pixels}"
        )
    return image


def _orientation(image: Any) -> int:
    return int(image.getexif().get(_ORIENTATION, 1))


def _lies_on_its_side(image: Any) -> bool:
    return 5 <= _orientation(image) <= 8


def _wanted(image: Any, decoding: Decoding) -> tuple[int, int]:
    """Height and width wanted of the image as it is stored, not yet turned upright."""
    height, width = decoding.size or (image.height, image.width)
    return (width, height) if _lies_on_its_side(image) else (height, width)


def _coloured(image: Any, decoding: Decoding) -> Any:
    """The image as grey or RGB."""
    if image.mode.startswith("I"):
        image = Image.fromarray(_of_integers(np.asarray(image), _white(image)))
    elif image.mode == "F":
        image = Image.fromarray(_of_fractions(np.asarray(image)))
    elif image.mode == "LAB":
        # To grey there is no other way.
        image = image.convert("RGB")
    elif image.has_transparency_data:
        level = decoding.background
        behind = Image.new("RGBA", image.size, (level, level, level, 255))
        image = Image.alpha_composite(behind, image.convert("RGBA"))
    mode = "L" if decoding.channels == 1 else "RGB"
    # Converting to the mode that it has would copy it.
    return image if image.mode == mode else image.convert(mode)


def _of_fractions(levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    if not np.isfinite(levels).all():
        raise BadItemError("pixels that are not finite")
    least, most = float(levels.min()), float(levels.max())
    if least < 0 or most > 1:
        raise BadItemError(
            f"floating-point pixels from {least:.6g} to {most:.6g}: scale them to 0 to 1"
        )
    return _rounded(255 * levels)


def _of_integers(levels: NDArray[np.integer], white: int) -> NDArray[np.uint8]:
    least, most = int(levels.min()), int(levels.max())
    if least < 0 or most > white:
        raise BadItemError(f"pixels from {least} to {most}: scale them to 0 to {white}")
    return (levels >> 8).astype(np.uint8) if white == _WHITE else _rounded(levels * (255 / white))


def _rounded(levels: NDArray[np.floating]) -> NDArray[np.uint8]:
    whole: NDArray[np.uint8] = np.rint(levels).astype(np.uint8)
    return whole


def _white(image: Any) -> int:
    """The level that stands for white in an image of more than 8 bits."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    if 8 < bits < 16:
        return int(2**bits - 1)
    # TIFF means it as the highest level in this one image. Where that is all ones, it is white.
    said = tags.get(_MAX_SAMPLE_VALUE, _WHITE)
    highest = said[0] if isinstance(said, tuple) else said
    return int(highest) if highest in _FEWER_BITS else _WHITE


def _fitted(image: Any, size: tuple[int, int], decoding: Decoding) -> Any:
    """The image in the wanted size: bilinear, and averaged over what is reduced."""
    if not decoding.resizes:
        return image
    height, width = size
    box = None
    if decoding.geometry == "center_crop":
        scale = min(image.height / height, image.width / width)
        top, left = (image.height - scale * height) / 2, (image.width - scale * width) / 2
        box = (left, top, left + scale * width, top + scale * height)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)


def _array(image: Any, decoding: Decoding) -> NDArray[np.uint8]:
    pixels = np.asarray(image, np.uint8)
    return pixels.reshape(image.height, image.width, decoding.channels)
