"""Where a run comes from: who, which commit, which experiment."""

from __future__ import annotations

import getpass
import os
import subprocess
from pathlib import Path

# What a run is made of. DVC itself removes and writes what the stages put out, dvc.lock among it.
_SOURCES = (
    "src",
    "conf",
    "params.yaml",
    "dvc.yaml",
    "data.dvc",
    "pyproject.toml",
    "constraints.txt",
)


def provenance_tags(root: Path) -> dict[str, str]:
    """Tags under the names that MLflow's pages look for, and the DVC experiment's name."""
    tags = {
        "mlflow.user": _user(),
        "mlflow.source.type": "PROJECT",
        "mlflow.source.name": "convforge",
    }
    commit = git(root, "rev-parse", "HEAD")
    if commit:
        tags["mlflow.source.git.commit"] = commit
        changed = git(root, "status", "--porcelain", "--", *_SOURCES)
        tags["convforge.git_changes"] = "yes" if changed else "no"
    experiment = os.environ.get("DVC_EXP_NAME")
    if experiment:
        tags["dvc.experiment"] = experiment
    return tags


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A container's user need not have a name.
        return "unknown"


def git(root: Path, *arguments: str) -> str:
    """What Git answers in the folder `root`; "" where it is no repository, or there is no Git."""
    try:
        return subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
