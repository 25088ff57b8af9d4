"""PReLU: a rectifier whose negative part has a learned slope."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import keras

from convforge.geometry import ArgumentError
from convforge.layers.arguments import (
    ConstraintLike,
    DataFormat,
    InitializerLike,
    RegularizerLike,
    Shape,
)
from convforge.layers.base_layers import MapLayer

Shared: TypeAlias = Literal["spatial", "all", "none"]


@keras.saving.register_keras_serializable(package="convforge")
class PReLU(MapLayer):
    """Parametric rectified linear unit: ReLU (7) with a learned slope a for the negative part.

        f(x) = x    where x > 0
        f(x) = a·x  elsewhere

    One slope for each channel, shared by all places of the map, as in the paper: 64 numbers for
    64 feature maps, whatever their height and width, which may be unknown.

    Shapes:
        in and out `(batch, …, channels)`, the same shape. Weight: `alpha`, of shape (channels,)
        for `shared="spatial"`, (1,) for "all", the input's shape without the batch for "none".

    Args:
        shared: what shares one slope: "spatial" (default) all places of a channel, "all" the
            whole layer, "none" nothing: a slope for each element.
        alpha_initializer: the slopes at the start: a number or a Keras initializer. Default 0.25,
            the paper's; Keras' own PReLU starts as a ReLU, with 0.
        alpha_regularizer: penalty on the slopes. None, as in the paper: decay pulls them to 0,
            towards ReLU; `MomentumSGD` exempts them.
        alpha_constraint: projection after each step. None: the paper leaves the sign free.
        data_format: which axis holds the channels: the last one, or for "channels_first" the
            one after the batch; None for Keras' setting.
        **kwargs: of `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Raises:
        ArgumentError: `shared` is none of the three.
        ValueError: an axis that needs slopes of its own has an unknown size.

    Example:
        >>> import keras
        >>> keras.ops.convert_to_numpy(PReLU()(keras.ops.array([[-8.0, 8.0]]))).tolist()
        [[-2.0, 8.0]]

    References:
        Lecture, slide "Rectified Linear Unit Modifications"; He, Zhang, Ren, Sun 2015,
        "Delving Deep into Rectifiers", equation (1) and section 2.1.
    """

    def __init__(
        self,
        shared: Shared = "spatial",
        *,
        alpha_initializer: float | InitializerLike = 0.25,
        alpha_regularizer: RegularizerLike = None,
        alpha_constraint: ConstraintLike = None,
        data_format: DataFormat | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        if shared not in get_args(Shared):
            allowed = ", ".join(map(repr, get_args(Shared)))
            raise ArgumentError("shared", shared, allowed, owner=self._owner)
        self.shared = shared
        if isinstance(alpha_initializer, int | float):
            alpha_initializer = keras.initializers.Constant(alpha_initializer)
        self.alpha_initializer = keras.initializers.get(alpha_initializer)
        self.alpha_regularizer = keras.regularizers.get(alpha_regularizer)
        self.alpha_constraint = keras.constraints.get(alpha_constraint)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        self.alpha = self.add_weight(
            name="alpha",
            shape=self._alpha_shape(input_shape),
            initializer=self.alpha_initializer,
            regularizer=self.alpha_regularizer,
            constraint=self.alpha_constraint,
        )

    def _alpha_shape(self, input_shape: Shape) -> Shape:
        if self.shared == "all":
            return (1,)
        channels = input_shape[self._channel_axis]
        shape = (channels,) if self.shared == "spatial" else tuple(input_shape[1:])
        if None in shape:
            raise ValueError(
                f"{self._owner}: shared={self.shared!r} needs the sizes of its slopes, but "
                f"the input is {input_shape}; share the slopes or give the input a size"
            )
        return shape

    def call(self, inputs: Any) -> Any:
        alpha = self.alpha
        if self.shared == "spatial" and self.data_format == "channels_first":
            alpha = keras.ops.reshape(alpha, (-1,) + (1,) * (len(inputs.shape) - 2))
        # Not `where(x > 0, x, a·x)`: its gradient takes PyTorch twice as long.
        return keras.ops.relu(inputs) - alpha * keras.ops.relu(-inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "shared": self.shared,
            "alpha_initializer": keras.initializers.serialize(self.alpha_initializer),
            "alpha_regularizer": keras.regularizers.serialize(self.alpha_regularizer),
            "alpha_constraint": keras.constraints.serialize(self.alpha_constraint),
        }
