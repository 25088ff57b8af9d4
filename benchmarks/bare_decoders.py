"""Decoders of photographs with nothing around them, in one process for each core.

    python benchmarks/bare_decoders.py "bare Pillow" imagenet-sample-500.tar 2 10

`preprocess.py` compares with these: the same photographs, in memory, decoded by libjpeg-turbo and
resized, in two steps as is usual, or the centre in one; no file is read or written, nothing is
hashed or counted. Prints photographs a second.
"""

from __future__ import annotations

import io
import multiprocessing
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 256


def photographs(path: Path) -> list[tuple[str, bytes]]:
    """Names and contents of the files in a tar."""
    with tarfile.open(path) as archive:
        files = ((member.name, archive.extractfile(member)) for member in archive)
        return [(name.removeprefix("./"), file.read()) for name, file in files if file is not None]


def pillow(content: bytes) -> None:
    """Pillow's wheels carry libjpeg-turbo; decoded at full size, resized in one step."""
    _resized(Image.open(io.BytesIO(content)).convert("RGB"))


def pillow_in_two_steps(content: bytes) -> None:
    """The shorter side to 256, then the centre, as it is mostly done."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    scale = SIDE / min(image.size)
    width, height = (max(SIDE, round(scale * side)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    np.asarray(image.crop((left, top, left + SIDE, top + SIDE)))


def simplejpeg(content: bytes) -> None:
    """The thinnest wrapper of libjpeg-turbo, then the resizing in one step."""
    from simplejpeg import decode_jpeg

    pixels = decode_jpeg(content, "RGB")
    _resized(
        Image.frombuffer("RGB", (pixels.shape[1], pixels.shape[0]), pixels, "raw", "RGB", 0, 1)
    )


def _resized(image: Image.Image) -> None:
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box))


DECODERS = {
    "bare Pillow, two steps": pillow_in_two_steps,
    "bare Pillow": pillow,
    "bare simplejpeg": simplejpeg,
}


def decode_all(name: str, contents: list[bytes], passes: int, barrier: Any) -> None:
    """In one process, so many times."""
    barrier.wait()
    for _ in range(passes):
        for content in contents:
            DECODERS[name](content)
    barrier.wait()


def rate(name: str, sample: Path, cores: int, seconds: float) -> float:
    """Photographs a second in `cores` processes."""
    contents = [content for _, content in photographs(sample)]
    start = time.perf_counter()
    for content in contents:
        DECODERS[name](content)
    passes = max(1, round(seconds / (time.perf_counter() - start)))
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(cores + 1)
    arguments = (name, contents, passes, barrier)
    processes = [context.Process(target=decode_all, args=arguments) for _ in range(cores)]
    for process in processes:
        process.start()
    barrier.wait()
    start = time.perf_counter()
    barrier.wait()
    taken = time.perf_counter() - start
    for process in processes:
        process.join()
    return cores * passes * len(contents) / taken


if __name__ == "__main__":
    print(rate(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
