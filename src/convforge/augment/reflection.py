"""Method 2, horizontal reflection: settings, draw, and its part of an image's matrix."""

from dataclasses import dataclass
from typing import ClassVar

from convforge.augment.matrix import Affine, scaling
from convforge.augment.streams import Streams
from convforge.augment.values import Tensor, check_probability


@dataclass(frozen=True)
class Reflection:
    """Method 2, horizontal reflection: x ← W − 1 − x.

    Attributes:
        probability: share of the images that are mirrored. Leave it at 0 where left and right
            carry meaning, as in digits and letters.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    probability: float = 0.0

    def __post_init__(self) -> None:
        check_probability(self.probability)

    @property
    def active(self) -> bool:
        """Whether any image can change."""
        return self.probability > 0


def draw_reflection(reflection: Reflection, streams: Streams) -> Tensor:
    """1 for each image that is mirrored, 0 for the others: `(batch,)`."""
    return streams.choose("reflection.use", reflection.probability)


def reflect_after(affine: Affine, reflected: Tensor) -> Affine:
    """`affine`, whose origin is the output's centre, and then x ← −x where drawn."""
    return affine.then(scaling(1.0 - reflected * 2.0, 1.0))
