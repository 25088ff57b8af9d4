"""The lecture's four augmentation methods, in one resampling per image, reproducible.

`draw` makes parameters, `apply` moves pixels by them; both are public, so anybody can replay the
exact augmentation of one image, and `draw_and_apply` is the two at once. The settings alone
import no Keras. `TARGETS` lists the drawn parameters that can be labels, for a net that predicts
how far an image was turned.

`draw` and `apply` take `ops`, any namespace with these functions under Keras' names:

    arange, bitwise_and, bitwise_left_shift, bitwise_or, bitwise_right_shift, bitwise_xor, cast,
    clip, concatenate, floor, maximum, minimum, reshape, shape, stack, sum, take, where

`keras.ops` has them (the default), `convforge.augment.numpy_ops` replays on NumPy, and
`convforge.pipeline.data.reading.tensorflow_ops` runs inside `tf.data` whichever backend Keras has.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from convforge.augment.settings import Augmentation, Colour, Crop, Geometry, Reflection
from convforge.augment.targets import TARGETS, check_targets, target_values
from convforge.augment.window import centre_window

if TYPE_CHECKING:
    from convforge.augment.colour import colour_basis
    from convforge.augment.layer import Augment
    from convforge.augment.parameters import draw
    from convforge.augment.warp import apply, draw_and_apply

__all__ = [
    "TARGETS",
    "Augment",
    "Augmentation",
    "Colour",
    "Crop",
    "Geometry",
    "Reflection",
    "apply",
    "centre_window",
    "check_targets",
    "colour_basis",
    "draw",
    "draw_and_apply",
    "target_values",
]

_MODULES = {
    "Augment": "layer",
    "apply": "warp",
    "colour_basis": "colour",
    "draw": "parameters",
    "draw_and_apply": "warp",
}


def __getattr__(name: str) -> Any:
    # Keras takes seconds to import, and a config is checked without it.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
