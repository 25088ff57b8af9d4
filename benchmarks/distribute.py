"""Images per second of the default net, shared by 1, 2 and 4 devices or processes of this machine.

    python benchmarks/distribute.py            # some minutes
    python benchmarks/distribute.py --epochs 2

The devices are parts of one processor and the processes share its cores, so what it measures is
what sharing costs, not what it gains. The rate is that of the last epoch: the first compiles.
"""

from __future__ import annotations

import argparse
import csv
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WAYS = [
    ("tensorflow", "devices", (1, 2, 4)),
    ("jax", "devices", (1, 2, 4)),
    ("jax", "processes", (1, 2, 4)),
]
START = """
import sys
sys.path.insert(0, sys.argv[1])
from train_part import virtual_devices
virtual_devices(int(sys.argv[2]))
from convforge.pipeline.cli import main
sys.exit(main(["train", "-q", *sys.argv[3:]]))
"""


def seconds(backend: str, way: str, count: int, epochs: int) -> float:
    """Of the last of `epochs`."""
    devices, parts = (count, 1) if way == "devices" else (1, count)
    with tempfile.TemporaryDirectory() as folder, socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        server.close()
        common = [f"distribute={way}", f"trainer.epochs={epochs}", "trainer.batch_size=48"]
        common += ["tracking=none", "trainer.checkpoint.resume=false"]
        if way == "processes":
            common += [f"distribute.count={count}", f"distribute.coordinator=127.0.0.1:{port}"]
        processes = []
        for rank in range(parts):
            own = [f"hydra.run.dir={folder}/{rank}"]
            if way == "processes":
                own.append(f"distribute.rank={rank}")
            tests = str(ROOT / "tests" / "distribute")
            command = [sys.executable, "-c", START, tests, str(devices), *common, *own]
            environment = {**os.environ, "KERAS_BACKEND": backend}
            processes.append(subprocess.Popen(command, cwd=ROOT, env=environment))
        if any(process.wait() for process in processes):
            raise SystemExit(f"{backend}, {count} {way}: failed")
        with (Path(folder) / "0" / "history.csv").open(newline="") as file:
            return float(list(csv.DictReader(file))[-1]["epoch_seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3, help="of each run (default: %(default)s)")
    epochs = parser.parse_args().epochs
    print(f"{os.cpu_count()} cores, batches of 48, 3,600 images an epoch")
    for backend, way, counts in WAYS:
        for count in counts:
            rate = 3600 / seconds(backend, way, count, epochs)
            print(f"{backend:<11}{count:>3} {way:<10}{rate:>8,.0f} images/s", flush=True)


if __name__ == "__main__":
    main()
