"""`convforge summary`: a network's layers, shapes and costs."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from convforge.errors import InputError
from convforge.pipeline.commands.parser import OVERRIDES, command
from convforge.pipeline.project import project_root

if TYPE_CHECKING:
    from convforge.pipeline.settings.run import Settings


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands,
        "summary",
        run,
        "show a network's layers, shapes and costs without building it",
        "",
        "model=lecture_cnn data=cifar10",
        "model=alexnet",
        "model.layers.conv1.filters=64 --classes 100",
    )
    parser.add_argument(
        "--image",
        type=_image_shape,
        metavar="H×W×C",
        help="image shape, such as 32x32x3 (default: of the data that the overrides name, else "
        "what the net was published for, else of the default data)",
    )
    parser.add_argument("--classes", type=int, help="number of classes (default: in the same way)")
    parser.add_argument("overrides", nargs="*", help=OVERRIDES)


def _image_shape(text: str) -> tuple[int, ...]:
    sizes = text.lower().replace("×", "x").split("x")
    if len(sizes) != 3 or not all(size.isdecimal() and int(size) for size in sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 32x32x3")
    return tuple(int(size) for size in sizes)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from convforge.pipeline.composition import compose_config, settings_of
    from convforge.pipeline.report.tables import print_costs, times

    settings = settings_of(compose_config(project_root(), arguments.overrides))
    shape, classes = _summary_input(settings, arguments.overrides)
    shape = arguments.image or shape
    classes = classes if arguments.classes is None else arguments.classes
    if classes is not None and classes < 2:
        raise InputError(f"--classes={classes} is not allowed: give a number ≥ 2")
    numbers = settings.predicted_numbers
    unsaid = {"image shape": "--image 32x32x3"} if shape is None else {}
    if classes is None and not numbers:
        unsaid["number of classes"] = "--classes 10"
    if shape is None or unsaid:
        raise InputError(
            f"data={settings.data.name} does not say its {' or '.join(unsaid)}: "
            f"give {' and '.join(unsaid.values())}"
        )
    rows = settings.costs(shape, classes or 0)
    answers = ", ".join(numbers) if numbers else f"{classes} classes"
    print_costs(f"{settings.model.name} on {times(shape)} pixels, {answers}", rows, settings.frozen)


def _summary_input(
    settings: Settings, overrides: Sequence[str]
) -> tuple[tuple[int, ...] | None, int | None]:
    """Image shape and classes to count for: of named data, of the published net, of the default."""
    named = any(re.match(r"[+~]*(data|experiment)\b", item) for item in overrides)
    nominal = settings.model.nominal_input
    if nominal is not None and not named:
        return tuple(nominal.image), nominal.classes
    shape: tuple[int, ...] | None = settings.data.image_shape
    if shape is not None:
        shape = settings.input_shape(shape)
    elif settings.augment.size is not None:
        shape = (*settings.augment.size, settings.data.channels)
    classes = settings.data.num_classes
    return shape, nominal.classes if classes is None and nominal is not None else classes
