"""Plain TensorFlow under the names that `draw` and `apply` use.

With it they run inside `tf.data`, whichever backend Keras has: see `convforge.augment`.
"""

from collections.abc import Callable
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
    "compiled",
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


def compiled(function: Callable[..., Any], batch_size: int) -> Callable[..., Any]:
    """A function of images, epoch and indices, compiled by XLA for one batch size.

    A smaller batch, such as the last one of an epoch, is filled up with black images, and the
    result is cut off: another compilation takes most of a second, some idle rows do not. Inside
    `tf.data` this is ten times faster than TensorFlow's own kernels.

    Op determinism leaves it compiled: it is Keras that then compiles no *model*, and a gather
    gives the same numbers in every run.

    Args:
        function: Of images `(batch, …)`, a scalar epoch and indices `(batch,)`, row by row, without
            Python's control flow over tensors.
        batch_size: The largest batch.
    """
    # AutoGraph would take 1.4 s to rewrite loops and branches that are none of TensorFlow's.
    jitted = tf.function(function, jit_compile=True, autograph=False)

    def padded(images: Any, epoch: Any, indices: Any) -> Any:
        rows = tf.shape(indices)[0]
        missing = batch_size - rows
        images = tf.pad(images, [[0, missing]] + [[0, 0]] * (len(images.shape) - 1))
        images = tf.ensure_shape(images, (batch_size, *images.shape[1:]))
        indices = tf.ensure_shape(tf.pad(indices, [[0, missing]]), (batch_size,))
        return jitted(images, tf.convert_to_tensor(epoch), indices)[:rows]

    return padded
