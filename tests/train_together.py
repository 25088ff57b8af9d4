"""Runs of one group, and each alone: `train_together.py FOLDER DATA mapped|turns|alone [BYTES]`.

FOLDER holds the configs 0.yaml, 1.yaml, …; run k is left in FOLDER/MODE/k, what has ended it in
FOLDER/MODE/k.txt, and what the group has said in FOLDER/MODE/said.txt. With BYTES the process may
take no more than these besides what it has when the group's program is compiled.
"""

from __future__ import annotations

import resource
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


def main(folder: Path, data: Path, mode: str, more_bytes: int | None = None) -> None:
    def run(settings: Settings, out: Path, grouped: Any = None) -> None:
        train(settings, data, out, folder, QUIET, grouped=grouped)

    configs = sorted(folder.glob("*.yaml"))
    runs = [partial(run, read_params(path), folder / mode / path.stem) for path in configs]
    (folder / mode).mkdir()
    if mode == "alone":
        for each in runs:
            each()
        return

    def say(line: str) -> None:
        with (folder / mode / "said.txt").open("a") as said:
            said.write(f"{line}\n")
        if more_bytes is not None and "in one program" in line:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + more_bytes
            resource.setrlimit(resource.RLIMIT_AS, (most, most))

    done = run_together(runs, stop=StopRequest(), mapped=mode == "mapped", say=say)
    for path, result in zip(configs, done, strict=True):
        if result is not None and not isinstance(result, DivergenceError):
            raise result
        (folder / mode / f"{path.stem}.txt").write_text(str(result or ""))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
