"""Plain TensorFlow under the names that `draw` and `apply` use.

With it they run inside `tf.data`, whichever backend Keras has: see `convforge.augment`.
"""

from typing import Any

import tensorflow as tf
from tensorflow import cast, concat, floor, maximum, minimum, reshape, shape, stack, where

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

arange = tf.range
bitwise_and = tf.bitwise.bitwise_and
bitwise_left_shift = tf.bitwise.left_shift
bitwise_or = tf.bitwise.bitwise_or
bitwise_right_shift = tf.bitwise.right_shift
bitwise_xor = tf.bitwise.bitwise_xor
clip = tf.clip_by_value
concatenate = concat


def take(x: Any, indices: Any, axis: int) -> Any:
    """Elements of x at `indices` along `axis`."""
    return tf.gather(x, indices, axis=axis)


def sum(x: Any, axis: int) -> Any:
    """Sum over one axis."""
    return tf.reduce_sum(x, axis)
