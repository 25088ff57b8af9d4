"""Runs of one group, and each alone: `python train_together.py FOLDER DATA mapped|turns|alone`.

FOLDER holds the configs 0.yaml, 1.yaml, …; run k is left in FOLDER/MODE/k, and what has ended it in
FOLDER/MODE/k.txt.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from convforge.errors import DivergenceError
from convforge.pipeline.composition import read_params
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.train import train
from convforge.pipeline.training.resume.signals import StopRequest
from convforge.pipeline.training.run_group import run_together

QUIET = Progress(Verbosity.QUIET)


def main(folder: Path, data: Path, mode: str) -> None:
    def run(settings: Settings, out: Path, grouped: Any = None) -> None:
        train(settings, data, out, folder, QUIET, grouped=grouped)

    configs = sorted(folder.glob("*.yaml"))
    runs = [partial(run, read_params(path), folder / mode / path.stem) for path in configs]
    (folder / mode).mkdir()
    if mode == "alone":
        for each in runs:
            each()
        return
    done = run_together(runs, stop=StopRequest(), mapped=mode == "mapped", say=QUIET.say)
    for path, result in zip(configs, done, strict=True):
        if result is not None and not isinstance(result, DivergenceError):
            raise result
        (folder / mode / f"{path.stem}.txt").write_text(str(result or ""))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
