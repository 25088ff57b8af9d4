"""`convforge fetch`: public data sets."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from convforge.errors import InputError
from convforge.pipeline.commands.parser import command
from convforge.pipeline.project import expanded, project_root
from convforge.pipeline.stages.entry import progress_of


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands,
        "fetch",
        run,
        "download a public data set, checked and resumable",
        "cifar10",
        "mnist --out /data/mnist",
        "cifar100 --url https://example.org/mirror",
    )
    parser.add_argument(
        "data_set", metavar="NAME", help="cifar10, cifar100, mnist or fashion_mnist"
    )
    parser.add_argument("--out", type=expanded, help="folder to fill (default: data-sets/NAME)")
    parser.add_argument("--url", help="address of a folder that has the same files")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="seconds without an answer (30)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from convforge.pipeline.data.preparation.sources.downloads import DATA_SETS, fetch

    name, progress = arguments.data_set, progress_of(arguments)
    if name not in DATA_SETS:
        raise InputError(f"there is no data set {name!r} to fetch: give {', '.join(DATA_SETS)}")
    # Also refuses what is no number; a year is more than a socket takes.
    if not 0 < arguments.timeout <= 86400:
        raise InputError(f"--timeout={arguments.timeout:g} is not allowed: give seconds > 0")
    root = project_root()
    out = root / "data-sets" / name if arguments.out is None else arguments.out
    data_set = DATA_SETS[name]
    path = fetch(data_set, out, progress, mirror=arguments.url, timeout=arguments.timeout)
    words = ["convforge", "train", f"data={data_set.config}"]
    if arguments.out is not None:
        # A relative data.path counts from the project's folder.
        words.append(f"data.path={path.relative_to(root) if path.is_relative_to(root) else path}")
    progress.say(f"next: {shlex.join(words)}")
