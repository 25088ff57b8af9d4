"""What a config may say of each layer, and what follows from it without building weights.

A spec is the typed form of one entry of `model.layers`. From a spec and the shape of its input
follow the output shape (equation (2)), the number of parameters and of multiply-adds; Keras is
not imported. `convforge.models.build` turns the same specs into Keras layers.

Shapes are without the batch: `(height, width, channels)` or `(units,)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any, ClassVar, Literal, TypeAlias

from convforge import geometry
from convforge.geometry import ArgumentError, Mode, Region

Shape: TypeAlias = tuple[int, ...]
#: What the net does to the pixels first.
Normalize: TypeAlias = Literal["standardize", "center", "none"]
Activation: TypeAlias = Literal["linear", "sigmoid", "tanh", "relu", "prelu", "maxout"]


def _spatial(input_shape: Shape) -> tuple[int, int, int]:
    if len(input_shape) != 3:
        raise ValueError(
            f"needs a map of height, width and channels, but gets {input_shape}; "
            "put it before the flatten layer"
        )
    height, width, channels = input_shape
    return height, width, channels


def _flat(input_shape: Shape) -> int:
    if len(input_shape) != 1:
        raise ValueError(
            f"needs a flat input, but gets a map of {input_shape}; put a flatten layer before it"
        )
    return input_shape[0]


#: The most that a config may ask of a layer: its outputs, and the sides of its window. Far above
#: any net's, and far below what a backend cannot count.
MOST_OUTPUTS = 2**20
MOST_SIDE = 2**14


def _at_most(most: int, argument: str, value: Any) -> None:
    """Refuse `value`, in its canonical form, where a number in it is greater than `most`."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, tuple):
            left += item
        elif isinstance(item, int) and item > most:
            raise ArgumentError(argument, item, f"an integer ≤ {most:,}")


@dataclass(frozen=True, kw_only=True)
class LayerSpec:
    """A layer that keeps its input's shape and has no parameters; the others override."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        """Refuse values out of range; the end of the chain of `super()` calls."""

    @property
    def pieces(self) -> int:
        """Linear maps behind each output; more than one in a Maxout layer."""
        return 1

    @property
    def reach(self) -> tuple[geometry.Pair, geometry.Pair]:
        """The window of the input map that one output sees, and its step."""
        return (1, 1), (1, 1)

    def output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the output map for `input_shape`."""
        return input_shape

    def parameters(self, input_shape: Shape) -> int:
        """The number of learned parameters."""
        return 0

    def multiply_adds(self, input_shape: Shape) -> int:
        """The number of multiply-adds for one example, forward."""
        return 0

    @property
    def learns(self) -> bool:
        """Whether it has learned parameters, whatever its input."""
        return False


@dataclass(frozen=True, kw_only=True)
class WindowSpec(LayerSpec):
    """A layer that moves a window over the map: a convolution or a pooling."""

    #: The field that holds the window's size.
    window_argument: ClassVar[str]
    # Not `int | …`: geometry's canonical forms decide, with one error instead of one for each
    # member of a union.
    strides: Any = 1
    padding: Any = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_most(MOST_SIDE, self.window_argument, self.window)
        _at_most(MOST_SIDE, "strides", geometry.canonical_pair(self.step, "strides"))
        _at_most(MOST_SIDE, "padding", geometry.canonical_padding(self.padding))

    @property
    def window(self) -> geometry.Pair:
        """Height and width of the window."""
        return geometry.canonical_pair(getattr(self, self.window_argument), self.window_argument)

    @property
    def step(self) -> geometry.Pair:
        """Vertical and horizontal stride."""
        return geometry.canonical_pair(self.strides, "strides")

    @property
    def reach(self) -> tuple[geometry.Pair, geometry.Pair]:
        return self.window, self.step

    def _window_output(self, input_shape: Shape, channels: int) -> Shape:
        height, width, _ = _spatial(input_shape)
        rows, columns = geometry.output_shape(
            (height, width),
            self.window,
            self.step,
            geometry.canonical_padding(self.padding),
            argument=self.window_argument,
        )
        assert rows is not None
        assert columns is not None
        return (rows, columns, channels)


#: Keras' names of initializers that scale with a kernel's number of inputs.
INITIALIZERS = ("glorot_uniform", "glorot_normal", "he_uniform", "he_normal")


@dataclass(frozen=True, kw_only=True)
class KernelSpec(LayerSpec):
    """What every layer with a kernel and a bias may say of them."""

    use_bias: bool = True
    #: A name of INITIALIZERS; `{normal: σ}` for N(0, σ) and `{uniform: a}` for U(−a, a), as the
    #: classic nets say; None for the layer's own.
    kernel_initializer: Any = None
    #: What every bias starts from; AlexNet's 1 keeps its ReLUs open at first.
    initial_bias: float = 0.0
    #: The greatest Euclidean norm that each kernel may have after an iteration; None for none.
    max_norm: float | None = None

    @property
    def learns(self) -> bool:
        return True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.kernel_initializer is None or _is_initializer(self.kernel_initializer)):
            allowed = f"{', '.join(INITIALIZERS)}, {{normal: σ}} or {{uniform: a}}, σ and a > 0"
            raise ArgumentError("kernel_initializer", self.kernel_initializer, allowed)
        if self.max_norm is not None and self.max_norm <= 0:
            raise ArgumentError("max_norm", self.max_norm, "a number > 0, or null")


def _is_initializer(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return value in INITIALIZERS
    if len(value) != 1 or set(value) - {"normal", "uniform"}:
        return False
    (scale,) = value.values()
    number = isinstance(scale, int | float) and not isinstance(scale, bool)
    return number and scale > 0 and isfinite(scale)


@dataclass(frozen=True, kw_only=True)
class FiltersSpec(WindowSpec, KernelSpec):
    """A window of `filters` kernels over all input channels, shared between places or not."""

    window_argument: ClassVar[str] = "kernel_size"
    filters: int
    kernel_size: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_most(MOST_OUTPUTS, "filters", geometry.canonical_integer(self.filters, "filters"))

    @property
    def kernels(self) -> int:
        """The number of kernels, all pieces of a Maxout unit counted."""
        return self.filters * self.pieces

    def output_shape(self, input_shape: Shape) -> Shape:
        return self._window_output(input_shape, self.filters)


@dataclass(frozen=True, kw_only=True)
class ConvolutionSpec(FiltersSpec):
    """What `conv2d` and `maxout_conv2d` share: the same kernels at every place."""

    mode: Mode = "cross_correlation"
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        geometry.canonical_integer(self.groups, "groups")
        if self.filters % self.groups:
            raise ArgumentError("groups", self.groups, f"a divisor of the {self.filters} filters")

    def output_shape(self, input_shape: Shape) -> Shape:
        channels = _spatial(input_shape)[2]
        if channels % self.groups:
            raise ArgumentError("groups", self.groups, f"a divisor of the {channels} channels")
        return super().output_shape(input_shape)

    def parameters(self, input_shape: Shape) -> int:
        return geometry.conv_parameters(
            self.window,
            _spatial(input_shape)[2],
            self.kernels,
            groups=self.groups,
            use_bias=self.use_bias,
        )

    def multiply_adds(self, input_shape: Shape) -> int:
        rows, columns, _ = self.output_shape(input_shape)
        return geometry.conv_multiply_adds(
            (rows, columns),
            self.window,
            _spatial(input_shape)[2],
            self.kernels,
            groups=self.groups,
        )


@dataclass(frozen=True, kw_only=True)
class PiecesSpec(LayerSpec):
    """A Maxout layer: each output is the largest of `num_pieces` linear maps."""

    num_pieces: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        pieces = geometry.canonical_integer(self.num_pieces, "num_pieces")
        _at_most(MOST_SIDE, "num_pieces", pieces)

    @property
    def pieces(self) -> int:
        return self.num_pieces


@dataclass(frozen=True, kw_only=True)
class ActivatedSpec(PiecesSpec):
    """A layer with an activation; "maxout" and "prelu" bring parameters of their own."""

    activation: Activation = "linear"

    @property
    def pieces(self) -> int:
        return self.num_pieces if self.activation == "maxout" else 1

    def parameters(self, input_shape: Shape) -> int:
        slopes = self.output_shape(input_shape)[-1] if self.activation == "prelu" else 0
        return super().parameters(input_shape) + slopes


@dataclass(frozen=True, kw_only=True)
class Conv2DSpec(ActivatedSpec, ConvolutionSpec):
    """A convolution (3) with bias and activation (4)."""

    type: Literal["conv2d"] = "conv2d"


@dataclass(frozen=True, kw_only=True)
class MaxoutConv2DSpec(PiecesSpec, ConvolutionSpec):
    """The largest of `num_pieces` convolutions (Goodfellow et al. 2013)."""

    type: Literal["maxout_conv2d"] = "maxout_conv2d"


@dataclass(frozen=True, kw_only=True)
class LocallyConnected2DSpec(ActivatedSpec, FiltersSpec):
    """A convolution that shares no weights between places."""

    type: Literal["locally_connected"] = "locally_connected"

    def parameters(self, input_shape: Shape) -> int:
        rows, columns, filters = self.output_shape(input_shape)
        weights = geometry.local_parameters(
            (rows, columns),
            self.window,
            _spatial(input_shape)[2],
            self.kernels,
            use_bias=self.use_bias,
        )
        return weights + (filters if self.activation == "prelu" else 0)

    def multiply_adds(self, input_shape: Shape) -> int:
        rows, columns, _ = self.output_shape(input_shape)
        return geometry.conv_multiply_adds(
            (rows, columns), self.window, _spatial(input_shape)[2], self.kernels
        )


@dataclass(frozen=True, kw_only=True)
class PoolSpec(WindowSpec):
    """A pooling window of `pool_size`; `strides` below it makes the windows overlap."""

    window_argument: ClassVar[str] = "pool_size"
    pool_size: Any = 2
    strides: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        geometry.pool_padding(self.padding, self.window)

    @property
    def step(self) -> geometry.Pair:
        return self.window if self.strides is None else super().step

    def output_shape(self, input_shape: Shape) -> Shape:
        return self._window_output(input_shape, _spatial(input_shape)[2])


@dataclass(frozen=True, kw_only=True)
class MaxPoolSpec(PoolSpec):
    """The largest value of each window."""

    type: Literal["max_pool"] = "max_pool"


@dataclass(frozen=True, kw_only=True)
class AveragePoolSpec(PoolSpec):
    """The mean of each window."""

    type: Literal["average_pool"] = "average_pool"


@dataclass(frozen=True, kw_only=True)
class FullyConnectedSpec(KernelSpec):
    """What `dense` and `maxout_dense` share. `units: null` means one for each class."""

    units: int | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.units is not None:
            _at_most(MOST_OUTPUTS, "units", geometry.canonical_integer(self.units, "units"))

    @property
    def outputs(self) -> int:
        """The number of units, known once the classes are (`resolve_classes`)."""
        assert self.units is not None, "resolve_classes comes first"
        return self.units

    @property
    def linear_maps(self) -> int:
        """The number of linear maps, all pieces of a Maxout unit counted."""
        return self.outputs * self.pieces

    def output_shape(self, input_shape: Shape) -> Shape:
        _flat(input_shape)
        return (self.outputs,)

    def parameters(self, input_shape: Shape) -> int:
        return geometry.dense_parameters(
            _flat(input_shape), self.linear_maps, use_bias=self.use_bias
        )

    def multiply_adds(self, input_shape: Shape) -> int:
        return self.linear_maps * _flat(input_shape)


@dataclass(frozen=True, kw_only=True)
class DenseSpec(ActivatedSpec, FullyConnectedSpec):
    """A fully connected layer with bias and activation."""

    type: Literal["dense"] = "dense"


@dataclass(frozen=True, kw_only=True)
class MaxoutDenseSpec(PiecesSpec, FullyConnectedSpec):
    """The largest of `num_pieces` linear maps (Goodfellow et al. 2013)."""

    type: Literal["maxout_dense"] = "maxout_dense"


@dataclass(frozen=True, kw_only=True)
class ActivationSpec(PiecesSpec):
    """An activation as a layer of its own, after a normalisation, say.

    "maxout" takes the largest of `num_pieces` adjacent channels, so it leaves fewer of them.
    """

    type: Literal["activation"] = "activation"
    function: Activation

    @property
    def pieces(self) -> int:
        return self.num_pieces if self.function == "maxout" else 1

    def output_shape(self, input_shape: Shape) -> Shape:
        *sizes, channels = input_shape
        if channels % self.pieces:
            allowed = f"a divisor of the {channels} channels"
            raise ArgumentError("num_pieces", self.num_pieces, allowed)
        return (*sizes, channels // self.pieces)

    def parameters(self, input_shape: Shape) -> int:
        return input_shape[-1] if self.learns else 0

    @property
    def learns(self) -> bool:
        return self.function == "prelu"


@dataclass(frozen=True, kw_only=True)
class PReLUSpec(LayerSpec):
    """A learned slope for the negative part, one for each channel."""

    type: Literal["prelu"] = "prelu"
    initial_slope: float = 0.25

    @property
    def learns(self) -> bool:
        return True

    def parameters(self, input_shape: Shape) -> int:
        return input_shape[-1]


@dataclass(frozen=True, kw_only=True)
class BatchNormalizationSpec(LayerSpec):
    """Normalisation by the batch; `momentum` weighs the *old* running average (Keras)."""

    type: Literal["batch_normalization"] = "batch_normalization"
    # Keras' 0.99 needs thousands of steps to forget its start; short runs need 0.9 or less.
    momentum: float = 0.9
    epsilon: float = 1e-3

    @property
    def learns(self) -> bool:
        return True

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ArgumentError("momentum", self.momentum, "a number in [0, 1)")
        if self.epsilon <= 0:
            raise ArgumentError("epsilon", self.epsilon, "a number > 0")

    def parameters(self, input_shape: Shape) -> int:
        return 2 * input_shape[-1]


@dataclass(frozen=True, kw_only=True)
class LocalResponseNormalizationSpec(LayerSpec):
    """Division by the energy of neighbours: AlexNet's, and its four constants."""

    type: Literal["local_response_normalization"] = "local_response_normalization"
    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0
    region: Region = "across_channels"

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_most(MOST_SIDE, "size", geometry.canonical_integer(self.size, "size"))
        if self.size % 2 == 0:
            raise ArgumentError("size", self.size, "an odd integer ≥ 1")
        if self.alpha < 0:
            raise ArgumentError("alpha", self.alpha, "a number ≥ 0")
        if self.k <= 0:
            raise ArgumentError("k", self.k, "a number > 0")

    @property
    def reach(self) -> tuple[geometry.Pair, geometry.Pair]:
        size = self.size if self.region == "within_channel" else 1
        return (size, size), (1, 1)

    def output_shape(self, input_shape: Shape) -> Shape:
        return _spatial(input_shape)


@dataclass(frozen=True, kw_only=True)
class DropoutSpec(LayerSpec):
    """Sets outputs to zero with probability p_d = `rate` while training."""

    type: Literal["dropout"] = "dropout"
    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ArgumentError("rate", self.rate, "a probability in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class FlattenSpec(LayerSpec):
    """A map as one vector."""

    type: Literal["flatten"] = "flatten"

    def output_shape(self, input_shape: Shape) -> Shape:
        return (prod(input_shape),)


@dataclass(frozen=True, kw_only=True)
class SoftmaxSpec(LayerSpec):
    """Equation (8): class probabilities."""

    type: Literal["softmax"] = "softmax"


AnyLayerSpec: TypeAlias = (
    Conv2DSpec
    | MaxoutConv2DSpec
    | LocallyConnected2DSpec
    | MaxPoolSpec
    | AveragePoolSpec
    | DenseSpec
    | MaxoutDenseSpec
    | ActivationSpec
    | PReLUSpec
    | BatchNormalizationSpec
    | LocalResponseNormalizationSpec
    | DropoutSpec
    | FlattenSpec
    | SoftmaxSpec
)
