"""`convforge compose`: `params.yaml` from `conf/`."""

from __future__ import annotations

import argparse
from typing import Any

from convforge.pipeline.commands.parser import OVERRIDES, command
from convforge.pipeline.project import project_root
from convforge.pipeline.stages.entry import progress_of


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands,
        "compose",
        run,
        "compose params.yaml from conf/",
        "",
        "model=lecture_cnn trainer=cpu_quick",
        "--check",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; show how params.yaml differs from conf/ and exit with 1 if it does",
    )
    parser.add_argument("overrides", nargs="*", help=OVERRIDES)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from convforge.pipeline.stages.compose import compose, difference

    root = project_root()
    if not arguments.check:
        compose(root, arguments.overrides, progress_of(arguments))
        return
    lines = difference(root, arguments.overrides)
    if lines:
        print("\n".join(lines))
        raise SystemExit(1)
    progress_of(arguments).say("params.yaml is what conf/ composes to")
