"""A Ray cluster of two nodes with one core each, and its workers; runs in a network of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ADDRESS = "127.0.0.1:6379"
_SECONDS = 120.0


def start_two_nodes() -> None:
    """Start the cluster at ADDRESS, in whose environment nothing is of what its clients want.

    It ends with the network that it is in.
    """
    common = ["--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats"]
    head = ["--head", "--port=6379", "--include-dashboard=false"]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")
    }
    for arguments in (head, [f"--address={ADDRESS}"]):
        subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments, *common],
            check=True,
            env=environment,
            cwd="/",
            stdout=sys.stderr,
        )


def workers_at(task: str, path: str = "") -> list[int]:
    """The workers at the function `task` that have a file open whose path contains `path`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if not (process / "cmdline").read_bytes().startswith(f"ray::{task}".encode()):
                continue
            files = [str(link.readlink()) for link in (process / "fd").iterdir()]
        except OSError:
            continue  # It has ended.
        if any(path in file for file in files):
            found.append(int(process.name))
    return found


def kill_when(ready: Callable[[], int | None], running: subprocess.Popen[str]) -> int:
    """Kill the process that `ready` names as soon as it does, while `running` runs."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        assert running.poll() is None, "it ended before anything could be killed"
        victim = ready()
        if victim is not None:
            os.kill(victim, signal.SIGKILL)
            return victim
        time.sleep(0.01)
    raise AssertionError("nothing to kill")
