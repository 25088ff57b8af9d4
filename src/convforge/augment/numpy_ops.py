"""NumPy under the names that `draw` and `apply` use: replays an augmentation without a backend."""

from typing import Any

import numpy as np
from numpy import (
    arange,
    bitwise_and,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    clip,
    concatenate,
    floor,
    maximum,
    minimum,
    reshape,
    shape,
    stack,
    sum,
    take,
    where,
)

__all__ = [
    "arange",
    "bitwise_and",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "cast",
    "clip",
    "concatenate",
    "floor",
    "maximum",
    "minimum",
    "reshape",
    "shape",
    "stack",
    "sum",
    "take",
    "where",
]


def cast(x: Any, dtype: str) -> np.ndarray:
    """The array of another type; integers wrap around."""
    return np.asarray(x).astype(dtype)
