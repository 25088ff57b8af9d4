"""One training on a cluster of two nodes, undisturbed and in trouble; prints what each run said.

Arguments: a folder with a config for each kind of run, and the prepared data.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from two_nodes import start_two_nodes
from victims import kill_when, processes

_WORKER = "ray::RayTrainWorker"


class Runs:
    """Runs of the configs in `folder`, each into a folder of its own."""

    def __init__(self, folder: Path, data: Path) -> None:
        self._folder, self._data = folder, data
        self.told: dict[str, list[tuple[int, str]]] = {}

    def start(self, name: str, config: str = "run") -> subprocess.Popen[str]:
        stage = [sys.executable, "-m", "convforge.pipeline.stages.train"]
        places = ["--data", str(self._data), "--out", str(self.out(name))]
        return subprocess.Popen(
            [*stage, "--params", str(self._folder / f"{config}.yaml"), *places],
            cwd=self._folder,
            # The shortest that Ray Train waits for room.
            env={**os.environ, "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20"},
            stderr=subprocess.PIPE,
            text=True,
        )

    def out(self, name: str) -> Path:
        return self._folder / "out" / name

    def end(self, name: str, run: subprocess.Popen[str]) -> None:
        _, said = run.communicate()
        self.told.setdefault(name, []).append((run.returncode, said))

    def disturbed(
        self, name: str, victim: Callable[[subprocess.Popen[str], Path], int | None], number: int
    ) -> None:
        """Send signal `number` to the process that `victim` names, once some epochs are over."""
        history = self.out(name) / "history.csv"
        with self.start(name) as run:

            def ready() -> int | None:
                over = history.exists() and len(history.read_text().splitlines()) > 4
                return victim(run, self.out(name)) if over else None

            kill_when(ready, run, number)
            self.end(name, run)


def _first(run: subprocess.Popen[str], out: Path) -> int | None:
    return next(iter(processes(_WORKER, str(out))), None)


def _second(run: subprocess.Popen[str], out: Path) -> int | None:
    first = processes(_WORKER, str(out))
    return next((one for one in processes(_WORKER) if first and one not in first), None)


def _driver(run: subprocess.Popen[str], out: Path) -> int | None:
    return run.pid


def main() -> None:
    runs = Runs(*map(Path, sys.argv[1:]))
    start_two_nodes()
    for name in ("run", "short", "alone", "mistake", "diverging", "crowded"):
        runs.end(name, runs.start(name, name))
    runs.disturbed("first killed", _first, signal.SIGKILL)
    runs.disturbed("second killed", _second, signal.SIGKILL)
    for name, number in (("driver killed", signal.SIGKILL), ("interrupted", signal.SIGINT)):
        runs.disturbed(name, _driver, number)
        runs.end(name, runs.start(name))
    runs.disturbed("terminated", _driver, signal.SIGTERM)
    print(json.dumps(runs.told))


if __name__ == "__main__":
    main()
