"""Borders around feature maps, for every layer that moves a window over a map."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import keras

from convforge import geometry
from convforge.geometry import ArgumentError, Padding, Pair

Shape: TypeAlias = tuple[int | None, ...]
DataFormat: TypeAlias = Literal["channels_last", "channels_first"]


def canonical_data_format(value: str | None, *, owner: str) -> DataFormat:
    """`value`, or Keras' setting for None.

    Raises:
        ArgumentError: another string.
    """
    if value is None:
        value = keras.config.image_data_format()
    if value not in ("channels_last", "channels_first"):
        allowed = '"channels_last" or "channels_first"'
        raise ArgumentError("data_format", value, allowed, owner=owner)
    return "channels_last" if value == "channels_last" else "channels_first"


def spatial_shape(shape: Any, data_format: DataFormat) -> tuple[int | None, int | None]:
    """Height and width of a map of shape `(batch, …)`, None where unknown."""
    height, width = shape[1:3] if data_format == "channels_last" else shape[2:4]
    return (height, width)


def map_shape(
    batch: int | None,
    spatial: tuple[int | None, int | None],
    channels: int | None,
    data_format: DataFormat,
) -> Shape:
    """The shape of a batch of maps in the given order of axes."""
    if data_format == "channels_last":
        return (batch, *spatial, channels)
    return (batch, channels, *spatial)


def shape_under_window(
    input_shape: Shape,
    window: Pair,
    strides: Pair,
    padding: Padding,
    data_format: DataFormat,
    *,
    channels: int | None,
    owner: str,
    argument: str = "kernel_size",
) -> Shape:
    """Equation (2) for a batch of maps: the shape of the output, which has `channels` channels.

    Raises:
        ArgumentError: `argument`, the window, is larger than the padded map.
    """
    spatial = geometry.output_shape(
        spatial_shape(input_shape, data_format),
        window,
        strides,
        padding,
        owner=owner,
        argument=argument,
    )
    return map_shape(input_shape[0], spatial, channels, data_format)


def pad_map(
    inputs: Any, padding: tuple[Pair, Pair], data_format: DataFormat, value: float = 0.0
) -> Any:
    """`inputs` with a border of `value`: `((top, bottom), (left, right))` pixels wide."""
    none = (0, 0)
    channels_last = data_format == "channels_last"
    widths = (none, *padding, none) if channels_last else (none, none, *padding)
    return keras.ops.pad(inputs, widths, constant_values=value)


def pad_for_window(
    inputs: Any,
    window: Pair,
    strides: Pair,
    padding: Padding,
    data_format: DataFormat,
    value: float = 0.0,
) -> tuple[Any, Literal["valid", "same"]]:
    """The inputs, padded where the backend cannot pad itself, and the backend's padding."""
    shape = spatial_shape(inputs.shape, data_format)
    native = geometry.native_padding(shape, window, strides, padding)
    if native is not None:
        return inputs, native
    assert not isinstance(padding, str)
    return pad_map(inputs, padding, data_format, value), "valid"
