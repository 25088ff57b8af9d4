"""Borders around feature maps, for every layer that moves a window over a map."""

from __future__ import annotations

from typing import Any, Literal

import keras

from convforge import geometry
from convforge.geometry import Padding, Pair
from convforge.layers.arguments import DataFormat, Shape


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
