"""Max and average pooling with windows that may overlap and integer padding."""

from __future__ import annotations

from typing import Any

import keras

from convforge import geometry
from convforge.geometry import Pair
from convforge.layers.padding import (
    Shape,
    canonical_data_format,
    pad_for_window,
    pad_map,
    shape_under_window,
    spatial_shape,
)


class BasePooling2D(keras.layers.Layer):
    """What the two poolings share: the window, its step and its padding; `call` is theirs."""

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: Any = 0,
        *,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        owner = self._owner
        self.pool_size = geometry.canonical_pair(pool_size, "pool_size", owner=owner)
        steps = self.pool_size if strides is None else strides
        self.strides = geometry.canonical_pair(steps, "strides", owner=owner)
        self.padding = geometry.pool_padding(padding, self.pool_size, owner=owner)
        self.data_format = canonical_data_format(data_format, owner=owner)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    @property
    def _owner(self) -> str:
        return f"{type(self).__name__} '{self.name}'"

    def build(self, input_shape: Shape) -> None:
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return shape_under_window(
            input_shape,
            self.pool_size,
            self.strides,
            self.padding,
            self.data_format,
            channels=input_shape[-1 if self.data_format == "channels_last" else 1],
            owner=self._owner,
            argument="pool_size",
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
        }


@keras.saving.register_keras_serializable(package="convforge")
class MaxPooling2D(BasePooling2D):
    """Max pooling: the largest value of each window of each channel.

        O[x, y, c] = max over i, j < z of I[s·x + i − pad, s·y + j − pad, c]

    With a stride s below the window z the windows overlap: AlexNet's z = 3, s = 2 lowered its
    top-1 error by 0.4 percent against z = s = 2. Padding is −∞ and so never wins.

    Shapes:
        in `(batch, height, width, channels)`, out `(batch, height', width', channels)` with
        equation (2) for the size; channels second with `data_format="channels_first"`.

    Args:
        pool_size: z, the window: an integer or a pair. Default 2.
        strides: s, the step: an integer or a pair; None (default) for `pool_size`, no overlap.
        padding: as for `Conv2D`; less than the window. Default 0.
        data_format: "channels_last" or "channels_first"; None for Keras' setting.
        **kwargs: of `keras.layers.Layer`: `name`, `dtype`.

    Raises:
        ArgumentError: a value out of range, or a window larger than the padded map.

    Example:
        >>> import keras
        >>> ramp = keras.ops.reshape(keras.ops.arange(5.0), (1, 1, 5, 1))
        >>> pooled = MaxPooling2D((1, 3), strides=2)(ramp)
        >>> keras.ops.convert_to_numpy(pooled).ravel().tolist()
        [2.0, 4.0]

    References:
        Lecture, slides "Pooling"; Krizhevsky, Sutskever, Hinton 2012, section 3.4.
    """

    def call(self, inputs: Any) -> Any:
        self.compute_output_shape(inputs.shape)
        inputs, padding = pad_for_window(
            inputs, self.pool_size, self.strides, self.padding, self.data_format, -float("inf")
        )
        return keras.ops.max_pool(
            inputs, self.pool_size, self.strides, padding, data_format=self.data_format
        )


@keras.saving.register_keras_serializable(package="convforge")
class AveragePooling2D(BasePooling2D):
    """Average pooling: the mean of each window of each channel.

    Padding does not count: a window over the border is divided by the number of its values that
    belong to the map. With `count_padding=True` zeros count, and every window is divided by z².

    Shapes:
        in `(batch, height, width, channels)`, out `(batch, height', width', channels)` with
        equation (2) for the size; channels second with `data_format="channels_first"`.

    Args:
        pool_size: z, the window: an integer or a pair. Default 2.
        strides: s, the step: an integer or a pair; None (default) for `pool_size`, no overlap.
        padding: as for `Conv2D`; less than the window. Default 0.
        count_padding: whether padded zeros count as values. Default False, since they would
            darken the border; cuda-convnet and "same" pooling do not count them either.
        data_format: "channels_last" or "channels_first"; None for Keras' setting.
        **kwargs: of `keras.layers.Layer`: `name`, `dtype`.

    Raises:
        ArgumentError: a value out of range, or a window larger than the padded map.

    Example:
        >>> import keras
        >>> ones = keras.ops.ones((1, 2, 2, 1))
        >>> float(keras.ops.max(AveragePooling2D(2, padding=1)(ones)))
        1.0
        >>> float(keras.ops.max(AveragePooling2D(2, padding=1, count_padding=True)(ones)))
        0.25

    References:
        Lecture, slides "Pooling".
    """

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: Any = 0,
        *,
        count_padding: bool = False,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format=data_format, **kwargs)
        self.count_padding = count_padding

    def call(self, inputs: Any) -> Any:
        self.compute_output_shape(inputs.shape)
        border = self._border(inputs)
        if border is None:
            return self._mean(inputs, "same")
        means = self._mean(pad_map(inputs, border, self.data_format))
        if self.count_padding or border == ((0, 0), (0, 0)):
            return means
        channels_last = self.data_format == "channels_last"
        one_map = inputs[:1, :, :, :1] if channels_last else inputs[:1, :1]
        ones = keras.ops.ones_like(one_map)
        return means / self._mean(pad_map(ones, border, self.data_format))

    def _mean(self, inputs: Any, padding: str = "valid") -> Any:
        return keras.ops.average_pool(
            inputs, self.pool_size, self.strides, padding, data_format=self.data_format
        )

    def _border(self, inputs: Any) -> tuple[Pair, Pair] | None:
        """Zeros to add, or None for "same" on a map whose size is known to the backend alone."""
        if self.padding == "valid":
            return ((0, 0), (0, 0))
        if not isinstance(self.padding, str):
            return self.padding
        # Not the backend's own "same": PyTorch's counts what it pads.
        height, width = spatial_shape(inputs.shape, self.data_format)
        if height is None or width is None:
            return None
        return (
            geometry.same_padding(height, self.pool_size[0], self.strides[0]),
            geometry.same_padding(width, self.pool_size[1], self.strides[1]),
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count_padding": self.count_padding}
