"""Runs of a sweep trained by one program beside the same runs one after another, on JAX.

    KERAS_BACKEND=jax python benchmarks/together.py [--runs 16] [--rounds 2] [OVERRIDE ...]

Trains the runs of the seeds 0, 1, … by `hydra/launcher=together` and by Hydra's own launcher, both
from the device's memory, in turn, round after round. A row has the seconds of the whole command,
from the import of Keras to the last run's pictures, the median over the rounds and each round's;
the last line how many times as fast the one is.

Two cores of an AMD EPYC, 16 runs with model.layers.conv1=null model.layers.conv2=null
trainer.epochs=5:

    one after another       70.3 s   of each round 73.5 67.1
    together                50.3 s   of each round 50.2 50.3

The default net for 8 steps, trainer.limit_steps=4 trainer.epochs=2 augment=none, one round, most of
it compilation, while others used the cores:

    one after another      253.2 s
    together               116.8 s
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VARIANTS = {
    "one after another": ("trainer.feed=device",),
    "together": ("hydra/launcher=together",),
}


def seconds(variant: str, runs: int, overrides: list[str]) -> float:
    """What the sweep takes, in a process and a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        sweep = [f"seed=range({runs})", "tracking=none", f"hydra.sweep.dir={folder}"]
        command = [sys.executable, "-m", "convforge.pipeline.cli", "train", "-m", *sweep]
        start = time.monotonic()
        done = subprocess.run(
            [*command, *VARIANTS[variant], *overrides],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        taken = time.monotonic() - start
        if done.returncode:
            sys.exit(done.stderr)
        assert len([*Path(folder).glob("*/model")]) == runs
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("overrides", nargs="*", help="of all runs, as for `convforge train`")
    arguments = parser.parse_args()
    if os.environ.get("KERAS_BACKEND") != "jax":
        sys.exit("give KERAS_BACKEND=jax")
    taken: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(arguments.rounds):
        for variant, rounds in taken.items():
            rounds.append(seconds(variant, arguments.runs, arguments.overrides))
            print(f"{variant:<20}{rounds[-1]:8.1f} s", flush=True)
    print(f"\n{arguments.runs} runs {' '.join(arguments.overrides)}")
    for variant, rounds in taken.items():
        each = " ".join(f"{value:.1f}" for value in rounds)
        print(f"{variant:<20}{statistics.median(rounds):8.1f} s   of each round {each}")
    alone, together = (statistics.median(rounds) for rounds in taken.values())
    print(f"together is {alone / together:.2f} times as fast")


if __name__ == "__main__":
    main()
