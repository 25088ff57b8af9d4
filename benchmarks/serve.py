"""What a served model answers a second, and how long a request waits.

    python benchmarks/serve.py [MODEL] [--seconds 5] [--rounds 3] [--requests 10000]

MODEL is a run's folder, build/train unless said otherwise. Requests hold one image each. Rows: the
model called in this process; MLflow's server with this project's model, asked with a PNG in base64
and with pixels; the same server with the same net as MLflow's own Keras flavour logs it, asked with
pixels. All servers run from the beginning, one is asked at a time, by 1, 8 and 32 clients in turn,
round after round; a row has the medians of the rounds. Then one server gets so many requests, and
its memory is looked at before, half-way and after. Start nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")

CLIENTS = (1, 8, 32)


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
                    raise SystemExit(log.read_text()) from None
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
                raise SystemExit(content.decode())
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, default=Path("build/train"))
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=10_000)
    given = parser.parse_args()

    import mlflow
    import numpy as np
    from mlflow.models import Model, infer_signature

    from convforge.pipeline.tracking.logged_model import write_mlflow_model
    from convforge.serving.model_card import EXAMPLE
    from convforge.serving.predictor import decode_image, find_model, load_predictor

    weights, _ = find_model(given.model)
    predictor = load_predictor(given.model)
    file = (weights.parent / EXAMPLE).read_bytes()
    pixels = decode_image(file, predictor.card)[None]
    bodies = {
        "file": json.dumps({"inputs": [base64.b64encode(file).decode()]}).encode(),
        "pixels": json.dumps({"inputs": pixels.tolist()}).encode(),
    }
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_mlflow_model(weights.parent, folder / "ours", Model())
        # MLflow's own flavour does not import what Keras must know: Python does, as it starts.
        (folder / "sitecustomize.py").write_text("import convforge\n")
        floats = pixels.astype(np.float32)
        signature = infer_signature(floats, predictor.outputs(floats))
        mlflow.keras.save_model(predictor.model, str(folder / "keras"), signature=signature)
        servers = {
            name: Server(folder / name, folder / f"{name}.log") for name in ("ours", "keras")
        }
        rows = (("ours", "file"), ("ours", "pixels"), ("keras", "pixels"))
        try:
            for _ in range(given.rounds):
                found.setdefault(("in this process", 1), []).append(
                    in_process(predictor, pixels, given.seconds)
                )
                for clients in CLIENTS:
                    for server, body in rows:
                        found.setdefault((f"{server}, {body}", clients), []).append(
                            measured(servers[server].port, bodies[body], clients, given.seconds)
                        )
            ours = servers["ours"]
            memory = [ours.megabytes()]
            for _ in range(2):
                load(ours.port, bodies["file"], 8, lambda count: count < given.requests // 2)
                memory.append(ours.megabytes())
        finally:
            for each in servers.values():
                each.end()
    print(f"\n{predictor.card.name}, {platform.processor() or platform.machine()}, ", end="")
    print(f"{os.cpu_count()} cores; medians of {given.rounds} rounds of {given.seconds:g} s\n")
    print("| asked | clients | requests/s | p50 ms | p99 ms |\n|---|---|---|---|---|")
    for (name, clients), rounds in found.items():
        rate, median, high = (statistics.median(values) for values in zip(*rounds, strict=True))
        print(f"| {name} | {clients} | {rate:,.0f} | {median:.1f} | {high:.1f} |")
    steps = " → ".join(f"{megabytes:,.0f}" for megabytes in memory)
    print(f"\nmemory over {given.requests:,} requests: {steps} MB")


if __name__ == "__main__":
    main()
