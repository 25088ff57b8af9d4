"""Settings with all four methods at work, and images on which every wrong pixel shows."""

from __future__ import annotations

import numpy as np

from convforge.augment.settings import Augmentation, Colour, Crop, Geometry, Reflection

CROP = Crop(scale=(0.5, 1.0), ratio=(0.75, 1.3))
GEOMETRY = Geometry(rotation=20.0, translation=0.15, scale=(0.8, 1.25), shear=12.0)
ALL = Augmentation(
    crop=CROP,
    reflection=Reflection(probability=0.5),
    colour=Colour(strength=0.1),
    geometry=GEOMETRY,
)
BASIS = np.array([[90.0, 20.0, 3.0], [85.0, -4.0, -9.0], [80.0, -18.0, 6.0]])


def noise(count: int, height: int, width: int, channels: int) -> np.ndarray:
    """Uint8 images [count, height, width, channels]."""
    shape = (count, height, width, channels)
    return np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)
