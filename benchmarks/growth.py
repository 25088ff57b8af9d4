"""How time grows with the number and size of images, with layers, with the batch, with runs.

    python benchmarks/growth.py [--rounds 3]

- images ×1, ×4, ×16, of the digits' size: `convforge preprocess`, start and end included, its time
  and the memory of its largest process; an epoch of `convforge train` (the second: the first
  compiles);
- a training step of `lecture_cnn`: side of the image, images of the batch, number of convolutions
  (5 × 5, 32 → 32 channels, on maps of 16 × 16, behind the first pooling);
- runs of a sweep by `hydra/launcher=together`, one round: the whole command.

Steps are measured in one process for each round, all else in one for each value; values take turns,
round after round. Start nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from measurement import (
    CONVFORGE,
    Row,
    convforge,
    epochs_after_the_first,
    make_project,
    measure,
    options,
    output,
    report,
    watched,
)
from step import BATCH, step_of_net
from together import seconds as seconds_of_sweep

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SIDES = (16, 32, 64, 128)
BATCHES = (25, 100, 400)
LAYERS = (1, 2, 4, 8)
#: The rows, by name; `page.py` says what to expect of each.
PREPROCESS, EPOCH, RUNS = "preprocess, images", "a training epoch, images", "together, runs"
MEMORY = "memory of preprocess, images"
SIDE, ROWS, DEPTH = "a step, side of the image", "a step, images of a batch", "a step, convolutions"


def make_images(path: Path, count: int) -> Path:
    """Noise of the digits' size and ten classes."""
    import numpy as np

    pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
    np.savez(path, x=pixels, y=np.arange(count) % 10)
    return path


def of_data(path: Path) -> list[str]:
    """The archive as a config."""
    keys = ["data=npz", "data.channels=1", "data.split.validation=0", "data.split.test=0"]
    return [*keys, f"data.path={path}"]


def seconds_of_preprocess(project: Path, data: Path, megabytes: list[float]) -> float:
    """Of the whole command; the memory of its largest process goes to `megabytes`."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        words = ("preprocess", "-q", "--out", f"{out}/data", *of_data(data))
        _, held = watched([*CONVFORGE, *words], project)
        megabytes.append(held)
        return time.perf_counter() - start


def seconds_of_epoch(project: Path, data: Path, model: str) -> float:
    """The second one's."""
    with tempfile.TemporaryDirectory() as run:
        own = [f"model={model}", "trainer.epochs=2", "tracking=none", f"hydra.run.dir={run}"]
        always = ["augment=light", "trainer.checkpoint.resume=false"]
        convforge("train", "-q", *of_data(data), *own, *always, cwd=project)
        return epochs_after_the_first(Path(run))


def steps_of_all(given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Milliseconds of a step for each row and value, in this process."""
    from convforge.pipeline.composition import compose_config, settings_of
    from convforge.pipeline.project import project_root

    settings = settings_of(compose_config(project_root(), ["model=lecture_cnn", "augment=none"]))
    specs = settings.model.specs()

    def deep(count: int) -> dict[str, Any]:
        narrow = replace(specs["conv2"], filters=specs["conv1"].filters)
        extra = {f"extra{number}": narrow for number in range(count)}
        kept = {name: spec for name, spec in specs.items() if name not in ("conv2", "pool2")}
        first = {name: kept.pop(name) for name in ("conv1", "pool1")}
        return {**first, **extra, **kept}

    def timed(layers: Any, side: int = 32, rows: int = BATCH) -> float:
        return step_of_net(settings, layers, (side, side, 3), rows, given.steps)

    return {
        SIDE: {str(side): timed(specs, side=side) for side in given.sides},
        ROWS: {str(rows): timed(specs, rows=rows) for rows in given.batches},
        DEPTH: {str(count): timed(deep(count)) for count in given.layers},
    }


def rows(given: argparse.Namespace) -> Iterator[Row]:
    """Images, steps, runs."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        project = make_project(folder / "project")
        counts = [given.images * factor for factor in (1, 4, 16)]
        data = {f"{count}": make_images(folder / f"{count}.npz", count) for count in counts}
        held: dict[str, list[float]] = {count: [] for count in data}
        arms = {
            count: partial(seconds_of_preprocess, project, path, held[count])
            for count, path in data.items()
        }
        yield measure(Row(PREPROCESS, "s"), arms, given.rounds)
        smallest = f"{given.images}"
        rounds = {count: values for count, values in held.items() if values}
        yield Row(MEMORY, "MB", smallest, rounds)
        arms = {
            count: partial(seconds_of_epoch, project, path, given.model)
            for count, path in data.items()
        }
        yield measure(Row(EPOCH, "s"), arms, given.epoch_rounds)
    yield from rows_of_steps(given)
    arms = {
        f"{runs}": partial(seconds_of_sweep, "together", runs, given.overrides)
        for runs in given.runs
    }
    os.environ["KERAS_BACKEND"] = "jax"
    yield measure(Row(RUNS, "s"), arms, 1)


def rows_of_steps(given: argparse.Namespace) -> list[Row]:
    """All that one process measures, round after round."""
    found = {name: Row(name, "ms") for name in (SIDE, ROWS, DEPTH)}
    everything = Row("steps of all sizes", "s")

    def one_round() -> float:
        start = time.monotonic()
        command = [sys.executable, __file__, "--one-round", "--steps", str(given.steps)]
        for name in ("sides", "batches", "layers"):
            command += [f"--{name}", *map(str, getattr(given, name))]
        said = json.loads(output(command, {"KERAS_BACKEND": "tensorflow"}).splitlines()[-1])
        for name, values in said.items():
            for value, milliseconds in values.items():
                found[name].rounds.setdefault(value, []).append(milliseconds)
        return time.monotonic() - start

    measure(everything, {"one process": one_round}, given.rounds)
    for row in found.values():
        row.failed.update(everything.failed)
    return list(found.values())


def main() -> None:
    parser = options(__doc__, rounds=3, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2500, help="×1")
    parser.add_argument("--epoch-rounds", type=int, default=2)
    parser.add_argument("--model", default="maxout_cnn", help="of the epochs")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sides", nargs="+", type=int, default=SIDES)
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--layers", nargs="+", type=int, default=LAYERS)
    parser.add_argument("--runs", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--one-round", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", help="of the runs together")
    given = parser.parse_args()
    if given.one_round:
        print(json.dumps(steps_of_all(given)))
    else:
        report(rows(given), given.json)


if __name__ == "__main__":
    main()
