"""What `trainer.feed=device` is worth, beside the streaming feed and a bare `lax.scan` (JAX).

    python benchmarks/device_feed.py [--rounds 3] [--epochs 4] [model=lecture_cnn …]

Trains on JAX, without validation images, in a process of its own for each arm, in turn, round after
round; a value is the median of the seconds of all epochs but the first, which compiles.
"bare scan" is what one would write by hand for a program of a whole epoch: the same net, loss,
optimizer and augmentation, `stateless_call` and `stateless_apply` under `jax.lax.scan`, and no
metrics, schedule, loss watch, journal nor checkpoints. Start nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from measurement import Row, convforge, epochs_after_the_first, figure, measure, options, report

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "jax"

ALWAYS = ["tracking=none", "data.split.validation=0", "schedule=constant"]
ARMS = ("bare scan", "device", "stream")


def seconds_of_ours(feed: str, overrides: list[str], epochs: int) -> float:
    """The median epoch of `convforge train` but the first."""
    with tempfile.TemporaryDirectory() as folder:
        run = [f"hydra.run.dir={folder}", f"trainer.feed={feed}", f"trainer.epochs={epochs}"]
        convforge("train", "-q", *ALWAYS, *run, *overrides)
        return epochs_after_the_first(Path(folder))


def seconds_of_bare_scan(overrides: list[str], epochs: int) -> float:
    """The median epoch but the first of a program written by hand."""
    from convforge.pipeline.composition import compose_config, settings_of
    from convforge.pipeline.data.manifest import Manifest
    from convforge.pipeline.progress import Progress, Verbosity
    from convforge.pipeline.project import project_root
    from convforge.pipeline.stages.preprocess import prepared
    from convforge.pipeline.training import backend

    root = project_root()
    settings = settings_of(compose_config(root, [*ALWAYS, *overrides]))
    data = prepared(settings.data, root, Progress(Verbosity.QUIET))
    backend.start(seed=0, deterministic=True, precision=settings.trainer.precision)
    from convforge.pipeline.training.trainer import build_trainer

    trainer = build_trainer(settings, Manifest.read(data), data)
    trainer.compile()
    images, labels, indices = trainer.feed.stream.whole("train")
    return bare_scan(
        trainer.trainable,
        images,
        labels,
        indices,
        rows=settings.trainer.batch_size,
        epochs=epochs,
        augmentation=settings.augment,
        basis=trainer.feed.stream.colour_basis(settings.augment),
    )


def bare_scan(
    model: Any,
    images: Any,
    labels: Any,
    indices: Any,
    *,
    rows: int,
    epochs: int,
    augmentation: Any,
    basis: Any = None,
) -> float:
    """The median epoch but the first of a program written by hand, seconds.

    Args:
        model: compiled.
        images: uint8 (n, height, width, channels).
        labels: their classes.
        indices: what the draws follow from.
        rows: of a batch; the images of an epoch are whole batches.
        epochs: how many.
        augmentation: its settings.
        basis: of the colours.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from convforge.augment import draw_and_apply

    loss = model.loss
    images, labels, indices = map(jnp.asarray, (images, labels, indices))
    indices = indices.astype("int32")

    def step(carry: Any, places: Any) -> tuple[Any, Any]:
        weights, others, slots, epoch = carry
        batch = images[places]
        if augmentation.active:
            batch = draw_and_apply(
                batch,
                augmentation,
                seed=0,
                epoch=epoch,
                index=indices[places],
                colour_basis=basis,
            )

        def value(weights: Any) -> tuple[Any, Any]:
            outputs, changed = model.stateless_call(
                weights, others, batch.astype("float32"), training=True
            )
            return loss(labels[places], outputs), changed

        (figure, others), gradient = jax.value_and_grad(value, has_aux=True)(weights)
        weights, slots = model.optimizer.stateless_apply(slots, gradient, weights)
        return (weights, others, slots, epoch), figure

    @jax.jit
    def whole_epoch(state: Any, order: Any, epoch: Any) -> Any:
        (*state, _), figures = jax.lax.scan(step, (*state, epoch), order)
        return state, figures.mean()

    draw, times = np.random.default_rng(0), []
    groups = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
    state = [[variable.value for variable in group] for group in groups]
    for epoch in range(epochs):
        order = draw.permutation(len(labels))[: len(labels) // rows * rows].reshape(-1, rows)
        start = time.perf_counter()
        state, figure = whole_epoch(state, jnp.asarray(order, "int32"), epoch)
        float(figure)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def measured(arm: str, overrides: list[str], epochs: int) -> float:
    """Seconds an epoch, by a process of its own."""
    if arm != "bare scan":
        return seconds_of_ours(arm, overrides, epochs)
    return figure([sys.executable, __file__, "--bare", "--epochs", str(epochs), *overrides])


def main() -> None:
    parser = options(__doc__, rounds=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--name", help="of the row; default: the overrides")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "overrides", nargs="*", help="of the config; the batch must divide the images"
    )
    given = parser.parse_args()
    if given.bare:
        print(seconds_of_bare_scan(given.overrides, given.epochs))
        return
    row = Row(given.name or " ".join(["an epoch", *given.overrides]), "s", base="bare scan")
    arms = {arm: partial(measured, arm, given.overrides, given.epochs) for arm in ARMS}
    report([measure(row, arms, given.rounds)], given.json)


if __name__ == "__main__":
    main()
