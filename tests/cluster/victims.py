"""Finding the process that does a job, and killing it in the middle of it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from convforge.pipeline.tracking.journal import Journal

_SECONDS = 120.0


def processes(command: str, path: str = "") -> list[int]:
    """Those whose command line contains `command` and that have a file open below a `path`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if command.encode() not in (process / "cmdline").read_bytes():
                continue
            files = [str(link.readlink()) for link in (process / "fd").iterdir()]
        except OSError:
            continue  # It has ended.
        if any(path in file for file in files):
            found.append(int(process.name))
    return found


def kill_when(
    ready: Callable[[], int | None], running: subprocess.Popen[str], number: int = signal.SIGKILL
) -> int:
    """Send a signal to the process that `ready` names as soon as it does, while `running` runs."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        assert running.poll() is None, "it ended before anything could be killed"
        victim = ready()
        if victim is not None:
            os.kill(victim, number)
            return victim
        time.sleep(0.01)
    raise AssertionError("nothing to kill")


def in_mid_training(project: Path, command: str, name: str = "") -> int | None:
    """A process with `command` whose run, called `name` if that is given, has logged an epoch."""
    for folder in sorted((project / "outputs" / "undelivered").glob("train-*")):
        events = list(Journal(folder).events())
        if any(event.kind == "metrics" for event in events) and (
            not name or events[0].content["name"] == name
        ):
            for process in processes(command, folder.name):
                return process
    return None
