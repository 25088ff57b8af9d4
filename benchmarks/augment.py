"""Images per second with crop, reflection, colour and geometry all at work, beside other libraries.

    make bench-peers
    python benchmarks/augment.py [--seconds 1] [--rounds 5]

All arms run on two cores and yield float32 batches. They take turns, round after round. Those of
tf.data run in this process, the others, which augment one image at a time, in one process for each
core. "from memory" is a tensor in batches, "from shards"
what a training run reads, shuffling included. "cast only" moves no pixel: the ceiling of its
source. Start nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import augment_peers
import numpy as np
import tensorflow as tf
from measurement import Row, measure, options, peers_with, report

from convforge.augment import Augmentation, draw_and_apply
from convforge.augment.settings import Colour, Crop, Geometry, Reflection
from convforge.pipeline.composition import compose_config, settings_of
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.reading import tensorflow_ops
from convforge.pipeline.data.reading.stream import Stream
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.project import project_root
from convforge.pipeline.stages.preprocess import preprocess

FULL = Augmentation(
    crop=Crop(**augment_peers.CROP),
    reflection=Reflection(probability=0.5),
    colour=Colour(strength=0.1),
    geometry=Geometry(rotation=15.0, translation=0.1, scale=(0.9, 1.1), shear=10.0),
)
BASIS = augment_peers.BASIS
CORES = 2
# (side, batch size, images): the shards of both hold 150 MB.
SIZES = ((32, 256, 49_152), (224, 64, 1_024))
OURS = "convforge, from memory"
Batches = Any


def cast_only(data: Batches, side: int, batch: int) -> Batches:
    return data.map(lambda images, _: tf.cast(images, tf.float32), CORES)


def ours(data: Batches, side: int, batch: int) -> Batches:
    def augmented(images: Any, epoch: Any, indices: Any) -> Any:
        return draw_and_apply(
            images, FULL, seed=0, epoch=epoch, index=indices, colour_basis=BASIS,
            ops=tensorflow_ops,
        )  # fmt: skip

    compiled = tensorflow_ops.compiled(augmented, batch)
    return data.map(lambda images, indices: compiled(images, 0, indices), CORES)


def keras_layers(data: Batches, side: int, batch: int) -> Batches:
    layers = augment_peers.keras_layers(side)

    def augmented(images: Any, _: Any) -> Any:
        images = tf.cast(images, tf.float32)
        for layer in layers:
            images = layer(images, training=True)
        return images

    return data.map(augmented, CORES)


def tf_image(data: Batches, side: int, batch: int) -> Batches:
    """One image at a time, as most tutorials do."""
    part = side * 9 // 10

    def augmented(image: Any, index: Any) -> Any:
        seed = tf.stack([tf.cast(index, tf.int32), 0])
        cut = tf.image.stateless_random_crop(image, (part, part, 3), seed)
        moved = tf.image.stateless_random_flip_left_right(tf.image.resize(cut, (side, side)), seed)
        angle, lean, right, down = tf.unstack(tf.random.stateless_uniform((4,), seed, -0.2, 0.2))
        matrix = [tf.cos(angle), lean - tf.sin(angle), right, tf.sin(angle), tf.cos(angle), down]
        moved = tf.raw_ops.ImageProjectiveTransformV3(
            images=moved[None],
            transforms=tf.stack([*matrix, 0.0, 0.0])[None],
            output_shape=(side, side),
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="REFLECT",
        )[0]
        shift = tf.linalg.matvec(BASIS, tf.random.stateless_normal((3,), seed, 0.0, 0.1))
        return tf.clip_by_value(moved + shift, 0.0, 255.0)

    return data.unbatch().map(augmented, CORES).batch(batch)


FROM_MEMORY: dict[str, Callable[[Batches, int, int], Batches]] = {
    OURS: ours,
    "cast only, from memory": cast_only,
    "tf.image, by image": tf_image,
    "Keras Random* layers": keras_layers,
}
FROM_SHARDS = {
    "convforge, from shards": FULL,
    "cast only, from shards": Augmentation(),
}
Measure = Callable[[float], float]


def batches(dataset: Batches) -> Measure:
    """Images per second of a dataset that never ends."""
    rows = iter(dataset.prefetch(2))
    for _ in range(4):
        next(rows)

    def measure(seconds: float) -> float:
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            count += len(next(rows))
        return count / (time.perf_counter() - start)

    return measure


def prepared(folder: Path, pixels: Any) -> Path:
    """The images as `convforge preprocess` leaves them."""
    count, height, width, _ = pixels.shape
    np.savez(folder / "images.npz", x=pixels, y=np.arange(count) % 2)
    overrides = [
        *("data=npz", f"data.path={folder / 'images.npz'}", f"data.size=[{height},{width}]"),
        *("data.split.validation=0", "data.split.test=0", "data.shard_examples=8192"),
    ]
    root = project_root()
    settings = settings_of(compose_config(root, overrides))
    preprocess(settings.data, folder / "data", root, Progress(Verbosity.QUIET))
    return folder / "data"


def rows_of_tf_data(side: int, batch: int, count: int, folder: Path) -> dict[str, Measure]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    shards = prepared(folder, pixels)
    stream = Stream(shards, Manifest.read(shards), batch, CORES)
    data = tf.data.Dataset.from_tensors((tf.constant(pixels), tf.range(count)))
    data = data.rebatch(batch).repeat()
    rows = {name: batches(row(data, side, batch)) for name, row in FROM_MEMORY.items()}
    for name, augmentation in FROM_SHARDS.items():
        shuffled = stream.training(seed=0, augmentation=augmentation, shuffle_bytes=64 << 20)
        rows[name] = batches(shuffled.map(lambda images, labels: images))
    return rows


@contextmanager
def peer_processes() -> Iterator[list[Any]]:
    command = [peers_with("numpy"), str(Path(__file__).with_name("augment_peers.py"))]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(CORES)]
    try:
        yield processes
    finally:
        for process in processes:
            process.stdin.close()
            process.wait()


def peer(name: str, side: int, batch: int, processes: list[Any]) -> Measure:
    _, packages = augment_peers.PEERS[name]

    def measure(seconds: float) -> float:
        peers_with(*packages)
        for process in processes:
            print(json.dumps([name, side, batch, seconds]), file=process.stdin, flush=True)
        answers = [json.loads(process.stdout.readline()) for process in processes]
        return sum(answer["count"] / answer["seconds"] for answer in answers)

    return measure


def rows(given: argparse.Namespace) -> Iterator[Row]:
    """A row for each size."""
    for side, batch, count in SIZES:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            processes = stack.enter_context(peer_processes())
            arms = rows_of_tf_data(side, batch, max(batch, count // given.fewer), folder) | {
                name: peer(name, side, batch, processes) for name in augment_peers.PEERS
            }
            row = Row(f"{side}×{side} pixels, batches of {batch}", "images/s", base=OURS)
            timed = {name: partial(arm, given.seconds) for name, arm in arms.items()}
            yield measure(row, timed, given.rounds)


def main() -> None:
    parser = options(__doc__, rounds=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each arm of a round")
    parser.add_argument("--fewer", type=int, default=1, help="divide the images by that")
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        # Before TensorFlow's first operation, which counts them; the peers' processes inherit it.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    report(rows(given), given.json)


if __name__ == "__main__":
    main()
