"""Which augmentation methods are on, how strong, how often: plain values, and no Keras.

Each class is one method of the lecture; its fields are the keys of `conf/augment/`. Every default
leaves the images alone, so a config names only what it turns on.

Example:
    >>> Augmentation(reflection=Reflection(probability=0.5)).crop
    Crop(probability=1.0, scale=(1.0, 1.0), ratio=(1.0, 1.0))
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from convforge.geometry import ArgumentError

Range = tuple[float, float]
Size = tuple[int, int]
Place = Literal["input", "model", "step"]


def _check(argument: str, value: object, valid: bool, allowed: str) -> None:
    if not valid:
        raise ArgumentError(argument, value, allowed)


def _check_probability(value: float) -> None:
    _check("probability", value, 0.0 <= value <= 1.0, "a number from 0 to 1")


@dataclass(frozen=True)
class Crop:
    """Method 1, random large crops, resized to the output size.

    A crop has `scale`·H·W of the image's area, s, and its sides are W·√(s·r) and H·√(s/r), for a
    distortion r from `ratio`; its place is uniform over all places inside the image.

    Attributes:
        probability: Share of the images that are cropped; the others are used whole, or by their
            centre window where the settings have a `size`.
        scale: Smallest and largest share of the image's area, uniform between them.
        ratio: Smallest and largest width-to-height ratio *relative to the image's own*,
            log-uniform between them; kept within [s, 1/s], so that the crop fits.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    probability: float = 1.0
    scale: Range = (1.0, 1.0)
    ratio: Range = (1.0, 1.0)

    def __post_init__(self) -> None:
        _check_probability(self.probability)
        low, high = self.scale
        _check("scale", self.scale, 0.0 < low <= high <= 1.0, "[low, high], 0 < low ≤ high ≤ 1")
        low, high = self.ratio
        _check(
            "ratio", self.ratio, 0.1 <= low <= high <= 10.0, "[low, high], 0.1 ≤ low ≤ high ≤ 10"
        )
        # The whole area in another ratio would reach beyond the image.
        whole = self.scale == (1.0, 1.0)
        allowed = "[1, 1], or a crop.scale below 1: the whole area has the image's own ratio"
        _check("ratio", self.ratio, not whole or self.ratio == (1.0, 1.0), allowed)

    @property
    def active(self) -> bool:
        """Whether any image can change."""
        return self.probability > 0 and self.scale != (1.0, 1.0)


@dataclass(frozen=True)
class Reflection:
    """Method 2, horizontal reflection: x ← W − 1 − x.

    Attributes:
        probability: Share of the images that are mirrored. Leave it at 0 where left and right
            carry meaning, as in digits and letters.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    probability: float = 0.0

    def __post_init__(self) -> None:
        _check_probability(self.probability)

    @property
    def active(self) -> bool:
        """Whether any image can change."""
        return self.probability > 0


@dataclass(frozen=True)
class Colour:
    """Method 3, altering RGB values along the principal colours of the training split.

    Every pixel of an image gets the same shift P·(α∘σ), α ~ N(0, strength²) drawn once per image
    and use; see `convforge.augment.colour_basis` for P and σ.

    Attributes:
        probability: Share of the images that are altered.
        strength: Standard deviation of α; 0 is off, 0.1 is AlexNet's.
        reading: What scales the principal directions: "sqrt", the standard deviations √λ that
            the authors' code uses, or "lambda", the eigenvalues λ that the paper's text names.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    probability: float = 1.0
    strength: float = 0.0
    reading: Literal["sqrt", "lambda"] = "sqrt"

    def __post_init__(self) -> None:
        _check_probability(self.probability)
        _check("strength", self.strength, 0.0 <= self.strength <= 10.0, "a number from 0 to 10")
        _check("reading", self.reading, self.reading in ("sqrt", "lambda"), "sqrt or lambda")

    @property
    def active(self) -> bool:
        """Whether any image can change."""
        return self.probability > 0 and self.strength > 0


@dataclass(frozen=True)
class Geometry:
    """Method 4, small geometric transformations about the centre: scale, shear, rotate, shift.

    Attributes:
        probability: Share of the images that are transformed, by all four together.
        rotation: Largest angle in degrees; uniform in ±rotation, counter-clockwise positive.
        translation: Largest shift as a share of the output's width and height; uniform in ± that,
            both directions on their own.
        scale: Smallest and largest enlargement of the content, log-uniform; 1.1 shows it a tenth
            larger.
        shear: Largest angle in degrees by which vertical lines lean; uniform in ±shear.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    probability: float = 1.0
    rotation: float = 0.0
    translation: float = 0.0
    scale: Range = (1.0, 1.0)
    shear: float = 0.0

    def __post_init__(self) -> None:
        _check_probability(self.probability)
        _check("rotation", self.rotation, 0.0 <= self.rotation <= 180.0, "degrees from 0 to 180")
        _check("translation", self.translation, 0.0 <= self.translation <= 1.0, "a share, 0 to 1")
        low, high = self.scale
        _check(
            "scale", self.scale, 0.1 <= low <= high <= 10.0, "[low, high], 0.1 ≤ low ≤ high ≤ 10"
        )
        _check("shear", self.shear, 0.0 <= self.shear <= 60.0, "degrees from 0 to 60")

    @property
    def active(self) -> bool:
        """Whether any image can change."""
        strengths = (self.rotation, self.translation, self.shear)
        return self.probability > 0 and (any(strengths) or self.scale != (1.0, 1.0))


@dataclass(frozen=True)
class Augmentation:
    """The four methods, any subset of them, and how pixels between and outside pixels are read.

    Attributes:
        crop: Method 1, large crops.
        reflection: Method 2, horizontal reflection.
        colour: Method 3, altered RGB values.
        geometry: Method 4, small geometric transformations.
        fill: What lies beyond the image: "reflect" its mirror image (d c b a | a b c d | d c b a),
            "edge" its outermost pixels, "constant" `fill_value`. Reflection keeps the statistics
            of textures; a constant suits images on a plain ground.
        fill_value: The grey level, 0 to 255, of a constant fill.
        interpolation: "bilinear", or "nearest" where no new values may appear.
        size: (height, width) of what a net sees, or None for the images' own. A crop is then
            resized to it, and an image that is not cropped, as in an evaluation, shows its centre
            window of so many pixels. AlexNet has images of 256×256, the size (224, 224), and a
            crop scale of (224/256)², which keeps the images' own scale.
        place: Where a training run moves the pixels: "input" in the input pipeline, on the
            processor and beside the training steps; "model" in a layer that the trained model
            has and the saved one has not; "step" in the training step, before the model. The
            latter two work on the accelerator. The draws are the same in all three, and so are
            the pixels but for rounding. `draw` and `apply` do not look at it.

    Raises:
        ArgumentError: A value is outside what is allowed.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    crop: Crop = field(default_factory=Crop)
    reflection: Reflection = field(default_factory=Reflection)
    colour: Colour = field(default_factory=Colour)
    geometry: Geometry = field(default_factory=Geometry)
    fill: Literal["reflect", "edge", "constant"] = "reflect"
    fill_value: float = 0.0
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    size: Size | None = None
    place: Place = "input"

    def __post_init__(self) -> None:
        fills, interpolations = ("reflect", "edge", "constant"), ("bilinear", "nearest")
        _check("fill", self.fill, self.fill in fills, "reflect, edge or constant")
        _check("fill_value", self.fill_value, 0.0 <= self.fill_value <= 255.0, "a level, 0 to 255")
        _check(
            "interpolation",
            self.interpolation,
            self.interpolation in interpolations,
            "bilinear or nearest",
        )
        sides = (1, 1) if self.size is None else self.size
        whole = len(sides) == 2 and all(type(side) is int and 1 <= side <= 16384 for side in sides)
        _check("size", self.size, whole, "null, or [height, width] from 1 to 16384")
        places = ("input", "model", "step")
        _check("place", self.place, self.place in places, "input, model or step")

    @property
    def active(self) -> bool:
        """Whether any image can change."""
        return any(
            method.active for method in (self.crop, self.reflection, self.colour, self.geometry)
        )
