"""Runs a LiteRT model: `python -m convforge.pipeline.export.litert_runtime MODEL IMAGES OUTPUTS`.

In a process of its own, as on a device: without TensorFlow, which holds a copy of the runtime.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def run(model: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The outputs for pixels `(n, height, width, channels)` in 0..255, one image at a time."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model))
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for image in images:
        interpreter.set_tensor(given["index"], _as_input(image, given)[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(wanted["index"])[0])
    return np.stack(outputs)


def _as_input(image: NDArray[np.float32], details: dict[str, Any]) -> Any:
    """The pixels as the model's own numbers: a quantised one has a scale and a zero."""
    scale, zero = details["quantization"]
    if not scale:
        return image.astype(details["dtype"])
    numbers = np.iinfo(details["dtype"])
    whole = np.clip(np.round(image / scale + zero), numbers.min, numbers.max)
    return whole.astype(details["dtype"])


if __name__ == "__main__":
    model, images, outputs = map(Path, sys.argv[1:])
    np.save(outputs, run(model, np.load(images)))
