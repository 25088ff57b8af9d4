"""Which augmentation methods are on, how strong, how often: plain values, and no Keras.

Each method of the lecture has a file of its own, with its settings, its draw and what it does; the
fields are the keys of `conf/augment/`. Every default leaves the images alone, so a config names
only what it turns on.

Example:
    >>> Augmentation(reflection=Reflection(probability=0.5)).crop
    Crop(probability=1.0, scale=(1.0, 1.0), ratio=(1.0, 1.0))
"""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Literal

from convforge.augment.colour import Colour
from convforge.augment.crop import Crop
from convforge.augment.geometry import Geometry
from convforge.augment.reflection import Reflection
from convforge.augment.values import Range, Size, check

__all__ = ["METHODS", "Augmentation", "Colour", "Crop", "Geometry", "Range", "Reflection", "Size"]

Fill = Literal["reflect", "edge", "constant"]
Interpolation = Literal["bilinear", "nearest"]
Place = Literal["input", "model", "step"]


@dataclass(frozen=True)
class Augmentation:
    """The four methods, any subset of them, and how pixels between and outside pixels are read.

    Attributes:
        crop: method 1, large crops.
        reflection: method 2, horizontal reflection.
        colour: method 3, altered RGB values.
        geometry: method 4, small geometric transformations.
        fill: what lies beyond the image: "reflect" its mirror image (d c b a | a b c d | d c b a),
            "edge" its outermost pixels, "constant" `fill_value`. Reflection keeps the statistics
            of textures; a constant suits images on a plain ground.
        fill_value: the grey level, 0 to 255, of a constant fill.
        interpolation: "bilinear", or "nearest" where no new values may appear.
        size: (height, width) of what a net sees, or None for the images' own. A crop is then
            resized to it, and an image that is not cropped, as in an evaluation, shows its centre
            window of so many pixels. AlexNet has images of 256×256, the size (224, 224), and a
            crop scale of (224/256)², which keeps the images' own scale.
        place: where a training run moves the pixels: "input" in the input pipeline, on the
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
    fill: Fill = "reflect"
    fill_value: float = 0.0
    interpolation: Interpolation = "bilinear"
    size: Size | None = None
    place: Place = "input"

    def __post_init__(self) -> None:
        fills, interpolations = ("reflect", "edge", "constant"), ("bilinear", "nearest")
        check("fill", self.fill, self.fill in fills, "reflect, edge or constant")
        check("fill_value", self.fill_value, 0.0 <= self.fill_value <= 255.0, "a level, 0 to 255")
        check(
            "interpolation",
            self.interpolation,
            self.interpolation in interpolations,
            "bilinear or nearest",
        )
        sides = (1, 1) if self.size is None else self.size
        whole = len(sides) == 2 and all(type(side) is int and 1 <= side <= 16384 for side in sides)
        check("size", self.size, whole, "null, or [height, width] from 1 to 16384")
        places = ("input", "model", "step")
        check("place", self.place, self.place in places, "input, model or step")

    @property
    def active(self) -> bool:
        """Whether any image can change."""
        return any(method.active for method in (getattr(self, name) for name in METHODS))


#: The methods by the names of their settings.
METHODS: dict[str, Any] = {
    method.name: method.type for method in fields(Augmentation) if is_dataclass(method.type)
}
