"""`convforge predict`: what a trained model sees in image files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from convforge.errors import InputError
from convforge.pipeline.commands.parser import command
from convforge.pipeline.printable import one_line, printable


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands,
        "predict",
        run,
        "say what a trained model sees in image files",
        "build/train digit.png",
        "outputs/train/2026-11-22_15-04-05 photos/*.jpg --top 3",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a run's folder or a model's")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    parser.add_argument("--top", type=int, default=1, help="how many classes to name (default 1)")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    if arguments.top < 1:
        raise InputError(f"--top={arguments.top} is not allowed: give a number ≥ 1")
    import numpy as np

    from convforge.serving.predictor import open_model, read_image

    model = open_model(arguments.model)
    card = model.card
    images = [read_image(path, card) for path in arguments.images]
    outputs = model.load().outputs(np.stack(images))
    if not np.isfinite(outputs).all():
        raise InputError(f"{arguments.model} answers with what is no number: train it again")
    for path, row in zip(arguments.images, outputs, strict=True):
        if card.targets:
            said = [f"{name} {number:.4g}" for name, number in zip(card.targets, row, strict=True)]
        else:
            best = row.argsort()[::-1][: arguments.top]
            said = [f"{card.classes[i]} {row[i]:.1%}" for i in best]
        # Names come from files, and may hold what steers a terminal.
        print(one_line(printable(f"{path}: {', '.join(said)}")))
