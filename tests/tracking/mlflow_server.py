"""A real MLflow server on loopback that can be killed, and a proxy that spoils what it answers."""

from __future__ import annotations

import base64
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_START_SECONDS = 90.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`mlflow server` with artifacts in `folder`, and a SQLite database there or another one."""

    def __init__(self, folder: Path, database: str | None = None, workers: int = 1) -> None:
        self.folder = folder
        self.workers = workers
        self.database = database or f"sqlite:///{folder}/server.db"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--workers", str(self.workers)]
        command += ["--backend-store-uri", self.database]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            assert self._process.poll() is None, (self.folder / "server.log").read_text()
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the MLflow server did not start")

    def kill(self) -> None:
        """End it and its workers at once, whatever they are at."""
        if self._process is not None:
            # Its own session: the group has nobody else in it.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def running_server(folder: Path, database: str | None = None, workers: int = 1) -> Iterator[Server]:
    """A server for as long as the block runs."""
    server = Server(folder, database, workers)
    try:
        server.start()
        yield server
    finally:
        server.kill()


#: What the proxy does to a request, and how often of 16 times.
FAULTS = {
    "pass": 7,
    "slow": 1,
    "error": 2,
    "error after": 2,
    "cut before": 1,
    "cut after": 2,
    "late": 1,
}


class Proxy(ThreadingHTTPServer):
    """Passes requests on to `port`, or spoils them, by the draws of `seed`."""

    daemon_threads = True

    def __init__(self, port: int, seed: int, timeout: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = port
        self.client_timeout = timeout
        self.faults: dict[str, int] = dict.fromkeys(FAULTS, 0)
        self.is_honest = False
        #: What a request must name itself by, `user:password`; the server behind asks for nothing.
        self.demanded: str | None = None
        self._random = random.Random(seed)
        self._guard = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def draw(self) -> str:
        with self._guard:
            if self.is_honest:
                return "pass"
            (fault,) = self._random.choices(list(FAULTS), list(FAULTS.values()))
            self.faults[fault] += 1
            return str(fault)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def _answer(self) -> None:
        fault = self.server.draw()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        demanded = self.server.demanded
        if demanded is not None:
            right = "Basic " + base64.b64encode(demanded.encode()).decode()
            if self.headers.get("Authorization") != right:
                self._reply(401, b"who are you?", {"WWW-Authenticate": "Basic"})
                return
        if fault == "cut before":
            self.close_connection = True
            return
        if fault == "error":
            self._reply(500, b"<html>not now</html>", {})
            return
        if fault == "slow":
            time.sleep(0.3)
        if fault == "late":  # The client has given up, and the server gets it all the same.
            time.sleep(self.server.client_timeout + 0.5)
        status, content, headers = self._pass_on(body)
        if fault == "error after":
            self._reply(500, b"<html>not now</html>", {})
        elif fault == "cut after":
            self._reply(status, content, headers, half=True)
        else:
            self._reply(status, content, headers)

    def _pass_on(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name != "Connection"}
        try:
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            kept = {"Content-Type": answer.headers.get("Content-Type", "application/json")}
            return answer.status, answer.read(), kept
        finally:
            upstream.close()

    def _reply(
        self, status: int, content: bytes, headers: dict[str, str], *, half: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if half else content)
        if half:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
