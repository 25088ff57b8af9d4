"""Whole training loops with augmentation, as one writes them with each library, beside ours.

    make bench-peers
    python benchmarks/loops.py [--rounds 3] [--images 4000] [--epochs 4]

`lecture_cnn` on images of CIFAR-10's size in batches of 100, float32, momentum and weight decay:

- ours: `convforge train` with all four augmentations, its own MLflow run, checkpoints, exact
  repetition; and the same with nothing augmented;
- a loop written by hand in TensorFlow: `tf.data`, `tf.function`, no augmentation and nothing else;
- Keras' `fit` with Keras' augmentation layers in `tf.data` and MLflow's autolog (without models);
- PyTorch with torchvision's augmentation in a DataLoader of two processes.

Each is a process of its own, in turn, round after round: images a second of the median epoch but
the first, which compiles, and the most memory that any process of it held. Start nothing else
meanwhile.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from measurement import (
    Row,
    epochs_after_the_first,
    make_project,
    measure,
    options,
    output,
    peers_with,
    report,
    watched,
)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SIDE, BATCH, CLASSES = 32, 100, 10
HAND = "TensorFlow by hand, not augmented"
KERAS = "Keras' fit, its augmentation, autolog"
TORCH = "PyTorch, torchvision, DataLoader"
#: Ours, and which augmentation.
OURS = {"ours": "full", "ours, not augmented": "none"}


def rows(given: argparse.Namespace) -> Iterator[Row]:
    """The rates, and the memory of the same processes."""
    memory: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        project = make_project(folder / "project")
        data = folder / "images.npz"
        output([sys.executable, __file__, "--make", str(data), "--images", str(given.images)])

        def measured(arm: str, *, is_ours: bool) -> float:
            run = folder / f"{len(memory.get(arm, ()))} {arm}".replace(" ", "_").replace(",", "")
            command = (
                command_of_ours(arm, data, run, given.epochs)
                if is_ours
                else command_of_others(arm, data, run, given.epochs)
            )
            said, megabytes = watched(command, project)
            memory.setdefault(arm, []).append(megabytes)
            seconds = epochs_after_the_first(run) if is_ours else float(said.split()[-1])
            return given.images / seconds

        arms = {arm: partial(measured, arm, is_ours=True) for arm in OURS}
        arms |= {arm: partial(measured, arm, is_ours=False) for arm in LOOPS}
        name = f"lecture_cnn, {SIDE}×{SIDE}×3, batches of {BATCH}"
        row = measure(Row(name, "images/s", base="ours"), arms, given.rounds)
        yield row
    yield Row(
        "memory of the largest process",
        "MB",
        base="ours",
        rounds={arm: memory[arm] for arm in row.rounds},
    )


def command_of_ours(arm: str, data: Path, run: Path, epochs: int) -> list[str]:
    """As one trains with us."""
    return [
        *(sys.executable, "-m", "convforge.pipeline.cli", "train", "-q", "model=lecture_cnn"),
        *("data=npz", f"data.path={data}", "data.split.validation=0", "data.split.test=0"),
        *(f"augment={OURS[arm]}", f"trainer.epochs={epochs}", f"trainer.batch_size={BATCH}"),
        *(f"tracking.uri=sqlite:///{data.parent}/mlflow.db", f"hydra.run.dir={run}"),
        "trainer.checkpoint.resume=false",
    ]


def command_of_others(arm: str, data: Path, run: Path, epochs: int) -> list[str]:
    """This script with one arm, in an environment that has what it needs."""
    python = peers_with("torch", "torchvision") if arm == TORCH else sys.executable
    return [python, __file__, "--arm", arm, "--make", str(data), "--epochs", str(epochs)]


def make_images(path: Path, images: int) -> None:
    """Noise of CIFAR-10's size."""
    import numpy as np

    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (images, SIDE, SIDE, 3), np.uint8)
    np.savez(path, x=pixels, y=np.arange(images) % CLASSES)


def read_images(path: Path) -> tuple[Any, Any]:
    """Pixels and classes."""
    import numpy as np

    with np.load(path) as arrays:
        return arrays["x"], arrays["y"].astype("int64")


def keras_net() -> Any:
    """`conf/model/lecture_cnn.yaml` in Keras' own layers."""
    from keras import Sequential, layers

    return Sequential(
        [
            layers.Input((SIDE, SIDE, 3)),
            layers.Rescaling(1 / 60, -2),
            layers.Conv2D(32, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(3, 2, padding="same"),
            layers.Conv2D(64, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(3, 2, padding="same"),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(CLASSES),
        ]
    )


def epochs_by_hand(data: Path, epochs: int) -> Iterable[float]:
    """Seconds of each epoch of a loop written in TensorFlow."""
    import keras
    import tensorflow as tf

    pixels, classes = read_images(data)
    batches = tf.data.Dataset.from_tensor_slices((pixels, classes)).shuffle(len(pixels))
    batches = batches.batch(BATCH).map(lambda x, y: (tf.cast(x, tf.float32), y)).prefetch(2)
    net = keras_net()
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, weight_decay=5e-4)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step(images: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(labels, net(images, training=True))
        optimizer.apply(tape.gradient(loss, net.trainable_variables), net.trainable_variables)
        return loss

    for _ in range(epochs):
        start = time.perf_counter()
        for images, labels in batches:
            loss = step(images, labels)
        float(loss)
        yield time.perf_counter() - start


def epochs_of_fit(data: Path, epochs: int) -> Iterable[float]:
    """Seconds of each epoch of Keras' `fit`, augmented and logged as its users do."""
    import keras
    import mlflow
    import tensorflow as tf
    from augment_peers import keras_layers

    mlflow.set_tracking_uri(f"sqlite:///{data.parent}/keras.db")
    mlflow.set_experiment("keras")
    mlflow.keras.autolog(log_models=False)
    pixels, classes = read_images(data)
    layers = keras_layers(SIDE)

    def augmented(images: Any, labels: Any) -> Any:
        images = tf.cast(images, tf.float32)
        for layer in layers:
            images = layer(images, training=True)
        return images, labels

    batches = tf.data.Dataset.from_tensor_slices((pixels, classes)).shuffle(len(pixels))
    batches = batches.batch(BATCH).map(augmented, tf.data.AUTOTUNE).prefetch(2)
    net = keras_net()
    net.compile(
        keras.optimizers.SGD(0.01, momentum=0.9, weight_decay=5e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    times: list[float] = []

    class Times(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            times.append(-time.perf_counter())

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            times[-1] += time.perf_counter()

    net.fit(batches, epochs=epochs, verbose=0, callbacks=[Times()])
    return times


def epochs_of_torch(data: Path, epochs: int) -> Iterable[float]:
    """Seconds of each epoch of a loop as PyTorch's tutorials write it."""
    import augment_peers
    import torch
    from step import pytorch_net
    from torch.utils.data import DataLoader, Dataset

    class Images(Dataset):
        def __init__(self) -> None:
            self.pixels, self.classes = read_images(data)
            self.augmented: Any = None

        def __len__(self) -> int:
            return len(self.pixels)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            # In the loader's process: it is set to one thread there, and not here.
            self.augmented = self.augmented or augment_peers.torchvision_v2(SIDE)
            image = torch.from_numpy(self.augmented(self.pixels[index]))
            return image, int(self.classes[index])

    loader = DataLoader(Images(), BATCH, shuffle=True, num_workers=2, persistent_workers=True)
    net = pytorch_net("lecture_cnn")
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    loss_of = torch.nn.CrossEntropyLoss()
    for _ in range(epochs):
        start = time.perf_counter()
        for images, labels in loader:
            optimizer.zero_grad()
            loss = loss_of(net(images), labels)
            loss.backward()
            optimizer.step()
        loss.item()
        yield time.perf_counter() - start


LOOPS = {HAND: epochs_by_hand, KERAS: epochs_of_fit, TORCH: epochs_of_torch}


def main() -> None:
    parser = options(__doc__, rounds=3, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--arm", choices=LOOPS, help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arm:
        print(statistics.median(list(LOOPS[given.arm](given.make, given.epochs))[1:]))
    elif given.make:
        make_images(given.make, given.images)
    else:
        report(rows(given), given.json)


if __name__ == "__main__":
    main()
