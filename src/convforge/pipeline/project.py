"""Where the project lies, and the paths that count from its folder."""

from __future__ import annotations

import os
from pathlib import Path

from convforge.errors import InputError

CONFIG_NAME = "config"


def project_root(start: Path | None = None) -> Path:
    """The folder that holds `conf/config.yaml`: `start` (default: here) or a folder above it.

    Raises:
        InputError: there is none.
    """
    start = (start or Path.cwd()).resolve()
    source_tree = Path(__file__).resolve().parents[3]
    for folder in (start, *start.parents, source_tree):
        if (folder / "conf" / f"{CONFIG_NAME}.yaml").is_file():
            return folder
    raise InputError(
        f"no conf/{CONFIG_NAME}.yaml in {start} or above it: go to the project's folder"
    )


def workspace_root(root: Path) -> Path:
    """The folder of the default store: the workspace's, from inside a queued experiment too.

    DVC runs `--queue` and `--temp` experiments in a copy below `.dvc/tmp/exps`, which it deletes;
    it names the workspace in DVC_ROOT.
    """
    return Path(os.environ.get("DVC_ROOT") or root).resolve()


def resolve_path(path: str, root: Path) -> Path:
    """`path` as written in a config: absolute, or relative to the project's `root`."""
    given = expanded(path)
    return given if given.is_absolute() else root / given


def expanded(path: str) -> Path:
    """`path` with the home folder for `~`, where a shell has left it since it was in quotes."""
    # Path.expanduser() raises for a `~NAME` that is nobody's.
    return Path(os.path.expanduser(path))  # noqa: PTH111
