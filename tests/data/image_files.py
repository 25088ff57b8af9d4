"""Image files and archives of them, made in memory."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import TypeAdapter

from convforge.pipeline.settings.data import DataSettings


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(number: int, height: int = 8, width: int = 8, channels: int = 3) -> bytes:
    """A PNG of noise, another for each `number`."""
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, channels), np.uint8)
    return encoded(Image.fromarray(pixels.squeeze()))


def classes_of_pictures(per_class: int, labels: str = "abc", start: int = 0) -> dict[str, bytes]:
    """`a/0.png` … with other pixels in every file."""
    return {
        f"{label}/{number}.png": picture(1000 * place + number)
        for place, label in enumerate(labels)
        for number in range(start, start + per_class)
    }


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: Mapping[str, bytes], mode: str) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def data_settings(**changes: Any) -> DataSettings:
    """For 8×8 RGB pictures; `changes` replaces keys."""
    values: dict[str, Any] = {
        "name": "pictures",
        "format": "folders",
        "path": "pictures.zip",
        "channels": 3,
        "size": [8, 8],
        "geometry": "as_is",
        "background": 255,
        "max_pixels": 10_000_000,
        "store": "pixels",
        "split": {"validation": 3, "test": 6},
        "duplicates": "drop_from_train",
        "on_bad": "quarantine",
        "max_bad_share": 0.5,
        "shard_examples": 10,
        "num_classes": None,
    }
    return TypeAdapter(DataSettings).validate_python({**values, **changes})
