"""Sweeps on a cluster of two nodes, with a worker killed in the middle of each; prints what was.

python lose_a_job.py PROJECT ARGUMENT…
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from two_nodes import ADDRESS, start_two_nodes
from victims import in_mid_training, kill_when


def _sweep(project: Path, *arguments: str) -> tuple[int, str]:
    launcher = ["hydra/launcher=ray", f"hydra.launcher.address={ADDRESS}"]
    command = [sys.executable, "-m", "convforge.pipeline.cli", "train", "-m", *launcher, *arguments]
    with subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True) as sweep:
        kill_when(lambda: in_mid_training(project, "ray::run_on_worker"), sweep)
        _, said = sweep.communicate()
    return sweep.returncode, said


def main() -> None:
    project, *arguments = Path(sys.argv[1]), *sys.argv[2:]
    start_two_nodes()
    status, said = _sweep(project, *arguments)
    print(json.dumps({"status": status, "said": said}))


if __name__ == "__main__":
    main()
