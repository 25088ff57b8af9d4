"""Local response normalisation, AlexNet's; batch normalisation is Keras' own layer."""

from __future__ import annotations

from typing import Any, get_args

import keras

from convforge import geometry
from convforge.geometry import ArgumentError, Region
from convforge.layers.arguments import DataFormat, Shape
from convforge.layers.base_layers import MapLayer
from convforge.layers.padding import pad_map


@keras.saving.register_keras_serializable(package="convforge")
class LocalResponseNormalization(MapLayer):
    """Local response normalisation: a value is damped by the energy of its neighbours.

        b_i = a_i / (k + α · Σ_j a_j²)^β

    over the `size` neighbours j around i: the adjacent channels at the same place
    ("across_channels", AlexNet), or the places of a size×size window in the same channel
    ("within_channel", cuda-convnet's `rnorm`). Neighbours beyond the border count as zero.

    The sum is *not* divided by the number of neighbours, as in the paper. cuda-convnet and
    PyTorch do divide: give α = their α / size (`rnorm`: / size²). TensorFlow's
    `depth_radius=r` is size = 2r + 1.

    Shapes:
        in and out `(batch, height, width, channels)`, the same shape, channels second with
        `data_format="channels_first"`; height and width may be unknown. No weights.

    Args:
        size: n, the neighbours, an odd number. Default 5.
        alpha: α ≥ 0. Default 1e-4.
        beta: the exponent. Default 0.75.
        k: the constant > 0. Default 2. The four defaults are the paper's.
        region: "across_channels" (default) or "within_channel".
        data_format: "channels_last" or "channels_first"; None for Keras' setting.
        **kwargs: of `keras.layers.Layer`: `name`, `dtype`.

    Raises:
        ArgumentError: a value out of range.

    Example:
        >>> import keras
        >>> layer = LocalResponseNormalization(size=3, alpha=1.0, beta=0.5, k=7.0)
        >>> pixel = keras.ops.reshape(keras.ops.array([3.0, 0.0, 0.0]), (1, 1, 1, 3))
        >>> keras.ops.convert_to_numpy(layer(pixel)).ravel().round(4).tolist()
        [0.75, 0.0, 0.0]

    References:
        Krizhevsky, Sutskever, Hinton 2012, section 3.3; dnouri/cuda-convnet, `rnorm`, `cmrnorm`.
    """

    def __init__(
        self,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 2.0,
        *,
        region: Region = "across_channels",
        data_format: DataFormat | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        owner = self._owner
        self.size = geometry.canonical_integer(size, "size", owner=owner)
        if self.size % 2 == 0:
            raise ArgumentError("size", size, "an odd integer ≥ 1", owner=owner)
        if alpha < 0:
            raise ArgumentError("alpha", alpha, "a number ≥ 0", owner=owner)
        if k <= 0:
            raise ArgumentError("k", k, "a number > 0", owner=owner)
        if region not in get_args(Region):
            allowed = " or ".join(map(repr, get_args(Region)))
            raise ArgumentError("region", region, allowed, owner=owner)
        self.alpha = float(alpha)
        self.beta = float(beta)
        self.k = float(k)
        self.region = region
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def call(self, inputs: Any) -> Any:
        # In half precision the square of 256 is already infinite.
        wide = keras.backend.result_type(self.compute_dtype, "float32")
        squares = keras.ops.square(keras.ops.cast(inputs, wide))
        across = self.region == "across_channels"
        energy = self._across_channels(squares) if across else self._within_channel(squares)
        # Not `power`, which takes four times as long on TensorFlow's CPUs.
        damping = keras.ops.exp(-self.beta * keras.ops.log(self.k + self.alpha * energy))
        return inputs * keras.ops.cast(damping, inputs.dtype)

    def _across_channels(self, squares: Any) -> Any:
        axis = self._channel_axis % 4
        channels, radius = squares.shape[axis], self.size // 2
        widths = [(radius, radius) if i == axis else (0, 0) for i in range(4)]
        padded = keras.ops.pad(squares, widths)
        before = (slice(None),) * axis
        return sum(padded[(*before, slice(i, i + channels))] for i in range(self.size))

    def _within_channel(self, squares: Any) -> Any:
        side = (self.size // 2, self.size // 2)
        padded = pad_map(squares, (side, side), self.data_format)
        mean = keras.ops.average_pool(padded, self.size, 1, "valid", data_format=self.data_format)
        return mean * self.size**2

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "size": self.size,
            "alpha": self.alpha,
            "beta": self.beta,
            "k": self.k,
            "region": self.region,
        }
