"""The arithmetic of windows that move over maps: sizes, padding, receptive field, counts.

Pure functions of integers. Layers, model summaries and error messages all use these, so that
they cannot disagree; nothing here imports Keras or NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from numbers import Integral
from typing import Any, Literal, TypeAlias

Pair: TypeAlias = tuple[int, int]
#: How a kernel lies on the map: as it is, or turned by 180°, as equation (3) has it.
Mode: TypeAlias = Literal["cross_correlation", "convolution"]
#: Where the neighbours are that a local response normalisation counts.
Region: TypeAlias = Literal["across_channels", "within_channel"]
Padding: TypeAlias = Literal["valid", "same"] | tuple[Pair, Pair]
#: What users may give: `canonical_padding` says what each form means.
PaddingLike: TypeAlias = int | Sequence[int] | Sequence[Sequence[int]] | Literal["valid", "same"]

_PADDING_ALLOWED = 'an integer ≥ 0, a pair, a pair of pairs, "valid" or "same"'


class ArgumentError(ValueError):
    """An argument outside what is allowed.

    Attributes:
        argument: the argument's name, such as "padding".
        value: the value received.
        allowed: in words, what may be given.
        owner: whose argument it is, such as "Conv2D 'conv1'", or an empty string.

    Example:
        >>> print(ArgumentError("strides", 0, "an integer ≥ 1", owner="Conv2D 'conv1'"))
        Conv2D 'conv1': strides=0 is not allowed: give an integer ≥ 1
    """

    # Keras adds a call's arguments to what a layer raises in `call`, by making a new exception of
    # the message alone: of an error with more fields it makes a RuntimeError. Not where it finds
    # this mark, its own for an error that says enough.
    _keras_call_info_injected = True

    def __init__(self, argument: str, value: Any, allowed: str, *, owner: str = "") -> None:
        self.argument = argument
        self.value = value
        self.allowed = allowed
        self.owner = owner
        prefix = f"{owner}: " if owner else ""
        super().__init__(f"{prefix}{argument}={value!r} is not allowed: give {allowed}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (_argument_error, (self.argument, self.value, self.allowed, self.owner))


def _argument_error(argument: str, value: Any, allowed: str, owner: str) -> ArgumentError:
    return ArgumentError(argument, value, allowed, owner=owner)


def _is_integer(value: Any, minimum: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= minimum


def _is_pair(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2


def canonical_integer(value: Any, argument: str, minimum: int = 1, *, owner: str = "") -> int:
    """`value` if it is an integer of at least `minimum`.

    Args:
        value: what a user gave.
        argument: its name, for the error.
        minimum: the least allowed integer.
        owner: whose argument it is, for the error.

    Raises:
        ArgumentError: anything else, booleans and floats included.

    Example:
        >>> canonical_integer(3, "num_pieces")
        3
    """
    if not _is_integer(value, minimum):
        raise ArgumentError(argument, value, f"an integer ≥ {minimum}", owner=owner)
    return int(value)


def canonical_pair(value: Any, argument: str, minimum: int = 1, *, owner: str = "") -> Pair:
    """`(vertical, horizontal)` from an integer or a pair (tuple, or list as YAML gives).

    Args:
        value: what a user gave.
        argument: its name, for the error.
        minimum: the least allowed integer.
        owner: whose argument it is, for the error.

    Raises:
        ArgumentError: not an integer ≥ `minimum` or a pair of them; booleans and floats are not.

    Example:
        >>> canonical_pair(3, "kernel_size"), canonical_pair([3, 1], "strides")
        ((3, 3), (3, 1))
    """
    if _is_integer(value, minimum):
        return (int(value), int(value))
    if _is_pair(value) and all(_is_integer(size, minimum) for size in value):
        return (int(value[0]), int(value[1]))
    allowed = f"an integer ≥ {minimum} or a pair of them"
    raise ArgumentError(argument, value, allowed, owner=owner)


def canonical_padding(value: Any, argument: str = "padding", *, owner: str = "") -> Padding:
    """`"valid"`, `"same"` or `((top, bottom), (left, right))`.

    Args:
        value: an integer (the lecture's scalar: that many zeros on each side), a pair
            `(vertical, horizontal)`, a pair of pairs `((top, bottom), (left, right))`,
            `"valid"` (no padding) or `"same"` (output size = ceil(size / stride)). Lists are as
            good as tuples, since YAML gives lists.
        argument: its name, for the error.
        owner: whose argument it is, for the error.

    Raises:
        ArgumentError: anything else: booleans, floats, negative numbers, other strings.

    Example:
        >>> canonical_padding(2), canonical_padding([[0, 3], [0, 3]]), canonical_padding("same")
        (((2, 2), (2, 2)), ((0, 3), (0, 3)), 'same')
    """
    if isinstance(value, str) and value in ("valid", "same"):
        return "valid" if value == "valid" else "same"
    vertical, horizontal = value if _is_pair(value) else (value, value)
    try:
        return (
            canonical_pair(vertical, argument, minimum=0),
            canonical_pair(horizontal, argument, minimum=0),
        )
    except ArgumentError:
        raise ArgumentError(argument, value, _PADDING_ALLOWED, owner=owner) from None


def pool_padding(value: Any, pool_size: Pair, *, owner: str = "") -> Padding:
    """`canonical_padding` for a pooling window, which must see at least one value of the map.

    Args:
        value: as for `canonical_padding`.
        pool_size: the window.
        owner: whose argument it is, for the error.

    Raises:
        ArgumentError: as `canonical_padding`, or a side is not smaller than the window.

    Example:
        >>> pool_padding(1, (3, 3))
        ((1, 1), (1, 1))
    """
    padding = canonical_padding(value, owner=owner)
    if not isinstance(padding, str) and any(
        max(sides) >= size for sides, size in zip(padding, pool_size, strict=True)
    ):
        allowed = f"less than pool_size={pool_size}, or a window would see padding alone"
        raise ArgumentError("padding", value, allowed, owner=owner)
    return padding


def same_padding(size: int, kernel: int, stride: int) -> Pair:
    """Zeros `(before, after)` that make the output size ceil(size / stride).

    The odd one goes after, as TensorFlow and JAX do.

    Args:
        size: of the map along this axis.
        kernel: the window's size.
        stride: the window's step.

    Example:
        >>> same_padding(32, 5, 1), same_padding(32, 3, 2)
        ((2, 2), (0, 1))
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return (total // 2, total - total // 2)


def native_padding(
    shape: tuple[int | None, int | None], kernel: Pair, strides: Pair, padding: Padding
) -> Literal["valid", "same"] | None:
    """The backend's own name for `padding` on this map, or None if it has none.

    Backends pad inside their kernels where they can, which is faster than a padded copy of the
    map. At stride 1 a padding of (k − 1) / 2 is "same" whatever the size of the map.

    Args:
        shape: height and width of the input map, None where unknown.
        kernel: height and width of the window.
        strides: vertical and horizontal step.
        padding: in canonical form.

    Example:
        >>> native_padding((None, None), (5, 5), (1, 1), ((2, 2), (2, 2)))
        'same'
        >>> native_padding((32, 32), (3, 3), (2, 2), ((1, 1), (1, 1))) is None
        True
    """
    if isinstance(padding, str):
        return padding
    if padding == ((0, 0), (0, 0)):
        return "valid"
    for size, k, stride, sides in zip(shape, kernel, strides, padding, strict=True):
        if stride == 1:
            size = 1  # "same" pads by k − 1 in all, whatever the size.
        if size is None or sides != same_padding(size, k, stride):
            return None
    return "same"


def border(
    shape: tuple[int | None, int | None], kernel: Pair, strides: Pair, padding: Padding
) -> tuple[Pair, Pair] | None:
    """Zeros `((top, bottom), (left, right))` that `padding` puts around this map.

    Args:
        shape: height and width of the map, None where unknown.
        kernel: height and width of the window.
        strides: vertical and horizontal step.
        padding: in canonical form.

    Returns:
        The border, or None where it depends on an unknown size.

    Example:
        >>> border((32, 32), (5, 3), (1, 2), "same"), border((None, 32), (5, 3), (1, 2), "same")
        (((2, 2), (0, 1)), None)
    """
    if padding == "valid":
        return ((0, 0), (0, 0))
    if padding != "same":
        return padding
    (height, width), (down, right) = shape, strides
    if height is None or width is None:
        return None
    return (same_padding(height, kernel[0], down), same_padding(width, kernel[1], right))


def output_size(
    size: int | None,
    kernel: int,
    stride: int = 1,
    padding: Literal["valid", "same"] | int | Pair = 0,
    *,
    owner: str = "",
) -> int | None:
    """Equation (2) along one axis: W^O = ⌊(W' + before + after − k) / stride⌋ + 1.

    The lecture writes 2·pad for before + after. Where the stride does not divide, the last
    partial step is not taken: the floor.

    Args:
        size: W', or None where it is not known yet.
        kernel: k, the window's size along this axis.
        stride: the window's step.
        padding: zeros on either side, a pair `(before, after)`, "valid" (none) or "same".
        owner: whose window it is, for the error.

    Returns:
        W^O, or None for an unknown `size`.

    Raises:
        ArgumentError: the kernel is larger than the padded map.

    Example:
        The lecture's 10×10 map under a 3×3 kernel:

        >>> output_size(10, 3, stride=1), output_size(10, 3, stride=3)
        (8, 3)
        >>> output_size(10, 3, stride=3, padding=1)
        4
    """
    if size is None:
        return None
    if padding == "same":
        return -(-size // stride)
    before, after = _sides(padding)
    padded = size + before + after
    if kernel > padded:
        allowed = f"at most {padded}, the size {size} of the map and its padding of {before} and "
        raise ArgumentError("kernel_size", kernel, f"{allowed}{after}", owner=owner)
    return (padded - kernel) // stride + 1


def _sides(padding: str | int | Pair) -> Pair:
    if isinstance(padding, int):
        return (padding, padding)
    if isinstance(padding, str):
        return (0, 0)
    return padding


def output_shape(
    shape: tuple[int | None, int | None],
    kernel: Pair,
    strides: Pair = (1, 1),
    padding: Padding = "valid",
    *,
    owner: str = "",
    argument: str = "kernel_size",
) -> tuple[int | None, int | None]:
    """Equation (2) for a map: `(height, width)` of the output, None where unknown.

    Args:
        shape: height and width of the map, None where unknown.
        kernel: height and width of the window.
        strides: vertical and horizontal step.
        padding: in canonical form.
        owner: whose window it is, for the error.
        argument: the window's name, for the error: "pool_size" for a pooling window.

    Raises:
        ArgumentError: the kernel is larger than the padded map.

    Example:
        AlexNet's first layer, 11×11 kernels with stride 4 on 224×224 pixels:

        >>> output_shape((224, 224), (11, 11), (4, 4), ((0, 3), (0, 3)))
        (55, 55)
    """
    try:
        rows, columns = (
            output_size(shape[axis], kernel[axis], strides[axis], axis_padding(padding, axis))
            for axis in (0, 1)
        )
    except ArgumentError as error:
        (top, bottom), (left, right) = padding if isinstance(padding, tuple) else ((0, 0), (0, 0))
        height, width = (
            "?" if size is None else size + added
            for size, added in zip(shape, (top + bottom, left + right), strict=True)
        )
        allowed = f"a window that fits into the padded map of {height}×{width}"
        raise ArgumentError(argument, kernel, allowed, owner=owner) from error
    return (rows, columns)


def axis_padding(padding: Padding, axis: int) -> Literal["valid", "same"] | Pair:
    """The part of a padding for one axis.

    Args:
        padding: in canonical form.
        axis: 0 (vertical) or 1 (horizontal).

    Example:
        >>> axis_padding(((0, 3), (1, 1)), 0), axis_padding("same", 0)
        ((0, 3), 'same')
    """
    return padding if isinstance(padding, str) else padding[axis]


def receptive_field(windows: Iterable[tuple[int, int]]) -> int:
    """How many input pixels along one axis a value of the last map depends on.

    r = 1 + Σ_l (k_l − 1) · Π_{m<l} stride_m

    Args:
        windows: `(kernel, stride)` of every convolution and pooling, in order.

    Example:
        Two 3×3 convolutions with a 2/2 pooling between:

        >>> receptive_field([(3, 1), (2, 2), (3, 1)])
        8
    """
    field, jump = 1, 1
    for kernel, stride in windows:
        field += (kernel - 1) * jump
        jump *= stride
    return field


def conv_parameters(
    kernel: Pair, channels: int, filters: int, *, groups: int = 1, use_bias: bool = True
) -> int:
    """Learned numbers of a convolution: M · (k·k·C' / groups + 1).

    Weight sharing: the size of the map does not appear.

    Args:
        kernel: height and width of a kernel.
        channels: C', of the input map.
        filters: M, the number of kernels (`filters × num_pieces` for a Maxout convolution).
        groups: each kernel reads `channels / groups` channels.
        use_bias: whether each kernel has a bias.

    Example:
        AlexNet's first two layers:

        >>> conv_parameters((11, 11), 3, 96), conv_parameters((5, 5), 96, 256, groups=2)
        (34944, 307456)
    """
    return filters * (prod(kernel) * channels // groups + use_bias)


def conv_multiply_adds(
    output: Pair, kernel: Pair, channels: int, filters: int, *, groups: int = 1
) -> int:
    """Multiply-adds of a convolution on one image: H^O · W^O · M · k·k·C' / groups.

    Args:
        output: height and width of the output map.
        kernel: height and width of a kernel.
        channels: C', of the input map.
        filters: M, the number of kernels.
        groups: each kernel reads `channels / groups` channels.

    Example:
        >>> conv_multiply_adds((55, 55), (11, 11), 3, 96)
        105415200
    """
    return prod(output) * filters * prod(kernel) * channels // groups


def local_parameters(
    output: Pair, kernel: Pair, channels: int, filters: int, *, use_bias: bool = True
) -> int:
    """Learned numbers of a locally connected layer: H^O · W^O · M · (k·k·C' + 1).

    Kernels of their own at every place: no weight sharing.

    Args:
        output: height and width of the output map.
        kernel: height and width of a kernel.
        channels: C', of the input map.
        filters: M, the number of kernels at each place.
        use_bias: whether each kernel has a bias.

    Example:
        >>> local_parameters((6, 6), (3, 3), 64, 32)
        664704
    """
    return prod(output) * conv_parameters(kernel, channels, filters, use_bias=use_bias)


def dense_parameters(inputs: int, units: int, *, use_bias: bool = True) -> int:
    """Learned numbers of a fully connected layer: units · (inputs + 1).

    Args:
        inputs: numbers that go in.
        units: numbers that come out.
        use_bias: whether each unit has a bias.

    Example:
        >>> dense_parameters(4096, 1000)
        4097000
    """
    return units * (inputs + use_bias)


def fully_connected_parameters(
    input_shape: Sequence[int], output_shape: Sequence[int], *, use_bias: bool = True
) -> int:
    """What a fully connected layer between the same two maps would have to learn.

    The lecture's comparison: a convolution has `conv_parameters`, far fewer.

    Args:
        input_shape: of the map that goes in, without the batch.
        output_shape: of the map that comes out, without the batch.
        use_bias: whether each output has a bias.

    Example:
        AlexNet's first layer as a fully connected one, against 34,944:

        >>> fully_connected_parameters((224, 224, 3), (55, 55, 96))
        43713621600
    """
    return dense_parameters(prod(input_shape), prod(output_shape), use_bias=use_bias)
