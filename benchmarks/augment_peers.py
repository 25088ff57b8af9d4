"""The libraries that augment one image at a time, in a process of their own.

`augment.py` starts one such process for each core and asks for one measurement after the other:
a line of JSON in, a line of JSON out. Each process reads images from its own memory and keeps the
float32 batches to itself, so no peer pays for the way to the training process, as it would in a
data loader.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Image = Any
Augment = Callable[[Image], Image]

# The same strengths for all: see FULL and BASIS in augment.py.
CROP = {"scale": (0.6, 1.0), "ratio": (0.8, 1.25)}
BASIS = np.array([[70.0, 16.0, 3.0], [68.0, -3.0, -7.0], [66.0, -14.0, 5.0]], dtype="float32")


def torchvision_v2(side: int) -> Augment:
    import torch
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    basis = torch.from_numpy(BASIS)
    bilinear = v2.InterpolationMode.BILINEAR
    moved = v2.Compose(
        [
            v2.RandomResizedCrop(side, **CROP, antialias=True),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomAffine(15, (0.1, 0.1), (0.9, 1.1), 10, interpolation=bilinear),
            v2.ToDtype(torch.float32),
        ]
    )

    def augmented(image: Image) -> Image:
        # torchvision has no PCA colour; this is the cheapest one.
        shift = basis @ (torch.randn(3) * 0.1)
        pixels = moved(torch.from_numpy(image).permute(2, 0, 1))
        return (pixels + shift[:, None, None]).clamp_(0.0, 255.0).numpy()

    return augmented


def _albumentations(side: int, colour: Any) -> Augment:
    import albumentations
    import cv2

    cv2.setNumThreads(1)
    moved = albumentations.Compose(
        [
            albumentations.RandomResizedCrop((side, side), **CROP, p=1.0),
            albumentations.HorizontalFlip(p=0.5),
            albumentations.Affine(
                scale=(0.9, 1.1),
                translate_percent=(-0.1, 0.1),
                rotate=(-15, 15),
                shear={"x": (-10, 10)},
                border_mode=cv2.BORDER_REFLECT,
                p=1.0,
            ),
            colour,
        ]
    )
    return lambda image: moved(image=image)["image"].astype("float32")


def albumentations_fancy_pca(side: int) -> Augment:
    import albumentations

    return _albumentations(side, albumentations.FancyPCA(alpha=0.1, p=1.0))


def albumentations_rgb_shift(side: int) -> Augment:
    import albumentations

    return _albumentations(side, albumentations.RGBShift(20, 20, 20, p=1.0))


def opencv_warp_affine(side: int) -> Augment:
    """One matrix for all: nothing is drawn, and no colour altered."""
    import cv2

    cv2.setNumThreads(1)
    matrix = np.array([[0.9, 0.1, 1.0], [-0.1, 0.9, 2.0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return lambda image: cv2.warpAffine(
        image, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT
    ).astype("float32")


def keras_layers(side: int) -> list[Any]:
    """Keras' own layers, which take a batch."""
    from keras import layers

    return [
        layers.RandomCrop(side * 9 // 10, side * 9 // 10),
        layers.Resizing(side, side),
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(15 / 360),
        layers.RandomTranslation(0.1, 0.1),
        layers.RandomZoom(0.1),
        layers.RandomShear(0.1, 0.0),
        layers.RandomColorJitter((0, 255), 0.1, 0.1, 0.1, 0.0),
    ]


#: Name of the row → what makes it, and the packages that it needs.
PEERS: dict[str, tuple[Callable[[int], Augment], tuple[str, ...]]] = {
    "torchvision v2": (torchvision_v2, ("torchvision",)),
    "Albumentations, FancyPCA": (albumentations_fancy_pca, ("albumentations", "cv2")),
    "Albumentations, RGBShift": (albumentations_rgb_shift, ("albumentations", "cv2")),
    "OpenCV warpAffine alone": (opencv_warp_affine, ("cv2",)),
}


def _measure(augmented: Augment, images: Image, batch: int, seconds: float) -> dict[str, float]:
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        first = count % (len(images) - batch + 1)
        np.stack([augmented(image) for image in images[first : first + batch]])
        count += batch
    return {"count": count, "seconds": time.perf_counter() - start}


def main() -> None:
    made: dict[tuple[str, int], Augment] = {}
    for line in sys.stdin:
        name, side, batch, seconds = json.loads(line)
        images = np.random.default_rng(0).integers(0, 256, (2 * batch, side, side, 3), np.uint8)
        if (name, side) not in made:
            made[name, side] = PEERS[name][0](side)
            _measure(made[name, side], images, batch, 0.1)
        print(json.dumps(_measure(made[name, side], images, batch, seconds)), flush=True)


if __name__ == "__main__":
    main()
