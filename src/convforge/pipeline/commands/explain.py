"""`convforge explain`: what a trained model goes by in images."""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convforge.errors import InputError
from convforge.pipeline.commands.parser import command
from convforge.pipeline.project import expanded
from convforge.pipeline.settings.nearest import nearest
from convforge.pipeline.stages.entry import progress_of

if TYPE_CHECKING:
    from convforge.serving.model_card import ModelCard

_MOST_IMAGES = 50


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands,
        "explain",
        run,
        "draw what a trained model goes by in images: Grad-CAM and the strongest feature maps",
        "build/train digit.png",
        "build/train digit.png --class 8 --out as_an_eight.png",
        "models:/digits@champion photos/ --images 20",
    )
    parser.add_argument("model", metavar="MODEL", help="as for predict")
    parser.add_argument(
        "paths",
        type=expanded,
        nargs="+",
        metavar="PATH",
        help="images, folders or archives of them",
    )
    parser.add_argument(
        "--class",
        dest="output",
        metavar="NAME",
        help="the class to explain (default: the likeliest), or the predicted number (default: the "
        "first)",
    )
    parser.add_argument(
        "--images",
        type=int,
        default=8,
        metavar="N",
        help="how many are drawn at most (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=expanded,
        metavar="FILE",
        default=Path("explanation.png"),
        help="the picture (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command; ends with 1 where some images could not be read, the rest being told."""
    if not 1 <= arguments.images <= _MOST_IMAGES:
        raise InputError(
            f"--images={arguments.images} is not allowed: give a number from 1 to {_MOST_IMAGES}"
        )
    if arguments.out.suffix != ".png":
        raise InputError(f"--out={arguments.out} is not allowed: give a name that ends in .png")
    from convforge.pipeline.tracking.model_reference import model_folder

    with model_folder(arguments.model) as folder:
        failed = _explain(folder, arguments)
    if failed:
        raise SystemExit(1)


def _explain(folder: Path, arguments: argparse.Namespace) -> int:
    """Draw the picture; returns how many images could not be read."""
    from convforge.pipeline.prediction.image_files import ImageReading
    from convforge.serving.predictor import open_model

    progress = progress_of(arguments)
    stored = open_model(folder)
    number = _number(stored.card, arguments)
    reading = ImageReading(arguments.paths, stored.card, progress)
    # One more, to know whether there are more.
    named = list(islice(reading.images(), arguments.images + 1))
    if not named:
        raise InputError(reading.nothing)
    predictor = stored.load()

    import numpy as np

    from convforge.pipeline.explanation.feature_maps import find_feature_maps
    from convforge.pipeline.prediction.predict import finite_outputs
    from convforge.pipeline.report.explanation_sheet import draw_explanations

    found = find_feature_maps(predictor.model)
    if not found:
        raise InputError(
            f"{arguments.model} has no convolution, and Grad-CAM needs one's feature maps: "
            "`convforge predict` says what it sees"
        )
    progress.say(f"{arguments.model}: {stored.card.weights}")
    if len(named) > arguments.images:
        progress.say(f"the first {arguments.images} shown: --images=N shows more")
        named = named[: arguments.images]
    outputs = finite_outputs(arguments.model, predictor, np.stack([image for _, image in named]))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    draw_explanations(predictor, found, named, outputs, number, arguments.out)
    progress.say(f"picture: {arguments.out.resolve()}")
    return reading.failed


def _number(card: ModelCard, arguments: argparse.Namespace) -> int | None:
    """Of the class or target to explain."""
    if arguments.output is None:
        return None
    if arguments.output not in card.outputs:
        kind = "target" if card.targets else "class"
        hint = nearest(arguments.output, card.outputs)
        raise InputError(f"--class={arguments.output} is no {kind} of {arguments.model}{hint}")
    return card.outputs.index(arguments.output)
