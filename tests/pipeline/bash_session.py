"""One bash, as a reader has it, to which commands are given one after the other."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

_SECONDS = 3600.0
_START_SECONDS = 600.0


class BashSession:
    """A bash in `folder`, whose commands print into files of `log`; it ends with the block."""

    def __init__(self, folder: Path, environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        self._logs = 0
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # A group of its own, which ends with whatever it started.
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[int, str]:
        """The command's exit status, and what it printed."""
        log = self._give(command, "; echo $?")
        assert self._bash.stdout is not None
        too_long = threading.Timer(_SECONDS, self.end)
        too_long.start()
        try:
            status = self._bash.stdout.readline()
        finally:
            too_long.cancel()
        printed = log.read_text(encoding="utf-8")
        assert status, f"bash has ended in `{command}`:\n{printed}"
        return int(status), printed

    def start(self, command: str, is_ready: Callable[[str], bool]) -> str:
        """Start a command in the background; what it printed until `is_ready` said so of that."""
        log = self._give(command, " &")
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            printed = log.read_text(encoding="utf-8") if log.exists() else ""
            if is_ready(printed):
                return printed
            time.sleep(0.2)
        raise AssertionError(f"`{command}` is not ready, and printed:\n{printed}")

    def end(self) -> None:
        """End bash and all that it started, whatever they are at."""
        os.killpg(self._bash.pid, signal.SIGKILL)

    def __enter__(self) -> BashSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._bash.communicate()

    def _give(self, command: str, then: str) -> Path:
        self._logs += 1
        log = self._log / f"{self._logs:02}.txt"
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{{ {command}\n}} </dev/null >'{log}' 2>&1{then}\n")
        self._bash.stdin.flush()
        return log
