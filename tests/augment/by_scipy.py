"""What `draw` and `apply` promise, in float64 with NumPy and SciPy, none of it the package's code.

Starts from the named parameters of a draw (degrees, shares, pixels), not from its matrix.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import map_coordinates

Size = tuple[int, int]
#: SciPy's names for the fills. Its "constant" does not blend with the border, "grid-constant" does.
MODES = {"reflect": "reflect", "edge": "nearest", "constant": "grid-constant"}


def matrices(drawn: Mapping[str, np.ndarray], image_size: Size, output_size: Size) -> np.ndarray:
    """Output to input coordinates of pixel centres, float64 [B, 3, 3]."""
    return np.stack(
        [
            _matrix({key: np.float64(value[n]) for key, value in drawn.items()}, *sizes)
            for n, sizes in enumerate([(image_size, output_size)] * len(drawn["rotation"]))
        ]
    )


def _matrix(drawn: Mapping[str, np.ndarray], image_size: Size, output_size: Size) -> np.ndarray:
    """Forward, as the content moves, and inverted at the end."""
    (height, width), (out_height, out_width) = image_size, output_size
    top, left, crop_height, crop_width = drawn["crop"]
    angle, lean = np.deg2rad(drawn["rotation"]), np.deg2rad(drawn["shear"])
    right, down = drawn["translation"]
    # Corners of pixels lie at integers here: a crop is cut along them.
    cut = _shift(-left * width, -top * height)
    resize = np.diag([out_width / (crop_width * width), out_height / (crop_height * height), 1.0])
    centre = _shift(-out_width / 2, -out_height / 2)
    mirror = np.diag([1.0 - 2.0 * drawn["reflected"], 1.0, 1.0])
    enlarge = np.diag([drawn["scale"], drawn["scale"], 1.0])
    slant = np.array([[1.0, -np.tan(lean), 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    # y runs down, so this turns counter-clockwise as seen.
    turn = np.array(
        [
            [np.cos(angle), np.sin(angle), 0.0],
            [-np.sin(angle), np.cos(angle), 0.0],
            [0.0, 0.0, 1.0],
        ]
    )
    half = _shift(-0.5, -0.5)
    about_centre = _shift(right, down) @ turn @ slant @ enlarge @ mirror @ centre
    forward = half @ np.linalg.inv(centre) @ about_centre @ resize @ cut @ np.linalg.inv(half)
    return np.linalg.inv(forward)


def _shift(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def coordinates(matrix: np.ndarray, output_size: Size) -> np.ndarray:
    """Input (row, column) of every output pixel, [2, h, w]."""
    rows, columns = np.mgrid[: output_size[0], : output_size[1]].astype("float64")
    x, y, _ = np.tensordot(matrix, np.stack([columns, rows, np.ones_like(rows)]), 1)
    return np.stack([y, x])


def warp(
    images: np.ndarray,
    matrix: np.ndarray,
    output_size: Size,
    *,
    fill: str = "reflect",
    fill_value: float = 0.0,
    interpolation: str = "bilinear",
) -> np.ndarray:
    """The images moved by matrices [B, 3, 3], float64 [B, h, w, C]."""
    options = {"mode": MODES[fill], "cval": fill_value}
    options |= {"order": 1 if interpolation == "bilinear" else 0, "prefilter": False}
    return np.stack(
        [
            np.stack(
                [
                    map_coordinates(channel, coordinates(one, output_size), **options)
                    for channel in np.moveaxis(image.astype("float64"), -1, 0)
                ],
                axis=-1,
            )
            for image, one in zip(images, matrix, strict=True)
        ]
    )


def undecided(matrix: np.ndarray, output_size: Size) -> np.ndarray:
    """Where two pixels are equally near but for rounding, bool [B, h, w]."""
    ties = np.stack([coordinates(one, output_size) for one in matrix]) + 0.5
    return np.any(np.abs(ties - np.round(ties)) < 1e-4, axis=1)


def is_inside(matrix: np.ndarray, image_size: Size, output_size: Size) -> np.ndarray:
    """Interior pixels: all that they are made of lies within the image, bool [B, h, w]."""
    last = np.array(image_size).reshape(1, 2, 1, 1) - 1.0
    place = np.stack([coordinates(one, output_size) for one in matrix])
    return np.all((place >= 0) & (place <= last), axis=1)
