"""What a served model answers a second, and how long a request waits.

    python benchmarks/serve.py [MODEL] [--seconds 5] [--rounds 3] [--requests 10000]

MODEL is a run's folder; without it, the default net after one step. Requests hold one image each.
Arms: the model called in this process; MLflow's server with this project's model, asked with a PNG
in base64 and with pixels; the same server with the same net as MLflow's own Keras flavour logs it,
asked with pixels. All servers run from the beginning, one is asked at a time, by 1, 8 and 32
clients in turn, round after round: requests a second, and the milliseconds that half and 99 % of
them wait at most. Then one server gets so many requests, and its memory is looked at before,
half-way and after. Start nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from measurement import Row, last_words, measure, options, report, trained_for_one_step

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")

CLIENTS = (1, 8, 32)
OURS, KERAS = "ours, file", "MLflow's Keras flavour, pixels"


class Server:
    """`mlflow models serve` on loopback."""

    def __init__(self, model: Path, log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model)]
        command += ["--env-manager", "local", "-h", "127.0.0.1", "-p", str(self.port)]
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command,
                stdout=file,
                stderr=file,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(log.parent)},
            )
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=1)
                return
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError(last_words(log.read_text())) from None
                time.sleep(0.1)

    def megabytes(self) -> float:
        """Of all its processes, what is in memory."""
        listed = subprocess.run(
            ["ps", "-o", "rss=", "-g", str(self.process.pid)], capture_output=True, text=True
        )
        return sum(map(int, listed.stdout.split())) / 1024

    def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def load(port: int, body: bytes, clients: int, goes_on: Callable[[int], bool]) -> list[float]:
    """The seconds of each request of so many clients, each with a connection that stays."""
    latencies: list[float] = []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while goes_on(len(latencies)):
            start = time.perf_counter()
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise RuntimeError(content.decode())
            latencies.append(time.perf_counter() - start)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return latencies


def measured(port: int, body: bytes, clients: int, seconds: float) -> tuple[float, float, float]:
    """Requests a second, and the median and the 99th percentile of their milliseconds."""
    load(port, body, clients, lambda count: count < 20 * clients)
    start = time.monotonic()
    latencies = load(port, body, clients, lambda _: time.monotonic() < start + seconds)
    taken = time.monotonic() - start
    cuts = statistics.quantiles(latencies, n=100)
    return len(latencies) / taken, 1000 * cuts[49], 1000 * cuts[98]


def in_process(predictor: Any, pixels: Any, seconds: float) -> tuple[float, float, float]:
    """The same without a server."""
    for _ in range(20):
        predictor.outputs(pixels)
    latencies = []
    start = time.monotonic()
    while time.monotonic() < start + seconds:
        before = time.perf_counter()
        predictor.outputs(pixels)
        latencies.append(time.perf_counter() - before)
    cuts = statistics.quantiles(latencies, n=100)
    return len(latencies) / (time.monotonic() - start), 1000 * cuts[49], 1000 * cuts[98]


def rows(given: argparse.Namespace) -> Iterator[Row]:
    """Rates and waits for each number of clients, and the memory over many requests."""
    import mlflow
    import numpy as np
    from mlflow.models import Model, infer_signature

    from convforge.pipeline.tracking.logged_model import write_mlflow_model
    from convforge.serving.model_card import EXAMPLE
    from convforge.serving.predictor import decode_image, find_model, load_predictor

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        run = given.model or trained_for_one_step(folder)
        weights, _ = find_model(run)
        predictor = load_predictor(run)
        file = (weights.parent / EXAMPLE).read_bytes()
        pixels = decode_image(file, predictor.card)[None]
        bodies = {
            "file": json.dumps({"inputs": [base64.b64encode(file).decode()]}).encode(),
            "pixels": json.dumps({"inputs": pixels.tolist()}).encode(),
        }
        write_mlflow_model(weights.parent, folder / "ours", Model())
        # MLflow's own flavour does not import what Keras must know: Python does, as it starts.
        (folder / "sitecustomize.py").write_text("import convforge\n")
        floats = pixels.astype(np.float32)
        signature = infer_signature(floats, predictor.outputs(floats))
        mlflow.keras.save_model(predictor.model, str(folder / "keras"), signature=signature)
        servers = {}
        for name in ("ours", "keras"):
            servers[name] = Server(folder / name, folder / f"{name}.log")
            stack.callback(servers[name].end)
        waits: dict[tuple[int, str], list[tuple[float, float]]] = {}

        def rate(clients: int, arm: str, found: tuple[float, float, float]) -> float:
            waits.setdefault((clients, arm), []).append(found[1:])
            return found[0]

        def asked(clients: int, arm: str, server: str, body: str) -> float:
            port = servers[server].port
            return rate(clients, arm, measured(port, bodies[body], clients, given.seconds))

        for clients in given.clients:
            row = Row(f"{clients} client{'s' * (clients > 1)}", "requests/s", base=KERAS)
            arms = {
                arm: partial(asked, clients, arm, server, body)
                for arm, server, body in (
                    (OURS, "ours", "file"),
                    ("ours, pixels", "ours", "pixels"),
                    (KERAS, "keras", "pixels"),
                )
            }
            if clients == 1:
                arms["in this process"] = lambda: rate(
                    1, "in this process", in_process(predictor, pixels, given.seconds)
                )
            yield measure(row, arms, given.rounds)
            for place, share in enumerate(("half", "99 %")):
                yield Row(
                    f"{row.name}, {share} wait at most",
                    "ms",
                    base=KERAS,
                    rounds={
                        arm: [each[place] for each in waits[clients, arm]] for arm in row.rounds
                    },
                )
        yield _memory(servers["ours"], bodies["file"], given.requests)


def _memory(server: Server, body: bytes, requests: int) -> Row:
    """Of a server's processes, before, in the midst of and after so many requests."""
    row = Row(f"memory over {requests:,} requests", "MB", base="before")
    row.rounds["before"] = [server.megabytes()]
    for moment in ("half-way", "after"):
        load(server.port, body, 8, lambda count: count < requests // 2)
        row.rounds[moment] = [server.megabytes()]
    return row


def main() -> None:
    parser = options(__doc__, rounds=3)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", nargs="+", type=int, default=CLIENTS)
    given = parser.parse_args()
    report(rows(given), given.json)


if __name__ == "__main__":
    main()
