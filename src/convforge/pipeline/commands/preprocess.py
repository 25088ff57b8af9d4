"""`convforge preprocess`: image files into shards."""

from __future__ import annotations

import argparse
from typing import Any

from convforge.pipeline.commands.parser import OVERRIDES, command, worker_pool_options
from convforge.pipeline.project import expanded, project_root
from convforge.pipeline.stages.entry import add_workers, progress_of


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands,
        "preprocess",
        run,
        "turn image files into shards that training streams",
        "",
        "data=folder data.path=photos.zip",
        "data=cifar10 data.path=cifar10.tar.gz --out shards/cifar10",
        "data=imagenet data.path=/shared/imagenet --cluster ray:auto",
    )
    parser.add_argument(
        "--out", type=expanded, help="folder to write (default: outputs/data/NAME-KEY)"
    )
    add_workers(parser)
    parser.add_argument("overrides", nargs="*", help=OVERRIDES)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from convforge.pipeline.composition import compose_config, settings_of
    from convforge.pipeline.stages.preprocess import prepared, preprocess

    root = project_root()
    settings = settings_of(compose_config(root, arguments.overrides))
    progress = progress_of(arguments)
    if arguments.out is not None:
        folder = arguments.out
        preprocess(settings.data, folder, root, progress, **worker_pool_options(arguments))
    else:
        folder = prepared(settings.data, root, progress, **worker_pool_options(arguments))
    progress.say(f"data: {folder}")
