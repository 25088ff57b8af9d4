"""A sheet of training images beside what augmentation makes of them, with the parameters drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convforge.augment.settings import Augmentation
from convforge.pipeline.data.reading.stream import AugmentedExample, Stream
from convforge.pipeline.report.sheet import GAP, MARGIN, TITLE, draw_sheet
from convforge.pipeline.report.style import font

# Pixels that an image and its caption need: six of them are as wide as a page.
_TILE = 140


def draw_augmentations(
    stream: Stream, path: Path, *, augmentation: Augmentation, seed: int, rows: int, columns: int
) -> None:
    """A PNG at `path`: a row per training image, the image itself first, then its draws.

    The head names the methods that are on and their settings; below each draw stands what it came
    to. Column k shows what training sees of the image in epoch k.
    """
    examples = stream.augmentations(
        seed=seed, augmentation=augmentation, images=rows, epochs=columns
    )
    basis = stream.colour_basis(augmentation)
    height, width, channels = stream.manifest.image_shape
    rows_seen, columns_seen = augmentation.size or (height, width)
    seen = "" if augmentation.size is None else f"{columns_seen}×{rows_seen} of "
    title = (
        f"{stream.manifest.name}, {seen}{width}×{height} pixels: "
        f"epochs 1 to {columns} of seed {seed}"
    )
    settings = describe_settings(augmentation, channels)
    draw_sheet(
        [[example.image, *(draw.image for draw in example.draws)] for example in examples],
        path,
        title=title,
        note="\n".join(settings),
        captions=[_captions(example, augmentation, basis) for example in examples],
        width=_width(columns + 1, [title, *settings]),
    )


def _width(tiles: int, lines: Sequence[str]) -> float:
    """Pixels that so many tiles beside one another need, and the lines above them."""
    longest = max(font(TITLE).getlength(line) for line in lines)
    return 2 * MARGIN + max(tiles * (_TILE + GAP) - GAP, longest)


def _captions(
    example: AugmentedExample, augmentation: Augmentation, basis: NDArray[np.floating[Any]] | None
) -> list[str]:
    size = (example.image.shape[0], example.image.shape[1])
    return [
        f"example {example.number}",
        *(
            "\n".join(describe_draw(draw.parameters, augmentation, basis, size))
            for draw in example.draws
        ),
    ]


def describe_settings(augmentation: Augmentation, channels: int) -> list[str]:
    """A line for each method that is on, under its keys in the config, and one for the reading.

    Example:
        >>> from convforge.augment.settings import Reflection
        >>> settings = Augmentation(reflection=Reflection(probability=0.5))
        >>> describe_settings(settings, channels=3)
        ['reflection: probability 0.5', 'fill reflect, interpolation bilinear']
    """
    if not augmentation.active:
        shown = "images as they are" if augmentation.size is None else "the centre of each image"
        return [f"no augmentation: {shown}"]
    methods = {
        name: method
        for name in ("crop", "reflection", "colour", "geometry")
        if (method := getattr(augmentation, name)).active
    }
    lines = [
        f"{name}: " + ", ".join(f"{key} {_value(v)}" for key, v in dataclasses.asdict(m).items())
        for name, m in methods.items()
    ]
    if channels == 1 and augmentation.colour.active:
        lines[list(methods).index("colour")] += ": brightness alone, in images of one channel"
    constant = f" {augmentation.fill_value:.4g}" if augmentation.fill == "constant" else ""
    return [
        *lines,
        f"fill {augmentation.fill}{constant}, interpolation {augmentation.interpolation}",
    ]


def _value(value: float | str | tuple[float, float]) -> str:
    if isinstance(value, tuple):
        return f"{value[0]:.4g} to {value[1]:.4g}"
    return value if isinstance(value, str) else f"{value:.4g}"


def describe_draw(
    parameters: Mapping[str, NDArray[np.floating[Any]]],
    augmentation: Augmentation,
    basis: NDArray[np.floating[Any]] | None,
    image_size: tuple[int, int],
) -> list[str]:
    """What one image's parameters came to, in a few short lines.

    Args:
        parameters: of one image, as `draw` gives them without their first axis.
        augmentation: the settings that drew; a method that is off says nothing.
        basis: of the PCA colour, [C, C], which turns α into grey levels; None without colour.
        image_size: (height, width), which turns shares into pixels.
    """
    lines = []
    if augmentation.crop.active:
        top, left, height, width = parameters["crop"] * (image_size * 2)
        lines.append(f"crop {width:.0f}×{height:.0f} at {left:.0f}, {top:.0f}")
    if parameters["reflected"]:
        lines.append("mirrored")
    right, down = parameters["translation"]
    turn, shear, scale = (parameters[name] for name in ("rotation", "shear", "scale"))
    # Neutral throughout where the method is off, and where this image was spared.
    if right or down or turn or shear or scale != 1:
        lines += [f"turn {turn:+.1f}°", f"shear {shear:+.1f}°"]
        lines.append(f"×{scale:.2f} shift {right:+.1f} {down:+.1f}")
    if basis is not None:
        shift = basis @ parameters["colour"][: len(basis)]
        kind = "colour" if len(shift) > 1 else "brightness"
        lines.append(f"{kind} " + " ".join(f"{level:+.0f}" for level in shift))
    return lines or ["unchanged"]
