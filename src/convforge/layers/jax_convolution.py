"""A convolution with any padding on JAX, where `keras.ops.conv` knows "valid" and "same" only.

Imported on that backend only. A padded copy of the map costs little forward, but the gradient is
then computed for the copy's border too: a twelfth of the whole step for a padding of 2 around 32.
"""

from __future__ import annotations

from typing import Any

import jax
import keras

from convforge.geometry import Pair
from convforge.layers.arguments import DataFormat


def correlate(
    inputs: Any, kernel: Any, strides: Pair, padding: tuple[Pair, Pair], data_format: DataFormat
) -> Any:
    """What `keras.ops.conv` computes, for `padding` in canonical form."""
    kernel = keras.ops.convert_to_tensor(kernel)
    inputs = keras.ops.convert_to_tensor(inputs, dtype=kernel.dtype)
    maps, channel_axis = ("NHWC", 3) if data_format == "channels_last" else ("NCHW", 1)
    return jax.lax.conv_general_dilated(
        inputs,
        kernel,
        strides,
        padding,
        dimension_numbers=(maps, "HWIO", maps),
        feature_group_count=inputs.shape[channel_axis] // kernel.shape[2],
    )
