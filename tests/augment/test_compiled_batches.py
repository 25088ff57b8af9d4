"""Compiled for one batch size, no image is lost, none is compiled for again, all are the same."""

from __future__ import annotations

from typing import Any

import all_methods
import numpy as np
import pytest
import tensorflow as tf

from convforge.augment import apply, draw, numpy_ops
from convforge.pipeline.data.reading import tensorflow_ops

IMAGES = all_methods.noise(53, 20, 24, 3)
SIZE = (20, 24)


def augmented(images: Any, epoch: Any, indices: Any, ops: Any = tensorflow_ops) -> Any:
    sizes = {"image_size": SIZE, "output_size": SIZE}
    drawn = draw(all_methods.ALL, seed=3, epoch=epoch, index=indices, ops=ops, **sizes)
    return apply(images, drawn, output_size=SIZE, colour_basis=all_methods.BASIS, ops=ops)


def batches(function: Any, batch_size: int) -> list[np.ndarray]:
    """Two epochs of 53 images: the last batch of each is smaller."""
    images = tf.data.Dataset.from_tensors((tf.constant(IMAGES), tf.range(53))).rebatch(batch_size)
    epochs = tf.data.Dataset.range(2).flat_map(
        lambda epoch: images.map(
            lambda pixels, indices: function(pixels, epoch, indices), num_parallel_calls=2
        )
    )
    return list(epochs.as_numpy_iterator())


@pytest.fixture(scope="module")
def sixteens() -> tuple[list[np.ndarray], list[tuple[int, ...]]]:
    """Batches of 16, and the shapes that were compiled for."""
    traced = []

    def counted(images: Any, epoch: Any, indices: Any) -> Any:
        traced.append(tuple(images.shape))
        return augmented(images, epoch, indices)

    return batches(tensorflow_ops.compiled(counted, batch_size=16), 16), traced


def test_the_smaller_last_batch_is_whole_and_compiles_nothing_again(sixteens: Any) -> None:
    found, traced = sixteens
    assert [len(batch) for batch in found] == [16, 16, 16, 5] * 2
    assert traced == [(16, *SIZE, 3)]


def test_compiled_batches_hold_what_numpy_replays(sixteens: Any) -> None:
    found = np.concatenate(sixteens[0])
    for epoch in range(2):
        expected = augmented(IMAGES, epoch, np.arange(53), numpy_ops)
        assert np.abs(found[53 * epoch : 53 * (epoch + 1)] - expected).max() < 0.05


def test_neither_batch_size_nor_threads_move_a_compiled_image(sixteens: Any) -> None:
    large = np.concatenate(sixteens[0])
    small = np.concatenate(batches(tensorflow_ops.compiled(augmented, batch_size=8), 8))
    # Fused multiply-adds may round the last bit of a coordinate otherwise, and nothing more.
    assert np.abs(large - small).max() < 0.01


@pytest.mark.integration
def test_op_determinism_leaves_it_compiled() -> None:
    """XLA knows no strings: it says so only where it is asked to compile."""
    tf.config.experimental.enable_op_determinism()

    def spelled(images: Any, epoch: Any, indices: Any) -> Any:
        return tf.strings.length(tf.strings.as_string(indices))

    with pytest.raises(tf.errors.InvalidArgumentError, match="XLA"):
        tensorflow_ops.compiled(spelled, 4)(IMAGES[:4], 0, tf.range(4))
    again = [
        np.concatenate(batches(tensorflow_ops.compiled(augmented, batch_size=16), 16))
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*again)
