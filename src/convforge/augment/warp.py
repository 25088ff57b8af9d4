"""The one resampling: pixels moved by drawn parameters, straight into the output size."""

from typing import Any

import keras

from convforge.augment.parameters import Parameters, Tensor


def apply(
    images: Tensor,
    parameters: Parameters,
    *,
    output_size: tuple[int, int],
    fill: str = "reflect",
    fill_value: float = 0.0,
    interpolation: str = "bilinear",
    colour_basis: Any = None,
    ops: Any = keras.ops,
) -> Tensor:
    """Resample a batch of images by its parameters, then shift its colours."""
    height, width, channels = (int(size) for size in images.shape[1:])
    x, y = _coordinates(parameters["matrix"], output_size, ops)
    inside_x, x = _enter(x, width, fill, interpolation, ops)
    inside_y, y = _enter(y, height, fill, interpolation, ops)
    read = _bilinear if interpolation == "bilinear" else _nearest
    pixels = read(images, x, y, ops)
    if fill == "constant":
        inside = (inside_x * inside_y)[..., None]
        pixels = pixels * inside + (1.0 - inside) * fill_value
    if colour_basis is not None:
        pixels = _shift_colours(pixels, parameters["colour"], colour_basis, channels, ops)
    return pixels


def _coordinates(matrix: Tensor, output_size: tuple[int, int], ops: Any) -> tuple[Tensor, Tensor]:
    """Input coordinates of every output pixel: two tensors [B, h, w]."""
    rows = ops.reshape(ops.cast(ops.arange(output_size[0]), "float32"), (1, -1, 1))
    columns = ops.reshape(ops.cast(ops.arange(output_size[1]), "float32"), (1, 1, -1))
    entry = ops.reshape(matrix, (-1, 9, 1, 1))
    x = entry[:, 0] * columns + (entry[:, 1] * rows + entry[:, 2])
    y = entry[:, 3] * columns + (entry[:, 4] * rows + entry[:, 5])
    return x, y


def _enter(
    position: Tensor, size: int, fill: str, interpolation: str, ops: Any
) -> tuple[Tensor, Tensor]:
    """How much of each position lies on the axis, and the position moved onto it."""
    inside = None
    if fill == "reflect":
        # Half a pixel further out, mirror images repeat with period 2·size.
        phase = position + 0.5
        phase = phase - ops.floor(phase * (0.5 / size)) * (2.0 * size)
        position = ops.minimum(phase, 2.0 * size - phase) - 0.5
    elif fill == "constant" and interpolation == "bilinear":
        inside = ops.clip(ops.minimum(position + 1.0, size - position), 0.0, 1.0)
    elif fill == "constant":
        inside = ops.cast((position >= -0.5) & (position < size - 0.5), "float32")
    return inside, ops.clip(position, 0.0, size - 1.0)


def _nearest(images: Tensor, x: Tensor, y: Tensor, ops: Any) -> Tensor:
    height, width, channels = (int(size) for size in images.shape[1:])
    flat = ops.reshape(images, (-1, channels))
    base = ops.reshape(ops.arange(ops.shape(images)[0]) * (height * width), (-1, 1, 1))
    column = ops.cast(ops.floor(x + 0.5), "int32")
    row = ops.cast(ops.floor(y + 0.5), "int32")
    return ops.cast(ops.take(flat, base + row * width + column, axis=0), "float32")


def _bilinear(images: Tensor, x: Tensor, y: Tensor, ops: Any) -> Tensor:
    height, width, channels = (int(size) for size in images.shape[1:])
    flat = ops.reshape(images, (-1, channels))
    base = ops.reshape(ops.arange(ops.shape(images)[0]) * (height * width), (-1, 1, 1))
    left = ops.minimum(ops.floor(x), max(width - 2.0, 0.0))
    above = ops.minimum(ops.floor(y), max(height - 2.0, 0.0))
    right = (x - left)[..., None]
    below = (y - above)[..., None]
    corner = base + ops.cast(above, "int32") * width + ops.cast(left, "int32")
    step_x, step_y = min(width - 1, 1), width * min(height - 1, 1)

    def read(offset: int) -> Tensor:
        return ops.cast(ops.take(flat, corner + offset, axis=0), "float32")

    upper = read(0) * (1.0 - right) + read(step_x) * right
    lower = read(step_y) * (1.0 - right) + read(step_y + step_x) * right
    return upper * (1.0 - below) + lower * below


def _shift_colours(
    pixels: Tensor, alpha: Tensor, colour_basis: Any, channels: int, ops: Any
) -> Tensor:
    basis = ops.reshape(ops.cast(colour_basis, "float32"), (1, channels, channels))
    shift = ops.sum(basis * alpha[:, None, :channels], axis=-1)
    return ops.clip(pixels + shift[:, None, None, :], 0.0, 255.0)
