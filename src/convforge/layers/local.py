"""The locally connected convolution: a convolution that shares no weights between places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from convforge import geometry
from convforge.geometry import PaddingLike
from convforge.layers.arguments import (
    ActivationLike,
    ConstraintLike,
    DataFormat,
    InitializerLike,
    RegularizerLike,
    Shape,
)
from convforge.layers.base_layers import KernelWindowLayer
from convforge.layers.padding import pad_map, spatial_shape


@keras.saving.register_keras_serializable(package="convforge")
class LocallyConnected2D(KernelWindowLayer):
    """Locally connected layer: equation (3) with (4), but kernels of its own at every place.

        O[x, y, c] = f( Σ_i Σ_j Σ_n I[x_s + i, y_s + j, n] · K_{x,y,c}[i, j, n] + b_{x,y,c} )

    What a convolution is without weight sharing: W^O·H^O times as many parameters
    (`geometry.local_parameters`). cuda-convnet's 13 % and 11 % nets on CIFAR-10 end in two of
    them. With equal kernels everywhere it computes what `Conv2D` does (cross-correlation).

    Shapes:
        in `(batch, height, width, channels)` with known height and width, since every place has
        weights; out `(batch, height', width', filters)` with equation (2); channels second with
        `data_format="channels_first"`. Weights: `kernel` (height', width',
        k_h × k_w × channels, filters), `bias` (height', width', filters).

    Args:
        filters: output channels, and kernels at each place.
        kernel_size: an integer or a pair (height, width).
        strides: as for `Conv2D`. Default 1.
        padding: as for `Conv2D`. Default 0.
        activation: f, a name or a function; None for f(x) = x.
        use_bias: whether there is a b, one for each output value. Default True.
        kernel_initializer: drawn for a matrix of one kernel's inputs × all outputs. Default
            "he_normal", which counts inputs only; Glorot's would also count all places.
        bias_initializer: zeros.
        kernel_regularizer: penalty on the kernels.
        bias_regularizer: penalty on the biases.
        kernel_constraint: projection after each step.
        bias_constraint: projection after each step.
        data_format: "channels_last" or "channels_first"; None for Keras' setting.
        **kwargs: of `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Raises:
        ArgumentError: a value out of range, or a kernel larger than the padded map.
        ValueError: the map's height, width or channels are unknown.

    Example:
        >>> import keras
        >>> layer = LocallyConnected2D(32, 3, padding=1)
        >>> tuple(layer(keras.ops.ones((1, 6, 6, 64))).shape), layer.count_params()
        ((1, 6, 6, 32), 664704)

    References:
        dnouri/cuda-convnet, `type=local`, layers-conv-local-13pct.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: PaddingLike = 0,
        *,
        activation: ActivationLike = None,
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "he_normal",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        kernel_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None,
        data_format: DataFormat | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters, kernel_size, strides, padding, use_bias=use_bias,
            kernel_initializer=kernel_initializer, bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer, bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint, bias_constraint=bias_constraint,
            data_format=data_format, **kwargs,
        )  # fmt: skip
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: Shape) -> None:
        if None in input_shape[1:]:
            raise ValueError(
                f"{self._owner}: every place has weights of its own, so height, width and "
                f"channels must be known, but the input is {input_shape}"
            )
        channels: Any = input_shape[self._channel_axis]
        output = self.compute_output_shape(input_shape)
        self._output_size: Any = spatial_shape(output, self.data_format)
        self._border: Any = geometry.border(
            spatial_shape(input_shape, self.data_format),
            self.kernel_size,
            self.strides,
            self.padding,
        )
        height, width = self.kernel_size
        self.add_kernel_and_bias(
            (*self._output_size, height * width * channels, self.filters),
            (*self._output_size, self.filters),
            initializer=self._unshared,
        )
        axes = {axis: input_shape[axis] for axis in (1, 2, 3)}
        self.input_spec = keras.layers.InputSpec(ndim=4, axes=axes)

    def _unshared(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        # Keras would read the 4-D shape as one convolution and count the places as inputs.
        rows, columns, inputs, outputs = shape
        drawn = self.kernel_initializer((inputs, rows * columns * outputs), dtype=dtype)
        drawn = keras.ops.reshape(drawn, (inputs, rows, columns, outputs))
        return keras.ops.transpose(drawn, (1, 2, 0, 3))

    def call(self, inputs: Any) -> Any:
        ops = keras.ops
        if self.data_format == "channels_first":
            inputs = ops.transpose(inputs, (0, 2, 3, 1))
        patches = self._patches(pad_map(inputs, self._border, "channels_last"))
        outputs = ops.einsum("bhwp,hwpf->bhwf", patches, self.kernel)
        if self.bias is not None:
            outputs = outputs + self.bias
        if self.data_format == "channels_first":
            outputs = ops.transpose(outputs, (0, 3, 1, 2))
        return self.activation(outputs)

    def _patches(self, padded: Any) -> Any:
        """The window at each place as one vector, rows of the window first, then channels."""
        (rows, columns), (down, right) = self._output_size, self.strides
        height, width = self.kernel_size
        shifted = [
            padded[
                :, i : i + (rows - 1) * down + 1 : down, j : j + (columns - 1) * right + 1 : right
            ]
            for i in range(height)
            for j in range(width)
        ]
        return keras.ops.concatenate(shifted, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": keras.activations.serialize(self.activation)}
