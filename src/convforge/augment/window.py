"""The centre window: what a net sees of an image larger than its input, where nothing is drawn."""

from typing import Any

from convforge.augment.values import Size
from convforge.geometry import ArgumentError


def window_corner(image_size: Size, size: Size) -> Size:
    """(top, left) of the centre window; where it cannot lie in the middle, it lies above and left.

    Args:
        image_size: (height, width) of the images.
        size: (height, width) of the window.

    Raises:
        ArgumentError: the window is larger than the images.

    Example:
        >>> window_corner((256, 256), (224, 224)), window_corner((5, 4), (2, 2))
        ((16, 16), (1, 1))
    """
    (height, width), (rows, columns) = image_size, size
    if rows > height or columns > width:
        raise ArgumentError("size", list(size), f"at most the images' own [{height}, {width}]")
    return (height - rows) // 2, (width - columns) // 2


def centre_window(images: Any, size: Size | None) -> Any:
    """The centre window of images: their own pixels, and no interpolation.

    Shapes:
        in `(batch, height, width, channels)`, out `(batch, height', width', channels)`.

    Args:
        images: arrays or tensors of known height and width.
        size: (height, width) of the window; None for all there is.

    Raises:
        ArgumentError: the window is larger than the images.

    Example:
        >>> import numpy as np
        >>> centre_window(np.arange(16).reshape(1, 4, 4, 1), (2, 2))[0, :, :, 0].tolist()
        [[5, 6], [9, 10]]
    """
    if size is None:
        return images
    top, left = window_corner((int(images.shape[1]), int(images.shape[2])), size)
    return images[:, top : top + size[0], left : left + size[1]]
