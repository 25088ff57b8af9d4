"""A web server on this machine whose faults a test can choose."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath


@dataclass
class Behaviour:
    """What the server has, and how it misbehaves; `requests` are the paths and ranges asked for."""

    files: dict[str, bytes]
    #: Ends the connection after so many bytes of each answer, in turn; then it behaves.
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    #: Answers with these, in turn; then it behaves.
    statuses: list[int] = field(default_factory=list)
    #: Added to the start of the part it sends, so that it is another than asked for.
    shift: int = 0
    #: Says nothing of the length.
    chunked: bool = False
    #: Waits for the test's end instead of answering, or after so many bytes.
    hangs_after: int | None = None
    #: Seconds between single bytes.
    drip: float = 0.0
    #: Answers with what is no HTTP.
    garbage: bool = False
    redirect: str | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour: Behaviour

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        behaviour = self.behaviour
        self.close_connection = True
        asked = self.headers.get("Range")
        behaviour.requests.append((self.path, asked))
        if behaviour.garbage:
            self.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")
            return
        if behaviour.hangs_after is None and behaviour.statuses:
            self.send_error(behaviour.statuses.pop(0))
            return
        if behaviour.redirect is not None:
            self.send_response(302)
            self.send_header("Location", behaviour.redirect + self.path)
            self.end_headers()
            return
        content = behaviour.files.get(PurePosixPath(self.path).name)
        if content is None:
            self.send_error(404)
            return
        self._send(content, asked if behaviour.ranges else None)

    def _send(self, content: bytes, asked: str | None) -> None:
        behaviour = self.behaviour
        start = 0
        if asked is not None:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) + behaviour.shift  # type: ignore[index]
            if start >= len(content):
                self.send_error(416)
                return
        if behaviour.hangs_after == 0:
            behaviour.ended.wait()
            return
        self.send_response(200 if asked is None else 206)
        if asked is not None:
            total = len(content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        part = content[start:]
        if not behaviour.chunked:
            self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if behaviour.drip:
            self._drip(part)
        elif behaviour.hangs_after:
            self.wfile.write(part[: behaviour.hangs_after])
            behaviour.ended.wait()
        else:
            self.wfile.write(part[: behaviour.cuts.pop(0)] if behaviour.cuts else part)

    def _drip(self, part: bytes) -> None:
        for byte in part:
            if self.behaviour.ended.is_set():
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(self.behaviour.drip)

    def handle(self) -> None:
        # The other side may be gone: that is what some tests are about.
        with suppress(ConnectionError):
            super().handle()


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """The address of a folder with the behaviour's files."""
    handler = type("Handler", (_Handler,), {"behaviour": behaviour})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/folder"
        finally:
            behaviour.ended.set()
            server.shutdown()
            thread.join()
