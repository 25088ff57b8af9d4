"""One batch, drawn and moved: `python replay.py FILE` leaves a backend's result in a file."""

from __future__ import annotations

import sys
from typing import Any

import all_methods
import keras
import numpy as np

from convforge.augment import apply, draw
from convforge.augment.streams import random_words

SIZE = (20, 24)


def results(ops: Any) -> dict[str, np.ndarray]:
    index = np.arange(50) * 1_000_003
    images = all_methods.noise(50, *SIZE, 3)
    at = {"seed": 2**31 + 5, "epoch": 9}
    drawn = draw(all_methods.ALL, **at, index=index, image_size=SIZE, output_size=SIZE, ops=ops)
    pixels = apply(images, drawn, output_size=SIZE, colour_basis=all_methods.BASIS, ops=ops)
    tensors = {**drawn, "pixels": pixels, "words": random_words(**at, index=index, ops=ops)}
    arrays = {key: keras.ops.convert_to_numpy(value) for key, value in tensors.items()}
    return {**arrays, "backend": np.array(keras.backend.backend())}


if __name__ == "__main__":
    np.savez(sys.argv[1], **results(keras.ops))
