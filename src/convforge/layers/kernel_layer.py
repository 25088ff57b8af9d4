"""What layers with one kernel and one bias share, flat or moving over a map."""

from __future__ import annotations

from typing import Any

import keras

from convforge import geometry
from convforge.layers.padding import Shape, canonical_data_format, shape_under_window


class KernelLayer(keras.layers.Layer):
    """Keeps initializer, regularizer and constraint of a kernel and a bias, and serialises them."""

    def __init__(
        self,
        *,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
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

    @property
    def _owner(self) -> str:
        """Whose argument it is, for errors."""
        return f"{type(self).__name__} '{self.name}'"

    def add_kernel_and_bias(
        self, kernel_shape: Any, bias_shape: Any, *, initializer: Any = None
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


class KernelWindow(KernelLayer):
    """A kernel that moves over a map: its window, step and padding, and equation (2)."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = 0,
        *,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        owner = self._owner
        self.filters = geometry.canonical_integer(filters, "filters", owner=owner)
        self.kernel_size = geometry.canonical_pair(kernel_size, "kernel_size", owner=owner)
        self.strides = geometry.canonical_pair(strides, "strides", owner=owner)
        self.padding = geometry.canonical_padding(padding, owner=owner)
        self.data_format = canonical_data_format(data_format, owner=owner)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    @property
    def _channel_axis(self) -> int:
        return -1 if self.data_format == "channels_last" else 1

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return shape_under_window(
            input_shape,
            self.kernel_size,
            self.strides,
            self.padding,
            self.data_format,
            channels=self.filters,
            owner=self._owner,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
        }
