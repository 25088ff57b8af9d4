"""`convforge sync`: deliver what runs could not."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from convforge.errors import InputError
from convforge.pipeline.commands.parser import command
from convforge.pipeline.stages.entry import progress_of


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands,
        "sync",
        run,
        "deliver to MLflow what runs could not: its server was down, or the run was killed",
        "",
        "outputs/train/2026-11-22_15-04-05",
        "--uri http://192.168.0.7:5000",
    )
    parser.add_argument(
        "--uri", help="address of the store, if it is not where it was when the run was made"
    )
    parser.add_argument(
        "folders",
        type=Path,
        nargs="*",
        metavar="FOLDER",
        help="folders of runs (default: everything that waits)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from convforge.pipeline.project import project_root
    from convforge.pipeline.settings.tracking import refused_store
    from convforge.pipeline.tracking.outbox import sync
    from convforge.pipeline.tracking.store import resolved

    allowed = arguments.uri and refused_store(arguments.uri)
    if allowed:
        raise InputError(f"--uri={arguments.uri} is not allowed: give {allowed}")
    for folder in arguments.folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder")
    root = project_root()
    uri = resolved(arguments.uri, root) if arguments.uri else None
    left = sync(root, arguments.folders, progress_of(arguments), uri)
    if left:
        said = "; ".join(f"{count} events wait for {uri}" for uri, count in left.items())
        raise InputError(f"not everything is delivered: {said}")
