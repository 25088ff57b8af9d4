"""How many figures a second MLflow's stores take, and what sweeps with several jobs at once cost.

    pip install 'convforge[sweep,postgresql]'
    python benchmarks/tracking_writes.py [--seconds 3]
    python benchmarks/tracking_writes.py sweeps

The stores: a SQLite file that all writers open, and `mlflow server` with two workers on SQLite and
on PostgreSQL, which is started in a temporary folder with its usual care for the disk (fsync). Each
writer is a process with a run of its own that sends `log_batch` requests one after another: of 8
figures, an epoch of ours, and of 1,000, the most that MLflow takes, as when a run catches up. Every
row checks that the store has what was sent. `sweeps` times four short runs, 1, 2 and 4 at once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from measurement import ROOT, make_project

# The servers that the tests use.
sys.path.insert(0, str(ROOT / "tests" / "tracking"))

from mlflow_server import running_server
from postgresql import running_postgresql, unavailable

from convforge.pipeline.tracking.mlflow_client import experiment_id, open_client

WRITERS = (1, 2, 4, 8)
# Figures of a request: an epoch's, and as many as MLflow takes.
EPOCH, LARGEST = 8, 1000
RUNS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (3)")
    parser.add_argument("what", nargs="?", choices=("stores", "sweeps"), default="stores")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(f"MLflow {version('mlflow')}, Python {platform.python_version()}, {cores} cores")
    if arguments.what == "sweeps":
        _measure_sweeps()
        return
    for name, uri in _stores():
        _measure_store(name, uri, arguments.seconds)


def _stores() -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        yield "SQLite", f"sqlite:///{folder}/runs.db"
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder), workers=2) as server:
        yield "server on SQLite", server.uri
    if why := unavailable():
        print(f"server on PostgreSQL: {why}")
        return
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        database = stack.enter_context(running_postgresql())
        server = stack.enter_context(running_server(Path(folder), database.uri, workers=2))
        yield "server on PostgreSQL", server.uri


def _measure_store(name: str, uri: str, seconds: float) -> None:
    experiment = experiment_id(open_client(uri, print), "benchmark", uri)
    print(f"\n{name:22}{'writers':>8}{'figures a request':>19}{'requests/s':>12}{'figures/s':>12}")
    for size in (EPOCH, LARGEST):
        for writers in WRITERS:
            requests, taken = _write(uri, experiment, writers, size, seconds)
            rate = requests / taken
            print(f"{'':22}{writers:8}{size:19,}{rate:12,.1f}{rate * size:12,.0f}", flush=True)


def _write(uri: str, experiment: str, writers: int, size: int, seconds: float) -> tuple[int, float]:
    """Requests that were answered, and the seconds in which they were."""
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(writers + 1), context.Queue()
    processes = [
        context.Process(target=_writer, args=(uri, experiment, size, seconds, barrier, queue))
        for _ in range(writers)
    ]
    for process in processes:
        process.start()
    barrier.wait()
    start = time.monotonic()
    done = [queue.get() for _ in processes]
    taken = time.monotonic() - start
    for process in processes:
        process.join()
    client = open_client(uri, print)
    for run, requests in done:
        for name in ("figure0", f"figure{size - 1}"):
            there = len(client.get_metric_history(run, name))
            assert there == requests, f"{there} of {requests} requests are in the store"
    return sum(requests for _, requests in done), taken


def _writer(
    uri: str, experiment: str, size: int, seconds: float, barrier: Barrier, queue: Any
) -> None:
    from mlflow.entities import Metric

    client = open_client(uri, print)
    run = client.create_run(experiment).info.run_id
    client.log_batch(run, metrics=[Metric("warm", 0.0, 0, 0)])
    barrier.wait()
    requests = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now = time.time_ns() // 1_000_000
        client.log_batch(
            run,
            metrics=[
                Metric(f"figure{number}", float(requests), now, requests) for number in range(size)
            ],
        )
        requests += 1
    queue.put((run, requests))


def _measure_sweeps() -> None:
    print(f"\n{RUNS} runs of 12 epochs{'jobs at once':>16}{'seconds':>10}{'seconds a run':>15}")
    with tempfile.TemporaryDirectory() as folder:
        project = make_project(Path(folder) / "project")
        command = [sys.executable, "-m", "convforge.pipeline.cli", "train", "-q", "-m"]
        overrides = ["trainer.epochs=12", "model=softmax_linear", "augment=none"]
        seeds = ",".join(str(seed) for seed in range(RUNS))
        # The first prepares the data.
        subprocess.run([*command[:-1], "trainer.epochs=1", *overrides[1:]], cwd=project, check=True)
        for jobs in (1, 2, 4):
            launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}"]
            start = time.monotonic()
            subprocess.run(
                [*command, *launcher, *overrides, f"seed={seeds}", f"tracking.experiment=of{jobs}"],
                cwd=project,
                check=True,
            )
            taken = time.monotonic() - start
            print(f"{'':18}{jobs:16}{taken:10.1f}{taken / RUNS:15.1f}", flush=True)
            client = open_client(f"sqlite:///{project}/mlflow.db", print)
            experiment = client.get_experiment_by_name(f"of{jobs}").experiment_id
            assert len(client.search_runs([experiment])) == RUNS + 1


if __name__ == "__main__":
    main()
