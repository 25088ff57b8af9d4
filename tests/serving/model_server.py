"""`mlflow models serve` on loopback, and what it answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_server import free_port

_START_SECONDS = 90.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    content: dict[str, Any]

    @property
    def predictions(self) -> list[dict[str, Any]]:
        assert self.status == 200, self.content
        found: list[dict[str, Any]] = self.content["predictions"]
        return found


@dataclass(frozen=True)
class ModelServer:
    """A server that runs."""

    port: int
    process: subprocess.Popen[bytes]

    def ask(self, body: Any, kind: str = "application/json") -> Answer:
        """Send `body`, as JSON unless it is bytes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/invocations", content, {"Content-Type": kind}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Answer(answer.status, json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            said = error.read().decode()
            return Answer(error.code, json.loads(said) if said.startswith("{") else {"text": said})


@contextmanager
def serving(
    model: Path,
    folder: Path,
    env_manager: str = "local",
    seconds: float = _START_SECONDS,
    **environment: str,
) -> Iterator[ModelServer]:
    """A server of the MLflow model in the folder `model`, started in `folder`."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model)]
    command += ["-h", "127.0.0.1", "-p", str(port), "--env-manager", env_manager]
    log = folder / "serve.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert process.poll() is None, log.read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1):
                    break
            except OSError:
                time.sleep(0.1)
        else:
            raise AssertionError(f"the server did not start:\n{log.read_text()}")
        yield ModelServer(port, process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
