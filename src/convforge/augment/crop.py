"""Method 1, random large crops: settings, draw, and their part of an image's matrix."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convforge.augment.matrix import Affine, scaling, translation
from convforge.augment.streams import Streams, between, between_logs, table
from convforge.augment.values import Parameters, Range, Size, check, check_probability
from convforge.augment.window import window_corner


@dataclass(frozen=True)
class Crop:
    """Method 1, random large crops, resized to the output size.

    A crop has `scale`·H·W of the image's area, s, and its sides are W·√(s·r) and H·√(s/r), for a
    distortion r from `ratio`; its place is uniform over all places inside the image.

    Attributes:
        probability: share of the images that are cropped; the others are used whole, or by their
            centre window where the settings have a `size`.
        scale: smallest and largest share of the image's area, uniform between them.
        ratio: smallest and largest width-to-height ratio *relative to the image's own*,
            log-uniform between them; kept within [s, 1/s], so that the crop fits.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    probability: float = 1.0
    scale: Range = (1.0, 1.0)
    ratio: Range = (1.0, 1.0)

    def __post_init__(self) -> None:
        check_probability(self.probability)
        low, high = self.scale
        check("scale", self.scale, 0.0 < low <= high <= 1.0, "[low, high], 0 < low ≤ high ≤ 1")
        low, high = self.ratio
        check("ratio", self.ratio, 0.1 <= low <= high <= 10.0, "[low, high], 0.1 ≤ low ≤ high ≤ 10")
        # The whole area in another ratio would reach beyond the image.
        whole = self.scale == (1.0, 1.0)
        allowed = "[1, 1], or a crop.scale below 1: the whole area has the image's own ratio"
        check("ratio", self.ratio, not whole or self.ratio == (1.0, 1.0), allowed)

    @property
    def active(self) -> bool:
        """Whether any image can change."""
        return self.probability > 0 and self.scale != (1.0, 1.0)


def _uncropped(size: Size | None, image_size: Size, streams: Streams) -> Parameters:
    """What is seen of an image that is not cropped, as shares of it."""
    corner, seen = (0, 0), image_size
    if size is not None:
        corner, seen = window_corner(image_size, size), size
    shares = {
        "top": corner[0] / image_size[0],
        "left": corner[1] / image_size[1],
        "height": seen[0] / image_size[0],
        "width": seen[1] / image_size[1],
    }
    return {side: streams.constant(share) for side, share in shares.items()}


def draw_crop(crop: Crop, size: Size | None, image_size: Size, streams: Streams) -> Parameters:
    """The place of each image's crop as shares of the image, `(batch,)` each.

    Args:
        crop: the settings.
        size: (height, width) of the centre window of images that are not cropped; None for all.
        image_size: (height, width) of the images.
        streams: the random numbers.
    """
    uncropped = _uncropped(size, image_size, streams)
    if not crop.active:
        return uncropped
    ops = streams.ops
    use = streams.choose("crop.use", crop.probability)
    root_area = streams.look_up(
        "crop.area", np.sqrt(table(lambda share: between(*crop.scale, share)))
    )
    root_ratio = streams.look_up(
        "crop.ratio", np.sqrt(table(lambda share: between_logs(*crop.ratio, share)))
    )
    root_ratio = ops.minimum(ops.maximum(root_ratio, root_area), 1.0 / root_area)
    height = ops.where(use > 0, ops.minimum(root_area / root_ratio, 1.0), uncropped["height"])
    width = ops.where(use > 0, ops.minimum(root_area * root_ratio, 1.0), uncropped["width"])
    top = streams.uniform("crop.top") * (1.0 - height)
    left = streams.uniform("crop.left") * (1.0 - width)
    if size is not None:  # A whole image has but one place.
        top = ops.where(use > 0, top, uncropped["top"])
        left = ops.where(use > 0, left, uncropped["left"])
    return {"top": top, "left": left, "height": height, "width": width}


def crop_after(affine: Affine, crop: Parameters, image_size: Size, output_size: Size) -> Affine:
    """`affine`, whose origin is the output's centre, and then on to the pixels of the crop."""
    (height, width), (out_height, out_width) = image_size, output_size
    centre_x = (crop["left"] + crop["width"] * 0.5) * float(width) - 0.5
    centre_y = (crop["top"] + crop["height"] * 0.5) * float(height) - 0.5
    resize = scaling(crop["width"] * (width / out_width), crop["height"] * (height / out_height))
    return affine.then(resize).then(translation(centre_x, centre_y))
