"""What exact repetition and checkpoints cost a training run.

    python benchmarks/training.py [--rounds 3] [model=layers_80sec …]

Trains the default config, or that of the overrides, in a process of its own, with op determinism
and without, with a checkpoint after every step, at the default interval, and practically none, in
turn, round after round. A row is the median of the images per second of all epochs but the first,
which compiles. Then what one checkpoint takes: the steps wait while the state is copied; it is
written behind them. Start nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

from measurement import convforge, epochs_after_the_first

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

VARIANTS = {
    "deterministic (default)": (),
    "not deterministic": ("trainer.deterministic=false",),
    "a checkpoint after every step": ("trainer.checkpoint.seconds=0",),
    "no checkpoint but first and last": ("trainer.checkpoint.seconds=1000000",),
}


def seconds_an_epoch(overrides: list[str], folder: Path) -> float:
    """The median over the epochs but the first."""
    convforge("train", "-q", "tracking=none", f"hydra.run.dir={folder}", *overrides)
    return epochs_after_the_first(folder)


def checkpoint_costs(overrides: list[str], folder: Path) -> tuple[float, float, float]:
    """Megabytes, seconds of copying, seconds of writing; medians of five."""
    from convforge.pipeline.composition import compose_config, settings_of
    from convforge.pipeline.data.manifest import Manifest
    from convforge.pipeline.progress import Progress, Verbosity
    from convforge.pipeline.project import project_root
    from convforge.pipeline.stages.preprocess import prepared
    from convforge.pipeline.training import backend

    root = project_root()
    settings = settings_of(compose_config(root, overrides))
    data = prepared(settings.data, root, Progress(Verbosity.QUIET))
    backend.start(seed=0, deterministic=True, precision=settings.trainer.precision)
    from convforge.pipeline.training.resume.checkpoints import (
        Checkpoint,
        Position,
        write_checkpoint,
    )
    from convforge.pipeline.training.resume.state import capture
    from convforge.pipeline.training.trainer import build_trainer

    trainer = build_trainer(settings, Manifest.read(data), data)
    trainer.compile()
    copying, writing = [], []
    for step in range(5):
        start = time.perf_counter()
        arrays = capture(trainer.trainable, metrics=False)
        copied = time.perf_counter()
        write_checkpoint(folder, Checkpoint(Position(0, step), arrays))
        copying.append(copied - start)
        writing.append(time.perf_counter() - copied)
    size = sum(array.nbytes for array in arrays.values()) / 1e6
    return size, statistics.median(copying), statistics.median(writing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            for name, changes in VARIANTS.items():
                out = Path(folder, f"{number}-{len(times[name])}-{hash(name)}")
                times[name].append(seconds_an_epoch([*arguments.overrides, *changes], out))
        costs = checkpoint_costs(arguments.overrides, Path(folder))
    print(f"{platform.machine()}, {os.cpu_count()} cores, {arguments.rounds} rounds")
    base = statistics.median(times["deterministic (default)"])
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"{name:34} {median:7.3f} s an epoch  {median / base:5.2f}")
    print("a checkpoint: {:.1f} MB, {:.4f} s of copying, {:.4f} s of writing".format(*costs))


if __name__ == "__main__":
    main()
