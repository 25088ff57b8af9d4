"""A Ray cluster of two nodes with one core each; runs in a network of its own."""

from __future__ import annotations

import os
import subprocess
import sys

ADDRESS = "127.0.0.1:6379"


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
