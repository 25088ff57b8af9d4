"""Preprocess on a cluster of two nodes, undisturbed, with a worker killed, and killed itself.

Arguments: a folder with `pictures.*`, sources of images, and the overrides for all of them. Makes
`out-NAME` of each, and `out-worker` and `out-driver` of the zip.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from two_nodes import ADDRESS, start_two_nodes
from victims import kill_when, processes


def _command(source: Path, out: Path, overrides: list[str]) -> list[str]:
    stage = [
        sys.executable,
        "-m",
        "convforge.pipeline.cli",
        "preprocess",
        "--cluster",
        f"ray:{ADDRESS}",
    ]
    return [*stage, "--out", str(out), f"data.path={source}", *overrides]


def _once_some_are_made(
    out: Path, victim: Callable[[], int | None], *, few: int = 3
) -> Callable[[], int | None]:
    def ready() -> int | None:
        made = list(out.with_name(f".{out.name}.partial").glob("*.tfrecord"))
        return victim() if len(made) >= few else None

    return ready


def main() -> None:
    folder, overrides = Path(sys.argv[1]), sys.argv[2:]
    start_two_nodes()
    for source in sorted(folder.glob("pictures.*")):
        command = _command(source, folder / f"out-{source.suffix[1:]}", overrides)
        subprocess.run(command, cwd=folder, check=True)

    source = folder / "pictures.zip"
    out = folder / "out-worker"
    with subprocess.Popen(_command(source, out, overrides), cwd=folder, text=True) as run:
        kill_when(_once_some_are_made(out, lambda: next(iter(processes("ray::_call")), None)), run)
    assert run.returncode == 0, "the jobs of the killed worker are done by another"

    out = folder / "out-driver"
    with subprocess.Popen(_command(source, out, overrides), cwd=folder, text=True) as run:
        kill_when(_once_some_are_made(out, lambda: run.pid), run)
    assert run.returncode == -9
    made = len(list(out.with_name(f".{out.name}.partial").glob("*.tfrecord")))
    subprocess.run(_command(source, out, overrides), cwd=folder, check=True)
    print(f"1 worker killed, 1 run killed after {made} shards and resumed")


if __name__ == "__main__":
    main()
