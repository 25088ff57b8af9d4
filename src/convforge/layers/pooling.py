"""Max and average pooling with windows that may overlap and integer padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from convforge import geometry
from convforge.geometry import Padding, PaddingLike, Pair
from convforge.layers.arguments import DataFormat, Shape
from convforge.layers.base_layers import WindowLayer
from convforge.layers.padding import pad_for_window, pad_map, spatial_shape


class BasePooling2D(WindowLayer):
    """What the two poolings share; `call` is theirs."""

    _WINDOW = "pool_size"
    pool_size: Pair

    def __init__(
        self,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: PaddingLike = 0,
        *,
        data_format: DataFormat | None = None,
        **kwargs: Any,
    ) -> None:
        steps = pool_size if strides is None else strides
        super().__init__(pool_size, steps, padding, data_format=data_format, **kwargs)

    def _canonical_padding(self, padding: PaddingLike) -> Padding:
        return geometry.pool_padding(padding, self.pool_size, owner=self._owner)

    def build(self, input_shape: Shape) -> None:
        self.compute_output_shape(input_shape)


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

    # Not inherited: Python 3.11.2 would show the arguments of Keras' `__new__`, which are any.
    def __init__(
        self,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: PaddingLike = 0,
        *,
        data_format: DataFormat | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format=data_format, **kwargs)

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
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: PaddingLike = 0,
        *,
        count_padding: bool = False,
        data_format: DataFormat | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format=data_format, **kwargs)
        self.count_padding = count_padding

    def call(self, inputs: Any) -> Any:
        self.compute_output_shape(inputs.shape)
        size = spatial_shape(inputs.shape, self.data_format)
        # Not the backend's own "same" where it can be helped: PyTorch's counts what it pads.
        border = geometry.border(size, self.pool_size, self.strides, self.padding)
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

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count_padding": self.count_padding}
