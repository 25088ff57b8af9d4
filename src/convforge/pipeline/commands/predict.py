"""`convforge predict`: what a trained model sees in image files."""

from __future__ import annotations

import argparse
from typing import Any

from convforge.errors import InputError
from convforge.pipeline.commands.parser import command
from convforge.pipeline.project import expanded
from convforge.pipeline.stages.entry import progress_of

_FORMATS = ("table", "jsonl", "csv")


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands,
        "predict",
        run,
        "say what a trained model sees in images",
        "build/train digit.png",
        "outputs/train/2026-11-22_15-04-05 photos/ more.zip --top 3",
        "models:/digits@champion photos/*.jpg --format csv",
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a run's folder or a model's, a .keras file with its card.json, the id of a run, "
        "runs:/…, models:/NAME/VERSION or models:/NAME@ALIAS",
    )
    parser.add_argument(
        "paths",
        type=expanded,
        nargs="+",
        metavar="PATH",
        help="images, folders or archives of them",
    )
    parser.add_argument("--top", type=int, default=1, help="how many classes to name (default 1)")
    parser.add_argument("--format", choices=_FORMATS, default="table", help="(default table)")


def run(arguments: argparse.Namespace) -> None:
    """Run the command; ends with 1 where some images could not be read, the rest being told."""
    if arguments.top < 1:
        raise InputError(f"--top={arguments.top} is not allowed: give a number ≥ 1")
    from convforge.pipeline.prediction.predict import predict
    from convforge.pipeline.tracking.model_reference import model_folder

    progress = progress_of(arguments)
    with model_folder(arguments.model) as folder:
        failed = predict(
            arguments.model, folder, arguments.paths, arguments.format, arguments.top, progress
        )
    if failed:
        raise SystemExit(1)
