"""Maxout: the activation is the largest of several learned linear functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from convforge import geometry
from convforge.geometry import ArgumentError, Mode, PaddingLike
from convforge.layers.arguments import (
    ConstraintLike,
    DataFormat,
    InitializerLike,
    RegularizerLike,
    Shape,
)
from convforge.layers.base_layers import KernelLayer, MapLayer
from convforge.layers.convolution import BaseConv2D


def pieces_first(outputs: Any, num_pieces: int, groups: int = 1, axis: int = -1) -> Any:
    """An axis reordered so that equal pieces of all units lie together, in each group.

    Adjacent pieces are the documented order, but a max over runs of two or three numbers is slow
    on every backend; a max of whole halves or thirds of the channels is not. Reordering a kernel
    costs little beside the convolution.
    """
    shape = keras.ops.shape(outputs)
    axis %= len(shape)
    units = shape[axis] // (groups * num_pieces)
    apart = (*shape[:axis], groups, units, num_pieces, *shape[axis + 1 :])
    outputs = keras.ops.swapaxes(keras.ops.reshape(outputs, apart), axis + 1, axis + 2)
    return keras.ops.reshape(outputs, shape)


def largest_piece(outputs: Any, num_pieces: int, groups: int = 1, axis: int = -1) -> Any:
    """The max over the pieces of each unit, in the order that `pieces_first` gives."""
    if num_pieces == 1:
        return outputs
    if keras.backend.backend() == "torch":
        return _largest_by_pooling(outputs, num_pieces, groups, axis)
    parts = keras.ops.split(outputs, groups * num_pieces, axis=axis)
    units = [reduce(_larger, parts[i : i + num_pieces]) for i in range(0, len(parts), num_pieces)]
    return units[0] if groups == 1 else keras.ops.concatenate(units, axis=axis)


def _larger(first: Any, second: Any) -> Any:
    # Not `maximum` alone: backends divide its gradient differently where the two are equal, which
    # they are on every black background while the biases are zero. It is there for NaN, which a
    # comparison would hide.
    if keras.backend.backend() == "tensorflow":
        return _larger_of_pair(first, second)
    return keras.ops.where(first >= second, first, keras.ops.maximum(first, second))


@keras.ops.custom_gradient
def _larger_of_pair(first: Any, second: Any) -> Any:
    """The same, with a gradient that takes a third of the time where nothing is fused."""
    ops = keras.ops

    def gradient(upstream: Any) -> tuple[Any, Any]:
        to_first = upstream * ops.cast(first >= second, upstream.dtype)
        return to_first, upstream - to_first

    return ops.maximum(first, second), gradient


def _largest_by_pooling(outputs: Any, num_pieces: int, groups: int, axis: int) -> Any:
    """The same by max pooling over the pieces, whose gradient goes to the first of equals too.

    PyTorch fuses nothing: there the comparisons and their gradients take three times as long.
    """
    ops, shape = keras.ops, tuple(outputs.shape)
    axis %= len(shape)
    units = shape[axis] // num_pieces
    inner = prod(shape[axis + 1 :]) * (units // groups)
    maps = ops.reshape(outputs, (1, prod(shape[:axis]) * groups, num_pieces, inner))
    # Transposed here and called channels_first: of channels_last Keras would make a copy.
    maps = ops.transpose(maps, (0, 3, 1, 2))
    largest = ops.max_pool(maps, (1, num_pieces), data_format="channels_first")
    largest = ops.transpose(largest, (0, 2, 3, 1))
    return ops.reshape(largest, (*shape[:axis], units, *shape[axis + 1 :]))


@keras.saving.register_keras_serializable(package="convforge")
class Maxout(MapLayer):
    """The largest of each `num_pieces` adjacent channels: the activation of Maxout alone.

        O[…, c] = max over j < k of  I[…, c·k + j]

    For linear layers that have no Maxout form of their own, such as `LocallyConnected2D`: give
    them k times the outputs, then this. After a convolution or a matrix product, `MaxoutConv2D`
    and `MaxoutDense` compute the same with the order of their kernels already right for it. Where
    pieces tie, the gradient goes to the first.

    Shapes:
        in `(batch, …, channels)`, out `(batch, …, channels / num_pieces)`; with
        `data_format="channels_first"` the axis after the batch is the one that shrinks. All other
        sizes may be unknown. No weights.

    Args:
        num_pieces: k, channels per unit. Default 2.
        data_format: which axis holds the channels: the last one, or for "channels_first" the
            one after the batch; None for Keras' setting.
        **kwargs: of `keras.layers.Layer`: `name`, `dtype`.

    Raises:
        ArgumentError: `num_pieces` is not an integer ≥ 1, or does not divide the channels.

    Example:
        >>> import keras
        >>> channels = keras.ops.array([[1.0, 5.0, 2.0, -3.0, -8.0, -4.0]])
        >>> keras.ops.convert_to_numpy(Maxout(3)(channels)).tolist()
        [[5.0, -3.0]]

    References:
        Lecture, slide "Rectified Linear Unit Modifications"; Goodfellow, Warde-Farley, Mirza,
        Courville, Bengio 2013, "Maxout Networks", section 3.
    """

    def __init__(
        self, num_pieces: int = 2, *, data_format: DataFormat | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.num_pieces = geometry.canonical_integer(num_pieces, "num_pieces", owner=self._owner)
        self.input_spec = keras.layers.InputSpec(min_ndim=2)

    def build(self, input_shape: Shape) -> None:
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = list(input_shape)
        channels = shape[self._channel_axis]
        if channels is None:
            raise ValueError(f"{self._owner}: the number of input channels must be known")
        if channels % self.num_pieces:
            allowed = f"a divisor of the {channels} input channels"
            raise ArgumentError("num_pieces", self.num_pieces, allowed, owner=self._owner)
        shape[self._channel_axis] = channels // self.num_pieces
        return tuple(shape)

    def call(self, inputs: Any) -> Any:
        axis = self._channel_axis
        return largest_piece(
            pieces_first(inputs, self.num_pieces, axis=axis), self.num_pieces, axis=axis
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_pieces": self.num_pieces}


@keras.saving.register_keras_serializable(package="convforge")
class MaxoutDense(KernelLayer):
    """Fully connected Maxout: each unit is the largest of `num_pieces` learned linear maps.

        h_u(x) = max over j < k of  x·W[:, u·k + j] + b[u·k + j]

    The pieces of a unit are *adjacent* outputs of one matrix product, as in pylearn2;
    `from_strided_pieces` converts weights of the other convention (TensorFlow Addons). There is
    no other activation: the max of linear maps is the learned one, convex and piecewise linear.
    Where pieces tie, the gradient goes to the first.

    Shapes:
        in `(batch, …, features)`, out `(batch, …, units)`. Weights: `kernel`
        (features, units × num_pieces), `bias` (units × num_pieces,).

    Args:
        units: U, the number of outputs.
        num_pieces: k, linear maps per unit. Default 2, as in the paper's CIFAR-10 convolutions;
            1 is a linear layer.
        use_bias: whether each piece has a bias. Default True.
        kernel_initializer: Glorot uniform, for all U·k outputs together.
        bias_initializer: zeros.
        kernel_regularizer: penalty on the kernel. See `MomentumSGD` for weight decay.
        bias_regularizer: penalty on the bias.
        kernel_constraint: projection after each step; the paper uses a maximal norm,
            `keras.constraints.MaxNorm`.
        bias_constraint: projection after each step.
        **kwargs: of `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Raises:
        ArgumentError: `units` or `num_pieces` is not an integer ≥ 1.

    Example:
        >>> import keras
        >>> layer = MaxoutDense(500, num_pieces=5)
        >>> tuple(layer(keras.ops.ones((1, 64))).shape), tuple(layer.kernel.shape)
        ((1, 500), (64, 2500))

    References:
        Lecture, slide "Rectified Linear Unit Modifications"; Goodfellow, Warde-Farley, Mirza,
        Courville, Bengio 2013, "Maxout Networks", section 3.
    """

    def __init__(
        self,
        units: int,
        num_pieces: int = 2,
        *,
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        kernel_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            use_bias=use_bias,
            kernel_initializer=kernel_initializer, bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer, bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint, bias_constraint=bias_constraint,
            **kwargs,
        )  # fmt: skip
        owner = self._owner
        self.units = geometry.canonical_integer(units, "units", owner=owner)
        self.num_pieces = geometry.canonical_integer(num_pieces, "num_pieces", owner=owner)
        self.input_spec = keras.layers.InputSpec(min_ndim=2)

    def build(self, input_shape: Shape) -> None:
        features = input_shape[-1]
        if features is None:
            raise ValueError(f"{self._owner}: the last axis must be known")
        outputs = self.units * self.num_pieces
        self.add_kernel_and_bias((features, outputs), (outputs,))
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: features})

    def call(self, inputs: Any) -> Any:
        pieces = keras.ops.matmul(inputs, self.kernel)
        if self.bias is not None:
            pieces = pieces + self.bias
        return largest_piece(pieces_first(pieces, self.num_pieces), self.num_pieces)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "num_pieces": self.num_pieces}


@keras.saving.register_keras_serializable(package="convforge")
class MaxoutConv2D(BaseConv2D):
    """Convolutional Maxout: each feature map is the largest of `num_pieces` convolutions.

        O[x, y, c] = max over j < k of  (I ⊛ K_{c·k + j})[x, y] + b_{c·k + j}

    with the convolution ⊛ of equation (3). It is *one* convolution with `filters × num_pieces`
    kernels and then the max over adjacent channels; `from_strided_pieces` converts weights of
    the other convention (TensorFlow Addons). Where pieces tie, the gradient goes to the first.

    Shapes:
        in `(batch, height, width, channels)`, out `(batch, height', width', filters)`;
        channels second with `data_format="channels_first"`. Height and width may be unknown.
        Weights: `kernel` (k_h, k_w, channels / groups, filters × num_pieces), `bias`
        (filters × num_pieces,).

    Args:
        filters: the number of output channels; there are `filters × num_pieces` kernels.
        kernel_size: an integer or a pair (height, width).
        num_pieces: k, kernels per output channel. Default 2, as in the paper's CIFAR-10 net; 1
            is a linear convolution.
        strides: as for `Conv2D`. Default 1.
        padding: as for `Conv2D`. Default 0.
        mode: as for `Conv2D`. Default "cross_correlation".
        groups: as for `Conv2D`; a unit's pieces are in one group. Default 1.
        use_bias: whether each piece has a bias. Default True.
        kernel_initializer: Keras' default, Glorot uniform.
        bias_initializer: zeros.
        kernel_regularizer: penalty on the kernels. See `MomentumSGD` for weight decay.
        bias_regularizer: penalty on the biases.
        kernel_constraint: projection after each step; the paper uses a maximal norm.
        bias_constraint: projection after each step.
        data_format: as for `Conv2D`.
        **kwargs: of `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Raises:
        ArgumentError: a value out of range, channels not divisible by groups, or a kernel larger
            than the padded map.

    Example:
        >>> import keras
        >>> layer = MaxoutConv2D(96, 8, num_pieces=2, padding=4)
        >>> tuple(layer(keras.ops.ones((1, 32, 32, 3))).shape), tuple(layer.kernel.shape)
        ((1, 33, 33, 96), (8, 8, 3, 192))

    References:
        Lecture, slide "Rectified Linear Unit Modifications"; Goodfellow, Warde-Farley, Mirza,
        Courville, Bengio 2013, "Maxout Networks", section 3.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        num_pieces: int = 2,
        strides: int | Sequence[int] = 1,
        padding: PaddingLike = 0,
        *,
        mode: Mode = "cross_correlation",
        groups: int = 1,
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
        self.num_pieces = geometry.canonical_integer(num_pieces, "num_pieces", owner=self._owner)

    @property
    def _kernels(self) -> int:
        return self.filters * self.num_pieces

    def call(self, inputs: Any) -> Any:
        kernel = pieces_first(self.kernel, self.num_pieces, self.groups)
        bias = self.bias
        if bias is not None:
            bias = pieces_first(bias, self.num_pieces, self.groups)
        pieces = self.convolve(inputs, kernel, bias)
        return largest_piece(pieces, self.num_pieces, self.groups, axis=self._channel_axis)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_pieces": self.num_pieces}


def from_strided_pieces(weight: ArrayLike, num_pieces: int) -> np.ndarray:
    """A kernel or bias of TensorFlow Addons' Maxout, its outputs reordered for ours.

    Ours, as pylearn2's, takes the pieces of unit u from adjacent outputs, u·k to u·k + k − 1.
    TensorFlow Addons took them U units apart: u, u + U, u + 2U, … With U = outputs / k,

        ours[…, u·k + j] = strided[…, j·U + u]

    Args:
        weight: an array whose last axis are the outputs, U·k of them. `groups=1`: across
            groups the strided convention mixes outputs that ours keeps apart.
        num_pieces: k.

    Returns:
        The reordered copy, of the same shape.

    Raises:
        ArgumentError: `num_pieces` does not divide the outputs.

    Example:
        Two units of three pieces; in the strided order 0 2 4 belong to one unit:

        >>> from_strided_pieces([0, 1, 2, 3, 4, 5], num_pieces=3).tolist()
        [0, 2, 4, 1, 3, 5]
    """
    strided = np.asarray(weight)
    outputs = strided.shape[-1]
    if num_pieces < 1 or outputs % num_pieces:
        allowed = f"a divisor of the {outputs} outputs"
        raise ArgumentError("num_pieces", num_pieces, allowed)
    pieces_first = strided.reshape(*strided.shape[:-1], num_pieces, outputs // num_pieces)
    return pieces_first.swapaxes(-1, -2).reshape(strided.shape)
