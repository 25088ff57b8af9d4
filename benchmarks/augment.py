"""Images per second in `tf.data` with crop, reflection, colour and geometry all at work.

    python benchmarks/augment.py [--seconds 3] [--threads 2]

Every row reads the same uint8 images from memory in batches and yields float32 batches. "cast only"
moves no pixel: the ceiling of any pipeline. Start nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from convforge.augment import Augmentation, apply, draw
from convforge.augment.settings import Colour, Crop, Geometry, Reflection
from convforge.data import tensorflow_ops

FULL = Augmentation(
    crop=Crop(scale=(0.6, 1.0), ratio=(0.8, 1.25)),
    reflection=Reflection(probability=0.5),
    colour=Colour(strength=0.1),
    geometry=Geometry(rotation=15.0, translation=0.1, scale=(0.9, 1.1), shear=10.0),
)
BASIS = np.array([[70.0, 16.0, 3.0], [68.0, -3.0, -7.0], [66.0, -14.0, 5.0]], dtype="float32")
# (side, batch size, images in memory)
SIZES = ((32, 256, 10_240), (224, 64, 512))
Batches = Callable[[Any, int, int, int], Any]


def cast_only(data: Any, side: int, batch: int, threads: int) -> Any:
    return data.map(lambda images, _: tf.cast(images, tf.float32), threads)


def ours(data: Any, side: int, batch: int, threads: int) -> Any:
    size = (side, side)

    def augmented(images: Any, epoch: Any, indices: Any) -> Any:
        drawn = draw(
            FULL, seed=0, epoch=epoch, index=indices, image_size=size, output_size=size,
            ops=tensorflow_ops,
        )  # fmt: skip
        return apply(images, drawn, output_size=size, colour_basis=BASIS, ops=tensorflow_ops)

    compiled = tensorflow_ops.compiled(augmented, batch)
    return data.map(lambda images, indices: compiled(images, 0, indices), threads)


def keras_layers(data: Any, side: int, batch: int, threads: int) -> Any:
    layers = [
        keras.layers.RandomFlip("horizontal"),
        keras.layers.RandomRotation(15 / 360),
        keras.layers.RandomTranslation(0.1, 0.1),
        keras.layers.RandomZoom(0.1),
        keras.layers.RandomShear(0.1, 0.0),
        keras.layers.RandomColorJitter((0, 255), 0.1, 0.1, 0.1, 0.0),
    ]

    def augmented(images: Any, _: Any) -> Any:
        images = tf.cast(images, tf.float32)
        for layer in layers:
            images = layer(images, training=True)
        return images

    return data.map(augmented, threads)


def tf_image(data: Any, side: int, batch: int, threads: int) -> Any:
    """One image at a time, as most tutorials do; tf.image neither turns nor shears."""

    def augmented(image: Any, index: Any) -> Any:
        seed = tf.stack([tf.cast(index, tf.int32), 0])
        cut = tf.image.stateless_random_crop(image, (side * 9 // 10, side * 9 // 10, 3), seed)
        moved = tf.image.stateless_random_flip_left_right(tf.image.resize(cut, (side, side)), seed)
        return moved + tf.linalg.matvec(BASIS, tf.random.stateless_normal((3,), seed, 0.0, 0.1))

    return data.unbatch().map(augmented, threads).batch(batch)


ROWS: dict[str, Batches] = {
    "cast only": cast_only,
    "convforge": ours,
    "tf.image, by image": tf_image,
    "Keras Random* layers": keras_layers,
}


def images_per_second(dataset: Any, seconds: float) -> float:
    batches = iter(dataset.prefetch(2))
    for _ in range(3):
        next(batches)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        count += len(next(batches))
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row and size")
    parser.add_argument("--threads", type=int, default=2, help="of tf.data")
    options = parser.parse_args()
    for side, batch, count in SIZES:
        pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
        data = tf.data.Dataset.from_tensors((tf.constant(pixels), tf.range(count)))
        data = data.rebatch(batch).repeat()
        rates = {
            name: images_per_second(row(data, side, batch, options.threads), options.seconds)
            for name, row in ROWS.items()
        }
        print(f"\n{side}×{side}, batch {batch}   images/s   convforge is … times as fast")
        for name, rate in rates.items():
            print(f"{name:<22} {rate:>14,.0f}   {rates['convforge'] / rate:.2f}")


if __name__ == "__main__":
    main()
