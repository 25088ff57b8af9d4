"""`convforge sync`: deliver what runs could not."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from convforge.errors import InputError
from convforge.pipeline.commands.parser import command
from convforge.pipeline.credentials import redacted_uri
from convforge.pipeline.project import expanded, project_root
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
        type=expanded,
        nargs="*",
        metavar="FOLDER",
        help="folders of runs (default: everything that waits)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from convforge.pipeline.tracking.outbox import sync
    from convforge.pipeline.tracking.store import given_uri

    root = project_root()
    uri = given_uri(arguments.uri, "--uri", root) if arguments.uri else None
    if arguments.own_process and uri and redacted_uri(arguments.uri) != arguments.uri:
        _start_again_without(arguments.uri, uri)
    for folder in arguments.folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder")
    left = sync(root, arguments.folders, progress_of(arguments), uri)
    if left:
        said = "; ".join(f"{count} events wait for {uri}" for uri, count in left.items())
        raise InputError(f"not everything is delivered: {said}")


def _start_again_without(given: str, uri: str) -> None:
    """Become the same command with `uri` for `given`: everybody can read a process's arguments."""
    arguments = [argument.replace(given, uri) for argument in sys.orig_argv[1:]]
    os.execv(sys.executable, [sys.executable, *arguments])
