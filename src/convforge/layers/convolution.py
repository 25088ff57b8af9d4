"""The convolutional layer of the lecture: equations (1) to (4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import keras

from convforge import geometry
from convforge.geometry import ArgumentError, Mode, Padding, PaddingLike, Pair
from convforge.layers.arguments import (
    ActivationLike,
    ConstraintLike,
    DataFormat,
    InitializerLike,
    RegularizerLike,
    Shape,
)
from convforge.layers.base_layers import KernelWindowLayer
from convforge.layers.padding import pad_for_window, spatial_shape

# A grouped convolution of TensorFlow or JAX takes 7 times as long on a CPU as its groups one by one
# (AlexNet's second layer); with many groups, as in depthwise convolutions, one call is faster.
_MOST_SEPARATE_GROUPS = 8


class BaseConv2D(KernelWindowLayer):
    """What `Conv2D` and `MaxoutConv2D` share: equation (3) in its two modes; `call` is theirs."""

    def __init__(self, *window: Any, mode: Mode, groups: int, **kwargs: Any) -> None:
        super().__init__(*window, **kwargs)
        owner = self._owner
        if mode not in get_args(Mode):
            allowed = " or ".join(map(repr, get_args(Mode)))
            raise ArgumentError("mode", mode, allowed, owner=owner)
        self.mode = mode
        self.groups = geometry.canonical_integer(groups, "groups", owner=owner)
        self._check_groups(self.filters, "filters")

    @property
    def _kernels(self) -> int:
        """How many kernels there are."""
        return self.filters

    def _check_groups(self, channels: int, what: str) -> None:
        if channels % self.groups:
            allowed = f"a divisor of the {channels} {what}"
            raise ArgumentError("groups", self.groups, allowed, owner=self._owner)

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[self._channel_axis]
        if channels is None:
            raise ValueError(f"{self._owner}: the number of input channels must be known")
        self._check_groups(channels, "input channels")
        self.compute_output_shape(input_shape)
        kernel_shape = (*self.kernel_size, channels // self.groups, self._kernels)
        self.add_kernel_and_bias(kernel_shape, (self._kernels,))
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={self._channel_axis: channels})

    def convolve(self, inputs: Any, kernel: Any, bias: Any) -> Any:
        """Equation (3) and the + b of (4)."""
        width = spatial_shape(self.compute_output_shape(inputs.shape), self.data_format)[1]
        if self.mode == "convolution":
            kernel = keras.ops.flip(kernel, axis=(0, 1))
        padding: Padding = self.padding
        if keras.backend.backend() != "jax":
            inputs, padding = pad_for_window(
                inputs, self.kernel_size, self.strides, self.padding, self.data_format
            )
        strides = self.strides
        if width == 1 and strides[0] < strides[1] and padding == "valid":
            # TensorFlow 2.21 gets such a last column wrong on CPUs (oneDNN, one input channel).
            inputs, strides = self._first_column(inputs), (strides[0], strides[0])
        outputs = self._correlate(inputs, kernel, strides, padding)
        if bias is None:
            return outputs
        shape = (1, 1, 1, -1) if self.data_format == "channels_last" else (1, -1, 1, 1)
        return outputs + keras.ops.reshape(bias, shape)

    def _first_column(self, inputs: Any) -> Any:
        """The part of the map under the kernel's first horizontal position."""
        columns = self.kernel_size[1]
        channels_last = self.data_format == "channels_last"
        return inputs[:, :, :columns] if channels_last else inputs[:, :, :, :columns]

    def _correlate(self, inputs: Any, kernel: Any, strides: Pair, padding: Padding) -> Any:
        if 1 < self.groups <= _MOST_SEPARATE_GROUPS:
            maps = keras.ops.split(inputs, self.groups, axis=self._channel_axis)
            kernels = keras.ops.split(kernel, self.groups, axis=-1)
            parts = [
                self._conv(*pair, strides, padding) for pair in zip(maps, kernels, strict=True)
            ]
            return keras.ops.concatenate(parts, axis=self._channel_axis)
        return self._conv(inputs, kernel, strides, padding)

    def _conv(self, inputs: Any, kernel: Any, strides: Pair, padding: Padding) -> Any:
        if not isinstance(padding, str):
            # It imports JAX, which other backends do without.
            from convforge.layers.jax_convolution import correlate

            return correlate(inputs, kernel, strides, padding, self.data_format)
        return keras.ops.conv(
            inputs, kernel, strides=strides, padding=padding, data_format=self.data_format
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode, "groups": self.groups}


@keras.saving.register_keras_serializable(package="convforge")
class Conv2D(BaseConv2D):
    """Convolutional layer: M kernels over all channels, then bias and activation.

    With `mode="convolution"` this is equation (3) with (4), kernel flipped:

        O[x, y, c] = f( Σ_i Σ_j Σ_n I[x_s − i, y_s − j, n] · K_c[i, j, n] + b_c )

    With `mode="cross_correlation"`, the default, the signs are + as in every deep-learning
    library: I[x_s + i, y_s + j, n]. The two differ by a flip of the kernel along both spatial
    axes, so what one learns the other can use: `kernel[::-1, ::-1]`.

    The output's size is equation (2), ⌊(W' + padding − k) / stride⌋ + 1 (`geometry.output_size`).
    Keras' own Conv2D knows neither integer padding nor the flipped mode.

    Shapes:
        in `(batch, height, width, channels)`, out `(batch, height', width', filters)`;
        with `data_format="channels_first"` the channels come second. Height and width may be
        unknown. Weights: `kernel` (k_h, k_w, channels / groups, filters), `bias` (filters,).

    Args:
        filters: M, the number of kernels and of output channels.
        kernel_size: k, an integer or a pair (height, width).
        strides: how far the kernel moves, an integer or a pair such as (3, 1). Default 1.
        padding: zeros around the map: an integer on all sides (the lecture's scalar), a pair
            (vertical, horizontal), a pair of pairs ((top, bottom), (left, right)), "valid" (none)
            or "same" (size ⌈W' / stride⌉). Default 0.
        mode: "cross_correlation" (default, since trained weights elsewhere assume it) or
            "convolution".
        groups: kernels and channels in that many separate parts, 2 in AlexNet. Default 1.
        activation: f, a name or a function; None for f(x) = x.
        use_bias: whether there is a b. Default True.
        kernel_initializer: Keras' default, Glorot uniform.
        bias_initializer: zeros.
        kernel_regularizer: penalty on the kernel. See `MomentumSGD` for weight decay.
        bias_regularizer: penalty on the bias.
        kernel_constraint: projection after each step, such as a maximal norm.
        bias_constraint: projection after each step.
        data_format: "channels_last" or "channels_first"; None for Keras' setting. On a CPU
            TensorFlow has no "channels_first" convolution.
        **kwargs: of `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Raises:
        ArgumentError: a value out of range, channels not divisible by groups, or a kernel larger
            than the padded map.

    Example:
        The lecture's 10×10 image:

        >>> import keras
        >>> image = keras.ops.ones((1, 10, 10, 3))
        >>> tuple(Conv2D(32, 3)(image).shape), tuple(Conv2D(32, 3, strides=3)(image).shape)
        ((1, 8, 8, 32), (1, 3, 3, 32))
        >>> tuple(Conv2D(32, 3, strides=(3, 1), padding=1)(image).shape)
        (1, 4, 10, 32)

    References:
        Lecture, slides "Convolutional Layer" and "Computing the convolution"; groups:
        Krizhevsky, Sutskever, Hinton 2012, section 3.2.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: PaddingLike = 0,
        *,
        mode: Mode = "cross_correlation",
        groups: int = 1,
        activation: ActivationLike = None,
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        kernel_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None,
        data_format: DataFormat | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters, kernel_size, strides, padding, mode=mode, groups=groups, use_bias=use_bias,
            kernel_initializer=kernel_initializer, bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer, bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint, bias_constraint=bias_constraint,
            data_format=data_format, **kwargs,
        )  # fmt: skip
        self.activation = keras.activations.get(activation)

    def call(self, inputs: Any) -> Any:
        return self.activation(self.convolve(inputs, self.kernel, self.bias))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": keras.activations.serialize(self.activation)}
