"""One worker's share of the examples, augmented: `python part.py DATA OUT WORKER WORKERS`."""

from __future__ import annotations

import sys
from pathlib import Path

import all_methods
import numpy as np
import tensorflow as tf

from convforge.augment import draw, draw_and_apply
from convforge.augment.settings import Augmentation
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.reading import tensorflow_ops
from convforge.pipeline.data.reading.stream import Stream

SEED, EPOCH, SIZE = 11, 2, (28, 28)
# One channel takes one number of the basis.
BASIS = np.array([[40.0]])


def part(data: Path, worker: int, workers: int, batch: int) -> dict[str, np.ndarray]:
    """Parameters and images of the examples with index ≡ worker (mod workers), by index."""
    stream = Stream(data, Manifest.read(data), batch)
    given = stream.training(
        seed=SEED, first_epoch=EPOCH, epochs=EPOCH + 1, augmentation=Augmentation(place="step"),
        shuffle_bytes=1 << 30,
    ).take(-(-stream.examples("train") // batch))  # fmt: skip
    examples = given.map(lambda inputs, _: (inputs["image"], inputs["index"])).unbatch()
    mine = examples.filter(lambda image, index: index % workers == worker).batch(batch)
    at = {"seed": SEED, "epoch": EPOCH, "ops": tensorflow_ops}

    def augmented(images: tf.Tensor, index: tf.Tensor) -> dict[str, tf.Tensor]:
        drawn = draw(all_methods.ALL, index=index, image_size=SIZE, output_size=SIZE, **at)
        pixels = draw_and_apply(images, all_methods.ALL, index=index, colour_basis=BASIS, **at)
        return {**drawn, "index": index, "pixels": pixels}

    batches = list(mine.map(augmented, num_parallel_calls=2).as_numpy_iterator())
    found = {name: np.concatenate([one[name] for one in batches]) for name in batches[0]}
    order = np.argsort(found["index"])
    return {name: values[order] for name, values in found.items()}


if __name__ == "__main__":
    data, out, worker, workers = sys.argv[1:]
    np.savez(out, **part(Path(data), int(worker), int(workers), batch=17 + int(worker)))
