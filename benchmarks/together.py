"""Runs of a sweep trained by one program beside the same runs one after another, on JAX.

    KERAS_BACKEND=jax python benchmarks/together.py [--runs 16] [--rounds 2] [OVERRIDE ...]

Trains the runs of the seeds 0, 1, … by `hydra/launcher=together` and by Hydra's own launcher, both
from the device's memory, in turn, round after round: the seconds of the whole command, from the
import of Keras to the last run's pictures.

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
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from measurement import Row, convforge, measure, options, report

VARIANTS = {
    "one after another": ("trainer.feed=device",),
    "together": ("hydra/launcher=together",),
}


def seconds(variant: str, runs: int, overrides: list[str]) -> float:
    """What the sweep takes, in a process and a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        sweep = [f"seed=range({runs})", "tracking=none", f"hydra.sweep.dir={folder}"]
        start = time.monotonic()
        convforge("train", "-m", *sweep, *VARIANTS[variant], *overrides)
        taken = time.monotonic() - start
        assert len([*Path(folder).glob("*/model")]) == runs
    return taken


def main() -> None:
    parser = options(__doc__, rounds=2, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--name", help="of the runs; default: the overrides")
    parser.add_argument("overrides", nargs="*", help="of all runs, as for `convforge train`")
    given = parser.parse_args()
    if os.environ.get("KERAS_BACKEND") != "jax":
        sys.exit("give KERAS_BACKEND=jax")
    name = given.name or " ".join(given.overrides)
    row = Row(f"{given.runs} runs {name}".rstrip(), "s", base="one after another")
    arms = {variant: partial(seconds, variant, given.runs, given.overrides) for variant in VARIANTS}
    report([measure(row, arms, given.rounds)], given.json)


if __name__ == "__main__":
    main()
