"""A network whose numbers between the layers are of one size, as 8 bits can hold them."""

from __future__ import annotations

from typing import Any

import keras

from convforge import geometry
from convforge.errors import InputError
from convforge.layers import MaxPooling2D
from convforge.layers.padding import spatial_shape


class MirroredMaxPooling2D(MaxPooling2D):
    """Max pooling with the same maxima and no −∞ in its border.

    Of the 256 values that 8 bits have, −∞ leaves one to all others. A border that mirrors the map
    has values that are in the same window already, as long as it is no wider than half of it.
    """

    def call(self, inputs: Any) -> Any:
        """As that of `MaxPooling2D`."""
        shape = spatial_shape(inputs.shape, self.data_format)
        native = geometry.native_padding(shape, self.pool_size, self.strides, self.padding)
        if native is not None:
            return super().call(inputs)
        assert not isinstance(self.padding, str)
        mirrored = keras.ops.pad(inputs, ((0, 0), *self.padding, (0, 0)), mode="symmetric")
        return keras.ops.max_pool(mirrored, self.pool_size, self.strides, "valid")


def quantizable(model: keras.Model) -> keras.Model:
    """The same network with the same weights, its max pooling without −∞.

    Raises:
        InputError: a border is wider than half of the window.
    """

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        if type(layer) is not MaxPooling2D:
            return layer.from_config(layer.get_config())
        _refuse_wide_border(layer)
        return MirroredMaxPooling2D.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=copied)
    copy.set_weights(model.get_weights())
    return copy


def _refuse_wide_border(layer: MaxPooling2D) -> None:
    if isinstance(layer.padding, str):
        return
    for sides, window in zip(layer.padding, layer.pool_size, strict=True):
        if max(sides) > window // 2:
            raise InputError(
                f"model.layers.{layer.name}.padding={layer.padding} is more than half of "
                f"pool_size={layer.pool_size}: such a net cannot be quantised"
            )
