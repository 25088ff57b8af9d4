"""Images to augment: real digits, and colours that change from pixel to pixel."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def digits_uint8(digits_archive: Path) -> np.ndarray:
    """Eight real digits, uint8 [8, 28, 28, 1]."""
    with zipfile.ZipFile(digits_archive) as archive:
        names = [name for name in sorted(archive.namelist()) if name.endswith(".png")]
        pixels = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names[::50]]
    return np.stack(pixels)[..., None]


@pytest.fixture(scope="session")
def colours_uint8() -> np.ndarray:
    """Eight images of noise, uint8 [8, 21, 26, 3]: every neighbour differs."""
    return np.random.default_rng(5).integers(0, 256, (8, 21, 26, 3), np.uint8)
