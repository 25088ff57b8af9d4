"""What a measurement was made on, and with what."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from measurement import PEERS, ROOT, output

from convforge.pipeline.machine import cores, memory_gib, processor

PACKAGES = ("tensorflow", "keras", "jax", "numpy", "pillow", "mlflow", "dvc", "torch")
PEER_PACKAGES = ("torch", "torchvision", "albumentations", "opencv-python-headless", "simplejpeg")
_VERSIONS = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system."""
    return {
        "processor": processor(),
        "architecture": platform.machine(),
        "cores": cores(),
        "memory_gb": memory_gib(),
        "system": platform.system(),
        "python": platform.python_version(),
        "accelerator": accelerator(),
    }


def accelerator() -> str | None:
    """The name of an NVIDIA GPU, or None where none answers."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return output(command).splitlines()[0]
    except (OSError, RuntimeError, IndexError):
        return None


def versions() -> dict[str, str]:
    """Of the packages that are measured; of the peers, where they have an environment of theirs."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if PEERS.exists():
        peers = json.loads(output([str(PEERS), "-c", _VERSIONS, *PEER_PACKAGES]))
        found |= {f"{name} (peers)": number for name, number in peers.items()}
    elif "torch" not in found:
        own = json.loads(output([sys.executable, "-c", _VERSIONS, *PEER_PACKAGES]))
        found |= own
    return found


def moment() -> dict[str, Any]:
    """When, on which commit, and how busy the machine was before."""
    try:
        commit = output(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]).strip()
        changed = subprocess.run(["git", "-C", str(ROOT), "diff", "--quiet", "HEAD"], check=False)
        commit += " with changes" if changed.returncode else ""
    except (OSError, RuntimeError):
        commit = "not in Git"
    return {
        "date": datetime.now().astimezone().strftime("%Y-%m-%d"),
        "commit": commit,
        "load": round(os.getloadavg()[0], 1),
    }
