"""`convforge preview-augment`: what augmentation makes of images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from convforge.errors import InputError
from convforge.pipeline.commands.parser import OVERRIDES, command
from convforge.pipeline.project import expanded, project_root
from convforge.pipeline.stages.entry import progress_of
from convforge.pipeline.training.backend import import_keras


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = command(
        commands,
        "preview-augment",
        run,
        "draw training images beside what augmentation makes of them",
        "",
        "augment=full data=cifar10 data.path=cifar10.tar.gz --rows 4",
        "augment.geometry.rotation=30 --out turned.png",
    )
    parser.add_argument(
        "--out",
        type=expanded,
        default=Path("augmented_images.png"),
        help="the picture (default: %(default)s)",
    )
    parser.add_argument("--rows", type=int, default=6, help="images (default: %(default)s)")
    parser.add_argument("--columns", type=int, default=5, help="draws (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", help=OVERRIDES)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    for option in ("rows", "columns"):
        if not 1 <= getattr(arguments, option) <= 30:
            value = getattr(arguments, option)
            raise InputError(f"--{option}={value} is not allowed: give a number from 1 to 30")
    if arguments.out.suffix != ".png":
        raise InputError(f"--out={arguments.out} is not allowed: give a name that ends in .png")
    from convforge.pipeline.composition import compose_config, settings_of
    from convforge.pipeline.data.manifest import Manifest
    from convforge.pipeline.stages.preprocess import prepared

    root, progress = project_root(), progress_of(arguments)
    settings = settings_of(compose_config(root, arguments.overrides))
    data = prepared(settings.data, root, progress)
    manifest = Manifest.read(data)
    settings.input_shape(manifest.image_shape)
    import_keras()
    from convforge.pipeline.data.reading.stream import Stream
    from convforge.pipeline.report.augmentations import draw_augmentations

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    draw_augmentations(
        Stream(data, manifest, settings.trainer.batch_size),
        arguments.out,
        augmentation=settings.augment,
        seed=settings.seed,
        rows=arguments.rows,
        columns=arguments.columns,
    )
    progress.say(f"picture: {arguments.out}")
