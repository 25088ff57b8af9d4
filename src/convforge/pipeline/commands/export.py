"""`convforge export`: a trained model for other runtimes."""

from __future__ import annotations

import argparse
from typing import Any

from convforge.pipeline.commands.parser import command
from convforge.pipeline.project import expanded
from convforge.pipeline.stages.entry import progress_of
from convforge.quiet_start import import_quietly

_FORMATS = ("savedmodel", "onnx", "litert", "litert-int8")


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands,
        "export",
        run,
        "write a trained model for another runtime, run it there, and compare it with Keras",
        "build/train --to onnx",
        "outputs/train/2026-11-22_15-04-05 --to litert-int8 --out digits.tflite",
        "models:/digits@champion --to savedmodel --images photos/",
    )
    parser.add_argument("model", metavar="MODEL", help="as for predict")
    parser.add_argument("--to", choices=_FORMATS, required=True)
    parser.add_argument("--out", type=expanded, help="file, or folder to put it in (default: here)")
    parser.add_argument(
        "--images",
        type=expanded,
        nargs="+",
        default=[],
        metavar="PATH",
        help="images to compare on (default: the run's own data)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from convforge.pipeline.export.export import export
    from convforge.pipeline.tracking.model_reference import model_folder

    import_quietly("keras", "tensorflow")
    with model_folder(arguments.model) as folder:
        progress = progress_of(arguments)
        export(folder, arguments.to, arguments.out, arguments.images, progress)
