"""The random half of augmentation: the parameters of a batch, and the matrix they amount to."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from convforge.augment import matrix, numpy_ops
from convforge.augment.colour import draw_colour
from convforge.augment.crop import crop_after, draw_crop
from convforge.augment.geometry import draw_geometry, transformed
from convforge.augment.reflection import draw_reflection, reflect_after
from convforge.augment.settings import Augmentation
from convforge.augment.streams import Streams, random_words
from convforge.augment.values import Parameters, Tensor
from convforge.geometry import ArgumentError


def draw(
    augmentation: Augmentation,
    *,
    seed: Any,
    epoch: Any,
    index: Tensor,
    image_size: tuple[int, int],
    output_size: tuple[int, int],
    ops: Any = keras.ops,
    strengths: Mapping[str, Tensor] | None = None,
) -> Parameters:
    """Draw the parameters of a batch of images.

    The matrix maps the pixels of the *output* to those of the input:

        (x, y)_in = crop ∘ reflection ∘ scale⁻¹ ∘ shear⁻¹ ∘ rotation⁻¹ ∘ translation⁻¹ (x, y)_out

    so the content is cropped and resized, then mirrored, then enlarged, sheared, rotated and
    shifted about the centre of the output. Where that looks beyond the crop it finds the image's
    own pixels first, and a fill beyond the image only. An image that is not cropped is used whole,
    or by its centre window of `augmentation.size`.

    Args:
        augmentation: which methods, how strong, how often.
        seed: the run's seed: an int or a scalar integer tensor, modulo 2³².
        epoch: the epoch, likewise, or one for each image: integer tensor (batch,).
        index: numbers of the examples in the training split: integer tensor (batch,), modulo 2³².
        image_size: (height, width) of the images.
        output_size: (height, width) that `apply` will produce.
        ops: namespace of the functions listed in `convforge.augment`.
        strengths: what `strengths_of` another augmentation gives, of the same methods: it is drawn
            by these then, which may be tensors of a compiled program; None for its own.

    Returns:
        float32 tensors, first what `apply` needs, then what it was made of, for titles and for
        labels that turn with the image:

        - "matrix" (batch, 3, 3): output to input coordinates, (x, y, 1), pixel centres at integers.
        - "colour" (batch, 3): α, 0 where colour is left alone.
        - "crop" (batch, 4): top, left, height, width as shares of the image.
        - "reflected" (batch,): 1 or 0.
        - "rotation" (batch,): degrees, counter-clockwise as seen.
        - "shear" (batch,): degrees.
        - "scale" (batch,): enlargement.
        - "translation" (batch, 2): pixels of the output, (right, down).

    Raises:
        ArgumentError: A size is not two integers of at least 1, `augmentation.size` is larger than
            the images, or seed or epoch is no integer.

    Example:
        >>> import numpy as np
        >>> from convforge.augment import numpy_ops, settings
        >>> turn = settings.Augmentation(geometry=settings.Geometry(rotation=10.0))
        >>> at = dict(seed=0, epoch=3, image_size=(32, 32), output_size=(32, 32), ops=numpy_ops)
        >>> alone = draw(turn, index=np.array([41]), **at)["rotation"]
        >>> among_others = draw(turn, index=np.arange(64), **at)["rotation"]
        >>> bool(alone[0] == among_others[41])
        True
    """
    _check_size("image_size", image_size)
    _check_size("output_size", output_size)
    streams = Streams(random_words(seed, epoch, index, ops), ops, strengths)
    return _drawn(augmentation, image_size, output_size, streams)


def _drawn(
    augmentation: Augmentation,
    image_size: tuple[int, int],
    output_size: tuple[int, int],
    streams: Streams,
) -> Parameters:
    ops = streams.ops
    crop = draw_crop(augmentation.crop, augmentation.size, image_size, streams)
    geometry = draw_geometry(augmentation.geometry, output_size, streams)
    reflected = draw_reflection(augmentation.reflection, streams)
    affine = reflect_after(transformed(geometry, output_size), reflected)
    affine = crop_after(affine, crop, image_size, output_size)
    ones = streams.constant(1.0)
    return {
        "matrix": matrix.stack(affine, ones, ops),
        "colour": draw_colour(augmentation.colour, streams),
        "crop": ops.stack([crop[side] for side in ("top", "left", "height", "width")], axis=-1),
        "reflected": reflected,
        "rotation": geometry["rotation"],
        "shear": geometry["shear"],
        "scale": geometry["scale"],
        "translation": ops.stack([geometry["right"], geometry["down"]], axis=-1),
    }


def strengths_of(augmentation: Augmentation) -> dict[str, np.ndarray]:
    """How strong and how frequent the methods are, as the numbers and tables that `draw` reads.

    Args:
        augmentation: which methods, how strong, how often.

    Returns:
        float32 arrays, by name: a probability, a reach, or the 4,096 equally likely values of a
        quantity. Two augmentations whose methods are on alike have the same names and shapes.

    Example:
        >>> from convforge.augment import settings
        >>> mirror = settings.Augmentation(reflection=settings.Reflection(probability=0.25))
        >>> strengths_of(mirror)
        {'reflection.use': array(0.25, dtype=float32)}
    """
    size = augmentation.size or (1, 1)
    words = random_words(0, 0, np.zeros(1, "int32"), numpy_ops)
    streams = Streams(words, numpy_ops)
    _drawn(augmentation, size, size, streams)
    return {name: np.asarray(value, "float32") for name, value in streams.read.items()}


def _check_size(argument: str, size: tuple[int, int]) -> None:
    if len(size) != 2 or not all(isinstance(side, (int, np.integer)) and side > 0 for side in size):
        raise ArgumentError(argument, size, "(height, width), two integers ≥ 1")
