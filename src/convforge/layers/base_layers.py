"""What layers share: the axes of a map, a window that moves over it, a kernel and a bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from convforge import geometry
from convforge.geometry import ArgumentError, Padding, PaddingLike, Pair
from convforge.layers.arguments import (
    ConstraintLike,
    DataFormat,
    InitializerLike,
    RegularizerLike,
    Shape,
)
from convforge.layers.padding import map_shape, spatial_shape


class NamedLayer(keras.layers.Layer):
    """A layer whose errors say whose argument is wrong."""

    @property
    def _owner(self) -> str:
        return f"{type(self).__name__} '{self.name}'"


class MapLayer(NamedLayer):
    """A layer that has to know which axis holds the channels."""

    def __init__(self, *, data_format: DataFormat | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        given = keras.config.image_data_format() if data_format is None else data_format
        if given not in ("channels_last", "channels_first"):
            allowed = '"channels_last" or "channels_first"'
            raise ArgumentError("data_format", given, allowed, owner=self._owner)
        self.data_format: DataFormat = given

    @property
    def _channel_axis(self) -> int:
        return -1 if self.data_format == "channels_last" else 1

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class WindowLayer(MapLayer):
    """A window that moves over a map: its size, called `_WINDOW`, its step and its padding."""

    _WINDOW: str

    def __init__(
        self,
        window: int | Sequence[int],
        strides: int | Sequence[int],
        padding: PaddingLike,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        owner = self._owner
        setattr(self, self._WINDOW, geometry.canonical_pair(window, self._WINDOW, owner=owner))
        self.strides = geometry.canonical_pair(strides, "strides", owner=owner)
        self.padding = self._canonical_padding(padding)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def _canonical_padding(self, padding: PaddingLike) -> Padding:
        return geometry.canonical_padding(padding, owner=self._owner)

    @property
    def _window(self) -> Pair:
        window: Pair = getattr(self, self._WINDOW)
        return window

    def _channels(self, input_shape: Shape) -> int | None:
        """Of the output: those of the input."""
        return input_shape[self._channel_axis]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        spatial = geometry.output_shape(
            spatial_shape(input_shape, self.data_format),
            self._window,
            self.strides,
            self.padding,
            owner=self._owner,
            argument=self._WINDOW,
        )
        channels = self._channels(input_shape)
        return map_shape(input_shape[0], spatial, channels, self.data_format)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            self._WINDOW: self._window,
            "strides": self.strides,
            "padding": self.padding,
        }


class KernelLayer(NamedLayer):
    """Keeps initializer, regularizer and constraint of a kernel and a bias, and serialises them."""

    def __init__(
        self,
        *,
        use_bias: bool,
        kernel_initializer: InitializerLike,
        bias_initializer: InitializerLike,
        kernel_regularizer: RegularizerLike,
        bias_regularizer: RegularizerLike,
        kernel_constraint: ConstraintLike,
        bias_constraint: ConstraintLike,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)

    def add_kernel_and_bias(
        self, kernel_shape: Shape, bias_shape: Shape, *, initializer: Any = None
    ) -> None:
        """Make the weights; `initializer` is used for the kernel in place of its own."""
        self.kernel = self.add_weight(
            name="kernel",
            shape=kernel_shape,
            initializer=initializer or self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=bias_shape,
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
        }


class KernelWindowLayer(WindowLayer, KernelLayer):
    """A window with a kernel of so many filters."""

    _WINDOW = "kernel_size"
    kernel_size: Pair

    def __init__(self, filters: int, *window: Any, **kwargs: Any) -> None:
        super().__init__(*window, **kwargs)
        self.filters = geometry.canonical_integer(filters, "filters", owner=self._owner)

    def _channels(self, input_shape: Shape) -> int | None:
        return self.filters

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters}
