"""The one resampling: pixels moved by drawn parameters, straight into the output size."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import ArrayLike

from convforge.augment.colour import shift_colours
from convforge.augment.parameters import draw
from convforge.augment.settings import Augmentation, Fill, Interpolation
from convforge.augment.values import Parameters, Tensor
from convforge.geometry import ArgumentError


class _Axis(NamedTuple):
    """Where each output pixel lies along one axis of its image."""

    position: Tensor  # (batch, height', width'), in [0, size − 1]
    inside: Tensor | None  # how much of it lies within the image, or None: all


class _Source(NamedTuple):
    """The pixels to read, all images one under another, and how to find an image's own."""

    pixels: Tensor  # (pixels, channels)
    start: Tensor  # (batch, 1, 1), the row of an image's first pixel
    height: Any  # a float, or (batch, 1, 1)
    width: Any


def apply(
    images: Tensor,
    parameters: Parameters,
    *,
    output_size: tuple[int, int],
    fill: Fill = "reflect",
    fill_value: float = 0.0,
    interpolation: Interpolation = "bilinear",
    smallest_scale: float = 1.0,
    colour_basis: ArrayLike | None = None,
    ops: Any = keras.ops,
) -> Tensor:
    """Move the pixels of a batch by drawn parameters, then shift its colours.

    Every output pixel (x, y) takes the value of its image at (x', y'), where
    (x', y', 1) = matrix · (x, y, 1): crop, resize, reflection and geometry in one interpolation
    of the original pixels. Then p ← clip(p + basis · α, 0, 255), if there is a basis.

    Shapes:
        in `(batch, height, width, channels)`, out float32 `(batch, height', width', channels)`.
        The batch alone may be unknown; compiled by XLA with a known one it is several times faster.

    Args:
        images: grey levels 0 to 255, uint8 (read as it is, and faster) or float.
        parameters: what `draw` returned for the same sizes: "matrix", and "colour" with a basis.
        output_size: (height', width').
        fill: what lies beyond the image: "reflect" its mirror image (d c b a | a b c d | d c b a),
            "edge" its outermost pixels, "constant" `fill_value`.
        fill_value: grey level of the constant fill.
        interpolation: "bilinear" or "nearest".
        smallest_scale: the smallest "scale" among the parameters, or a bound below it: what
            `Geometry.scale` starts with. Images reduced further are not anti-aliased in full.
        colour_basis: array (channels, channels) of `convforge.augment.colour_basis`, at most 3
            channels. None: no colour.
        ops: namespace of the functions listed in `convforge.augment`.

    Bilinear reading is anti-aliased: where an output pixel covers 4ᵏ or more pixels of the image
    (k = 1, 2, …), it is read from the averages of 2ᵏ×2ᵏ blocks. The matrix of each image decides;
    averages are only made if the output at `smallest_scale` is at most half as large as the image.
    "nearest" never averages.

    Returns:
        Grey levels within 0 and 255 where the images are: interpolation makes none beyond its
        pixels, and the colour shift is clipped. Whole images and mere reflections are exact.

    Raises:
        ArgumentError: the basis does not fit the channels.

    Example:
        >>> import numpy as np
        >>> from convforge.augment import Augmentation, draw, numpy_ops, settings
        >>> mirror = Augmentation(reflection=settings.Reflection(probability=1.0))
        >>> at = dict(output_size=(2, 2), ops=numpy_ops)
        >>> drawn = draw(mirror, seed=0, epoch=0, index=np.array([0]), image_size=(2, 2), **at)
        >>> image = np.array([[[[10], [20]], [[30], [40]]]], dtype="uint8")
        >>> apply(image, drawn, **at)[0, :, :, 0].tolist()
        [[20.0, 10.0], [40.0, 30.0]]
    """
    height, width, channels = (int(size) for size in images.shape[1:])
    column, row = _coordinates(parameters["matrix"], output_size, ops)
    x = _enter(column, width, fill, interpolation, ops)
    y = _enter(row, height, fill, interpolation, ops)
    levels = 0
    if interpolation == "bilinear":
        levels = _levels((height, width), output_size, smallest_scale)
    if interpolation == "nearest":
        pixels = _nearest(_whole(images, ops), x.position, y.position, ops)
    elif levels == 0:
        pixels = _bilinear(_whole(images, ops), x.position, y.position, ops)
    else:
        pixels = _anti_aliased(images, parameters["matrix"], x, y, levels, ops)
    if x.inside is not None and y.inside is not None:
        inside = (x.inside * y.inside)[..., None]
        pixels = pixels * inside + (1.0 - inside) * fill_value
    if colour_basis is not None:
        pixels = shift_colours(pixels, parameters["colour"], colour_basis, channels, ops)
    return pixels


def draw_and_apply(
    images: Tensor,
    augmentation: Augmentation,
    *,
    seed: Any,
    epoch: Any,
    index: Tensor,
    output_size: tuple[int, int] | None = None,
    colour_basis: ArrayLike | None = None,
    ops: Any = keras.ops,
    strengths: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """What training sees of `images` in an epoch: `draw`, then `apply`.

    Shapes:
        in `(batch, height, width, channels)`, out float32 `(batch, height', width', channels)`.

    Args:
        images: as in `apply`.
        augmentation: which methods, and how pixels are read.
        seed: as in `draw`.
        epoch: as in `draw`.
        index: as in `draw`.
        output_size: (height', width'), by default that of the settings, else the images' own.
        colour_basis: as in `apply`.
        ops: namespace of the functions listed in `convforge.augment`.
        strengths: as in `draw`.

    Raises:
        ArgumentError: the augmentation alters colours, and there is no basis to do it by.

    Example:
        >>> import numpy as np
        >>> from convforge.augment import Augmentation, numpy_ops, settings
        >>> mirror = Augmentation(reflection=settings.Reflection(probability=1.0))
        >>> image = np.array([[[[10], [20]], [[30], [40]]]], dtype="uint8")
        >>> at = dict(seed=0, epoch=0, index=np.array([0]), ops=numpy_ops)
        >>> draw_and_apply(image, mirror, **at)[0, :, :, 0].tolist()
        [[20.0, 10.0], [40.0, 30.0]]
    """
    height, width = images.shape[1:3]
    size = output_size or augmentation.size or (int(height), int(width))
    if augmentation.colour.active and colour_basis is None:
        allowed = "an array of convforge.augment.colour_basis, since colour.strength is above 0"
        raise ArgumentError("colour_basis", None, allowed)
    parameters = draw(
        augmentation,
        seed=seed,
        epoch=epoch,
        index=index,
        image_size=(int(height), int(width)),
        output_size=size,
        ops=ops,
        strengths=strengths,
    )
    return apply(
        images,
        parameters,
        output_size=size,
        fill=augmentation.fill,
        fill_value=augmentation.fill_value,
        interpolation=augmentation.interpolation,
        smallest_scale=augmentation.geometry.scale[0] if augmentation.geometry.active else 1.0,
        colour_basis=colour_basis if augmentation.colour.active else None,
        ops=ops,
    )


def _coordinates(matrix: Tensor, output_size: tuple[int, int], ops: Any) -> tuple[Tensor, Tensor]:
    """Input coordinates x and y of every output pixel, each (batch, height', width')."""
    rows = ops.reshape(ops.cast(ops.arange(output_size[0]), "float32"), (1, -1, 1))
    columns = ops.reshape(ops.cast(ops.arange(output_size[1]), "float32"), (1, 1, -1))
    entry = ops.reshape(matrix, (-1, 9, 1, 1))
    x = entry[:, 0] * columns + (entry[:, 1] * rows + entry[:, 2])
    y = entry[:, 3] * columns + (entry[:, 4] * rows + entry[:, 5])
    return x, y


def _enter(position: Tensor, size: int, fill: str, interpolation: str, ops: Any) -> _Axis:
    """Bring positions beyond an axis back onto it, as the fill says."""
    inside = None
    if fill == "reflect":
        # Seen from the border, half a pixel out, the mirror images repeat every 2·size.
        phase = position + 0.5
        phase = phase - ops.floor(phase * (0.5 / size)) * (2.0 * size)
        position = ops.minimum(phase, 2.0 * size - phase) - 0.5
    elif fill == "constant" and interpolation == "bilinear":
        # Between the outermost pixel and the fill, one pixel further out, values blend.
        inside = ops.clip(ops.minimum(position + 1.0, size - position), 0.0, 1.0)
    elif fill == "constant":
        inside = ops.cast((position >= -0.5) & (position < size - 0.5), "float32")
    return _Axis(ops.clip(position, 0.0, size - 1.0), inside)


def _whole(images: Tensor, ops: Any) -> _Source:
    # A neighbour to interpolate with, for images one pixel wide or high.
    for axis in (1, 2):
        if images.shape[axis] == 1:
            images = ops.concatenate([images, images], axis=axis)
    height, width, channels = (int(size) for size in images.shape[1:])
    start = ops.arange(ops.shape(images)[0]) * (height * width)
    pixels = ops.reshape(images, (-1, channels))
    return _Source(pixels, ops.reshape(start, (-1, 1, 1)), float(height), float(width))


def _nearest(source: _Source, x: Tensor, y: Tensor, ops: Any) -> Tensor:
    place = ops.floor(y + 0.5) * source.width + ops.floor(x + 0.5)
    pixels = ops.take(source.pixels, source.start + ops.cast(place, "int32"), axis=0)
    return ops.cast(pixels, "float32")


def _bilinear(source: _Source, x: Tensor, y: Tensor, ops: Any) -> Tensor:
    left = ops.minimum(ops.floor(x), source.width - 2.0)
    above = ops.minimum(ops.floor(y), source.height - 2.0)
    to_right, down = (x - left)[..., None], (y - above)[..., None]
    corner = source.start + ops.cast(above * source.width + left, "int32")
    below = corner + ops.cast(source.width, "int32")

    def read(place: Tensor) -> Tensor:
        # Bytes, cast after the gather. Fewer, wider reads gain nothing: the channels of a pixel in
        # one int32 take 6.5 ns a pixel instead of 6.3 (32×32) and 6.8 instead of 7.1 (224×224),
        # packing included, and its four neighbours in one int32 take 12.
        return ops.cast(ops.take(source.pixels, place, axis=0), "float32")

    upper = read(corner) * (1.0 - to_right) + read(corner + 1) * to_right
    lower = read(below) * (1.0 - to_right) + read(below + 1) * to_right
    return upper * (1.0 - down) + lower * down


def _levels(image_size: tuple[int, int], output_size: tuple[int, int], scale: float) -> int:
    """How often a whole image may be halved on its way to the output; each side keeps 2 pixels."""
    reduction = math.sqrt(math.prod(image_size) / math.prod(output_size)) / scale
    return max(0, math.floor(math.log2(min(reduction, min(image_size) / 2))))


def _anti_aliased(
    images: Tensor, matrix: Tensor, x: _Axis, y: _Axis, levels: int, ops: Any
) -> Tensor:
    """Read each image at the level of detail that its reduction calls for."""
    pyramid = [ops.cast(images, "float32")]
    for _ in range(levels):
        pyramid.append(_halve(pyramid[-1], ops))
    sizes = np.array([level.shape[1:3] for level in pyramid], dtype="float32")
    counts = sizes.prod(axis=1).astype("int32")
    channels = images.shape[3]
    flat = ops.concatenate(
        [
            ops.reshape(level, (-1, int(n), channels))
            for level, n in zip(pyramid, counts, strict=True)
        ],
        axis=1,
    )

    area = matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]
    area = ops.reshape(ops.maximum(area, -area), (-1, 1, 1))
    # Rounding may leave an area of 4ᵏ just below it.
    level = sum(ops.cast(area >= 4.0**k * 0.9999, "int32") for k in range(1, levels + 1))

    def look_up(values: np.ndarray, dtype: str) -> Tensor:
        return ops.take(ops.cast(values, dtype), level, axis=0)

    height, width = look_up(sizes[:, 0], "float32"), look_up(sizes[:, 1], "float32")
    first = ops.reshape(ops.arange(ops.shape(images)[0]) * int(counts.sum()), (-1, 1, 1))
    start = first + look_up(np.cumsum(counts) - counts, "int32")
    shrink = look_up(0.5 ** np.arange(levels + 1), "float32")
    x_there = ops.minimum(ops.maximum((x.position + 0.5) * shrink - 0.5, 0.0), width - 1.0)
    y_there = ops.minimum(ops.maximum((y.position + 0.5) * shrink - 0.5, 0.0), height - 1.0)
    source = _Source(ops.reshape(flat, (-1, channels)), start, height, width)
    return _bilinear(source, x_there, y_there, ops)


def _halve(images: Tensor, ops: Any) -> Tensor:
    """Averages of 2×2 blocks; an odd last row or column counts twice."""
    if images.shape[1] % 2:
        images = ops.concatenate([images, images[:, -1:]], axis=1)
    if images.shape[2] % 2:
        images = ops.concatenate([images, images[:, :, -1:]], axis=2)
    images = (images[:, 0::2] + images[:, 1::2]) * 0.5
    return (images[:, :, 0::2] + images[:, :, 1::2]) * 0.5
