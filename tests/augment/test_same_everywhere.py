"""One draw, one image, wherever it is made: NumPy, TensorFlow, a `tf.data` map, XLA, Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import all_methods
import keras
import numpy as np
import pytest
import tensorflow as tf

from convforge.augment import Augmentation, apply, draw, numpy_ops
from convforge.augment.settings import Geometry, Reflection
from convforge.pipeline.data.reading import tensorflow_ops

Augmented = tuple[dict[str, Any], Any]
Work = Callable[[Any, Any, Any], Augmented]
SEED, EPOCH = 2**31 + 7, 5
# Nothing random but the reflection: exact, whatever the arithmetic.
MIRROR = Augmentation(reflection=Reflection(probability=0.5))


def _work(augmentation: Augmentation, size: tuple[int, int], ops: Any, **options: Any) -> Work:
    def work(images: Any, epoch: Any, index: Any) -> Augmented:
        sizes = {"image_size": images.shape[1:3], "output_size": size}
        drawn = draw(augmentation, seed=SEED, epoch=epoch, index=index, **sizes, ops=ops)
        options_here = {"colour_basis": all_methods.BASIS, **options}
        return drawn, apply(images, drawn, output_size=size, ops=ops, **options_here)

    return work


def _arrays(augmented: Augmented) -> tuple[dict[str, np.ndarray], np.ndarray]:
    drawn, pixels = augmented
    plain = keras.ops.convert_to_numpy
    return {key: plain(value) for key, value in drawn.items()}, plain(pixels)


def _eager(images: np.ndarray, index: np.ndarray, **how: Any) -> Augmented:
    epoch = tf.constant(EPOCH, tf.int64)
    return _work(ops=tensorflow_ops, **how)(tf.constant(images), epoch, tf.constant(index))


def _in_tf_data(images: np.ndarray, index: np.ndarray, **how: Any) -> Augmented:
    """Three images at a time, the last batch smaller, its size unknown to the graph."""
    work = _work(ops=tensorflow_ops, **how)
    epoch = tf.data.Dataset.from_tensors(tf.constant(EPOCH, tf.int64)).repeat()
    examples = tf.data.Dataset.from_tensor_slices((images, index)).batch(3)
    batches = tf.data.Dataset.zip(examples, epoch).map(
        lambda example, epoch: work(example[0], epoch, example[1]), num_parallel_calls=2
    )
    parts = [_arrays(batch) for batch in batches]
    drawn = {key: np.concatenate([part[key] for part, _ in parts]) for key in parts[0][0]}
    return drawn, np.concatenate([pixels for _, pixels in parts])


def _under_xla(images: np.ndarray, index: np.ndarray, **how: Any) -> Augmented:
    compiled = tf.function(_work(ops=tensorflow_ops, **how), jit_compile=True)
    return compiled(tf.constant(images), tf.constant(EPOCH, tf.int64), tf.constant(index))


def _by_keras(images: np.ndarray, index: np.ndarray, **how: Any) -> Augmented:
    return _work(ops=keras.ops, **how)(keras.ops.convert_to_tensor(images), EPOCH, index)


PLACES = {
    "TensorFlow": _eager,
    "a tf.data map": _in_tf_data,
    "XLA": _under_xla,
    "keras.ops": _by_keras,
}
HOW: dict[str, dict[str, Any]] = {
    "all methods": {"augmentation": all_methods.ALL, "size": (20, 24)},
    "constant": {
        "augmentation": all_methods.ALL, "size": (17, 31), "fill": "constant", "fill_value": 99.0,
    },
    "nearest": {
        "augmentation": all_methods.ALL, "size": (20, 24), "fill": "edge",
        "interpolation": "nearest",
    },
    "anti-aliased": {"augmentation": all_methods.ALL, "size": (5, 6)},
}  # fmt: skip


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("place", PLACES)
def test_draws_and_images_are_those_of_numpy(place: str, how: str) -> None:
    images, index = all_methods.noise(8, 20, 24, 3), np.arange(8) * 1_000_003
    by_numpy = _work(ops=numpy_ops, **HOW[how])(images, EPOCH, index)
    drawn, pixels = _arrays(PLACES[place](images, index, **HOW[how]))
    assert drawn.keys() == by_numpy[0].keys()
    for key, value in drawn.items():
        assert value.dtype == np.float32
        # XLA may fuse a product and a sum, which rounds once instead of twice.
        np.testing.assert_allclose(value, by_numpy[0][key], rtol=1e-6, atol=1e-5, err_msg=key)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, by_numpy[1], atol=0.02)


@pytest.mark.parametrize("place", PLACES)
def test_identity_and_reflection_are_exact_everywhere(place: str) -> None:
    images, index = all_methods.noise(8, 20, 24, 3), np.arange(8)
    how = {"augmentation": MIRROR, "size": (20, 24), "colour_basis": None}
    drawn, pixels = _arrays(PLACES[place](images, index, **how))
    reflected = drawn["reflected"].astype(bool)
    assert 0 < reflected.sum() < 8
    expected = np.where(reflected[:, None, None, None], images[:, :, ::-1], images)
    np.testing.assert_array_equal(pixels, expected)


def test_an_epoch_is_an_int_or_a_tensor_of_any_integer_type() -> None:
    work = _work(Augmentation(geometry=Geometry(rotation=20.0)), (20, 24), tensorflow_ops)
    images, index = all_methods.noise(4, 20, 24, 3), np.arange(4)
    expected = work(images, EPOCH, index)[0]["rotation"]
    for dtype in (tf.int32, tf.int64, tf.uint8):
        drawn, _ = work(images, tf.constant(EPOCH, dtype), index)
        np.testing.assert_array_equal(drawn["rotation"], expected)


def test_indices_count_modulo_two_to_the_32_everywhere() -> None:
    far = np.arange(5) + 2**31 - 2
    for ops in (numpy_ops, tensorflow_ops, keras.ops):
        work = _work(all_methods.ALL, (20, 24), ops)
        images = all_methods.noise(5, 20, 24, 3)
        near, wrapped = work(images, 0, far), work(images, 0, far + 2**32)
        for key, value in near[0].items():
            np.testing.assert_array_equal(value, wrapped[0][key])
