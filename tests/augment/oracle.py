"""The augmentation again, written apart: float64, one image at a time, resampled by SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates

from convforge.augment.settings import Augmentation, Colour, Crop, Geometry, Reflection

CROP = Crop(scale=(0.5, 1.0), ratio=(0.75, 1.3))
REFLECTION = Reflection(probability=0.5)
COLOUR = Colour(strength=0.1)
GEOMETRY = Geometry(rotation=20.0, translation=0.15, scale=(0.8, 1.25), shear=12.0)
ALL = Augmentation(crop=CROP, reflection=REFLECTION, colour=COLOUR, geometry=GEOMETRY)
BASIS = np.array([[90.0, 20.0, 3.0], [85.0, -4.0, -9.0], [80.0, -18.0, 6.0]])

SCIPY_MODE = {"reflect": "reflect", "edge": "nearest", "constant": "grid-constant"}


def noise(count: int, height: int, width: int, channels: int) -> np.ndarray:
    """Images on which every wrong pixel shows."""
    shape = (count, height, width, channels)
    return np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)


def smooth(count: int, size: int) -> np.ndarray:
    """Images of slow waves, on which interpolation errs little: float32 [count, size, size, 1]."""
    across, down = np.meshgrid(np.arange(size), np.arange(size))
    waves = [
        127.5 + 60 * np.sin(across / (9 + k)) + 60 * np.cos(down / (11 + k)) for k in range(count)
    ]
    return np.stack(waves).astype("float32")[..., None]


def output_to_input(
    drawn: dict[str, np.ndarray], k: int, image_size: tuple[int, int], output_size: tuple[int, int]
) -> np.ndarray:
    """The inverse of what happens to the content of image k, step by step, in float64."""
    (height, width), (out_height, out_width) = image_size, output_size
    top, left, crop_height, crop_width = drawn["crop"][k].astype("float64")
    right, down = drawn["translation"][k].astype("float64")
    angle, lean = np.deg2rad(float(drawn["rotation"][k])), np.deg2rad(float(drawn["shear"][k]))
    middle_x, middle_y = out_width / 2 - 0.5, out_height / 2 - 0.5
    content = [
        # The border of the crop, half a pixel before its first pixel, becomes that of the output.
        move(0.5 - left * width, 0.5 - top * height),
        np.diag([out_width / (crop_width * width), out_height / (crop_height * height), 1.0]),
        move(-0.5, -0.5),
        move(-middle_x, -middle_y),
        np.diag([-1.0 if drawn["reflected"][k] else 1.0, 1.0, 1.0]),
        np.diag([float(drawn["scale"][k])] * 2 + [1.0]),
        np.array([[1.0, -np.tan(lean), 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        np.array(
            [
                [np.cos(angle), np.sin(angle), 0.0],
                [-np.sin(angle), np.cos(angle), 0.0],
                [0.0, 0.0, 1.0],
            ]
        ),
        move(right, down),
        move(middle_x, middle_y),
    ]
    forward = np.eye(3)
    for step in content:
        forward = step @ forward
    return np.linalg.inv(forward)


def move(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def resample(
    image: np.ndarray,
    matrix: np.ndarray,
    output_size: tuple[int, int],
    fill: str = "reflect",
    fill_value: float = 0.0,
    order: int = 1,
) -> np.ndarray:
    """SciPy's resampling of one image [H, W, C]: float64 [h, w, C]."""
    rows, columns = np.mgrid[: output_size[0], : output_size[1]]
    points = np.stack([columns, rows, np.ones_like(rows)]).reshape(3, -1)
    x, y, _ = matrix @ points
    channels = [
        map_coordinates(
            image[..., channel].astype("float64"),
            [y, x],
            order=order,
            mode=SCIPY_MODE[fill],
            cval=fill_value,
        )
        for channel in range(image.shape[-1])
    ]
    return np.stack(channels, axis=-1).reshape(*output_size, -1)


def augmented(
    images: np.ndarray,
    drawn: dict[str, Any],
    output_size: tuple[int, int],
    basis: np.ndarray | None = None,
    **resampling: Any,
) -> np.ndarray:
    """The whole batch by SciPy and NumPy."""
    arrays = {key: np.asarray(value) for key, value in drawn.items()}
    result = []
    for k, image in enumerate(images):
        matrix = output_to_input(arrays, k, image.shape[:2], output_size)
        pixels = resample(image, matrix, output_size, **resampling)
        if basis is not None:
            pixels = np.clip(pixels + basis @ arrays["colour"][k], 0, 255)
        result.append(pixels)
    return np.stack(result)
