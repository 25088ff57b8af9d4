"""Method 4, small geometric transformations: settings, draw, and their part of the matrix."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convforge.augment.matrix import Affine, rotation, scaling, shear, translation
from convforge.augment.streams import Streams, between_logs, table
from convforge.augment.values import Parameters, Range, Size, Tensor, check, check_probability


@dataclass(frozen=True)
class Geometry:
    """Method 4, small geometric transformations about the centre: scale, shear, rotate, shift.

    Attributes:
        probability: share of the images that are transformed, by all four together.
        rotation: largest angle in degrees; uniform in ±rotation, counter-clockwise positive.
        translation: largest shift as a share of the output's width and height; uniform in ± that,
            both directions on their own.
        scale: smallest and largest enlargement of the content, log-uniform; 1.1 shows it a tenth
            larger.
        shear: largest angle in degrees by which vertical lines lean; uniform in ±shear.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    probability: float = 1.0
    rotation: float = 0.0
    translation: float = 0.0
    scale: Range = (1.0, 1.0)
    shear: float = 0.0

    def __post_init__(self) -> None:
        check_probability(self.probability)
        check("rotation", self.rotation, 0.0 <= self.rotation <= 180.0, "degrees from 0 to 180")
        check("translation", self.translation, 0.0 <= self.translation <= 1.0, "a share, 0 to 1")
        low, high = self.scale
        check("scale", self.scale, 0.1 <= low <= high <= 10.0, "[low, high], 0.1 ≤ low ≤ high ≤ 10")
        check("shear", self.shear, 0.0 <= self.shear <= 60.0, "degrees from 0 to 60")

    @property
    def active(self) -> bool:
        """Whether any image can change."""
        strengths = (self.rotation, self.translation, self.shear)
        return self.probability > 0 and (any(strengths) or self.scale != (1.0, 1.0))


def draw_geometry(geometry: Geometry, output_size: Size, streams: Streams) -> Parameters:
    """Angles in degrees with their sine, cosine and tangent, scales, and shifts in pixels.

    Args:
        geometry: the settings.
        output_size: (height, width) of which the shifts are a share.
        streams: the random numbers.

    Returns:
        Tensors `(batch,)`; where nothing is transformed, those that leave an image alone.
    """
    zero, one = streams.constant(0.0), streams.constant(1.0)
    if not geometry.active:
        identity = dict.fromkeys(("rotation", "sine", "shear", "tangent", "right", "down"), zero)
        return identity | dict.fromkeys(("cosine", "scale", "shrink"), one)
    use = streams.choose("geometry.use", geometry.probability)

    def look_up(name: str, tables: dict[str, np.ndarray]) -> Parameters:
        rows = streams.look_up(name, np.stack([*tables.values()], axis=-1))
        return {key: rows[:, column] for column, key in enumerate(tables)}

    def blend(drawn: Parameters, neutral: Tensor) -> Parameters:
        return {key: value * use + neutral * (1.0 - use) for key, value in drawn.items()}

    angle = table(lambda share: geometry.rotation * (2 * share - 1)).astype("float64")
    lean = table(lambda share: geometry.shear * (2 * share - 1)).astype("float64")
    scale = table(lambda share: between_logs(*geometry.scale, share)).astype("float64")
    turn, slant = np.deg2rad(angle), np.deg2rad(lean)
    height, width = output_size
    reach = streams.strength("geometry.translation", geometry.translation) * use * 2.0
    turned = look_up(
        "geometry.rotation", {"rotation": angle, "sine": np.sin(turn), "cosine": np.cos(turn)}
    )
    cosine = {"cosine": turned.pop("cosine")}
    slanted = look_up("geometry.shear", {"shear": lean, "tangent": np.tan(slant)})
    scaled = look_up("geometry.scale", {"scale": scale, "shrink": 1.0 / scale})
    return {
        **blend({**turned, **slanted}, zero),
        **blend({**cosine, **scaled}, one),
        "right": (streams.uniform("geometry.right") - 0.5) * reach * float(width),
        "down": (streams.uniform("geometry.down") - 0.5) * reach * float(height),
    }


def transformed(geometry: Parameters, output_size: Size) -> Affine:
    """Output pixels → the output's centre, the transformations about it taken back."""
    height, width = output_size
    to_centre = translation(
        -geometry["right"] - (width - 1) / 2, -geometry["down"] - (height - 1) / 2
    )
    return (
        to_centre.then(rotation(geometry["cosine"], geometry["sine"]))
        .then(shear(geometry["tangent"]))
        .then(scaling(geometry["shrink"], geometry["shrink"]))
    )
