"""The random half of augmentation: parameters as a pure function of (seed, epoch, index).

No generator and no state: each number is the Threefry-2x32 hash (Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", 2011) of the key (seed, epoch) and the counter (index, stream), in
32-bit integers. So neither batch size, order, threads, workers nor a resume can change a draw, and
NumPy, TensorFlow (in a `tf.data` map, under XLA), JAX and PyTorch draw the same. Every quantity
has a stream of its own: turning one method on leaves the draws of the others as they were.

What needs a cosine, an exponential or a normal quantile is read from a table of 4,096 equally
likely values, since these functions differ in the last bit from library to library.
"""

import functools
import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import keras
import numpy as np

from convforge.augment import matrix
from convforge.augment.settings import Augmentation, Geometry, Size
from convforge.augment.window import window_corner
from convforge.geometry import ArgumentError

Tensor = Any
Parameters = dict[str, Tensor]

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
KEY_PARITY = 0x1BD11BDA
LEVELS = 4096

# Fixed for good: another number here is another augmentation of every example.
STREAMS = (
    "crop.use", "crop.area", "crop.ratio", "crop.top", "crop.left",
    "reflection.use",
    "colour.use", "colour.first", "colour.second", "colour.third",
    "geometry.use", "geometry.rotation", "geometry.shear", "geometry.scale",
    "geometry.right", "geometry.down",
)  # fmt: skip


def draw(
    augmentation: Augmentation,
    *,
    seed: Any,
    epoch: Any,
    index: Tensor,
    image_size: tuple[int, int],
    output_size: tuple[int, int],
    ops: Any = keras.ops,
) -> Parameters:
    """Draw the parameters of a batch of images.

    The matrix maps the pixels of the *output* to those of the input:

        (x, y)_in = crop ∘ reflection ∘ scale⁻¹ ∘ shear⁻¹ ∘ rotation⁻¹ ∘ translation⁻¹ (x, y)_out

    so the content is cropped and resized, then mirrored, then enlarged, sheared, rotated and
    shifted about the centre of the output. Where that looks beyond the crop it finds the image's
    own pixels first, and a fill beyond the image only. An image that is not cropped is used whole,
    or by its centre window of `augmentation.size`.

    Args:
        augmentation: Which methods, how strong, how often.
        seed: The run's seed: an int or a scalar integer tensor, modulo 2³².
        epoch: The epoch, likewise, or one for each image: integer tensor [B].
        index: Numbers of the examples in the training split: integer tensor [B], modulo 2³².
        image_size: (height, width) of the images.
        output_size: (height, width) that `apply` will produce.
        ops: Namespace of the functions listed in `convforge.augment`.

    Returns:
        float32 tensors, first what `apply` needs, then what it was made of, for titles and for
        labels that turn with the image:

        - "matrix" [B, 3, 3]: output to input coordinates, (x, y, 1), pixel centres at integers.
        - "colour" [B, 3]: α, 0 where colour is left alone.
        - "crop" [B, 4]: top, left, height, width as shares of the image.
        - "reflected" [B]: 1 or 0.
        - "rotation" [B]: degrees, counter-clockwise as seen.
        - "shear" [B]: degrees.
        - "scale" [B]: enlargement.
        - "translation" [B, 2]: pixels of the output, (right, down).

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
    streams = _Streams(random_words(seed, epoch, index, ops), ops)
    crop = _draw_crop(augmentation, image_size, streams)
    geometry = _draw_geometry(augmentation.geometry, streams, output_size)
    reflected = streams.choose("reflection.use", augmentation.reflection.probability)
    affine = _compose(crop, reflected, geometry, image_size, output_size)
    ones = streams.constant(1.0)
    return {
        "matrix": matrix.stack(affine, ones, ops),
        "colour": _draw_colour(augmentation, streams),
        "crop": ops.stack([crop[side] for side in ("top", "left", "height", "width")], axis=-1),
        "reflected": reflected,
        "rotation": geometry["rotation"],
        "shear": geometry["shear"],
        "scale": geometry["scale"],
        "translation": ops.stack([geometry["right"], geometry["down"]], axis=-1),
    }


def _check_size(argument: str, size: tuple[int, int]) -> None:
    if len(size) != 2 or not all(isinstance(side, (int, np.integer)) and side > 0 for side in size):
        raise ArgumentError(argument, size, "(height, width), two integers ≥ 1")


def random_words(seed: Any, epoch: Any, index: Tensor, ops: Any = keras.ops) -> Tensor:
    """Random bits for a batch of examples: one 32-bit word per example and stream.

    Args:
        seed: First word of the key: an int or a scalar integer tensor.
        epoch: Second word of the key, or one for each example: integer tensor [B].
        index: Integer tensor [B].
        ops: Namespace of the functions listed in `convforge.augment`.

    Returns:
        int32 tensor [16, B]; all 2³² values are equally likely.
    """
    blocks = np.arange(len(STREAMS) // 2, dtype="int32").reshape(-1, 1)
    counter = ops.reshape(ops.cast(index, "int32"), (1, -1))
    key = (_as_word(seed, ops), _as_word(epoch, ops))
    words = ops.concatenate(threefry(key, (counter, ops.cast(blocks, "int32")), ops), axis=0)
    # Takes every row as it is, because XLA stores what it gathers: it would compile the hash into
    # each of its many uses otherwise, which doubles the time to compile and to draw.
    return ops.take(words, np.arange(len(STREAMS), dtype="int32"), axis=0)


def threefry(
    key: tuple[Tensor, Tensor], counter: tuple[Tensor, Tensor], ops: Any
) -> tuple[Tensor, Tensor]:
    """The Threefry-2x32 block function, 20 rounds, on int32 tensors that broadcast."""
    keys = (*key, ops.bitwise_xor(ops.bitwise_xor(key[0], key[1]), KEY_PARITY))
    first, second = counter[0] + keys[0], counter[1] + keys[1]
    for step in range(5):
        for distance in ROTATIONS[step % 2]:
            first = first + second
            second = ops.bitwise_xor(_rotate_left(second, distance, ops), first)
        first = first + keys[(step + 1) % 3]
        second = second + keys[(step + 2) % 3] + (step + 1)
    return first, second


def _rotate_left(word: Tensor, distance: int, ops: Any) -> Tensor:
    return ops.bitwise_or(
        ops.bitwise_left_shift(word, distance), _shift_right(word, 32 - distance, ops)
    )


def _shift_right(word: Tensor, distance: int, ops: Any) -> Tensor:
    # int32, since PyTorch has no uint32 arithmetic: the mask takes off the copies of the sign bit.
    mask = (1 << (32 - distance)) - 1
    return ops.bitwise_and(ops.bitwise_right_shift(word, distance), mask)


def _as_word(value: Any, ops: Any) -> Tensor:
    """An int, a scalar tensor or a tensor [B] as int32 [1, 1] or [1, B]."""
    if isinstance(value, bool | float | np.floating | str):
        raise ArgumentError("seed or epoch", value, "an integer or a tensor of integers")
    if isinstance(value, int):
        value = np.array((value + 2**31) % 2**32 - 2**31, dtype="int32")
    return ops.reshape(ops.cast(value, "int32"), (1, -1))


class _Streams:
    """The words of a batch, read as uniform, chosen or tabulated values, by name of the stream."""

    def __init__(self, words: Tensor, ops: Any) -> None:
        self._words = words
        self._ops = ops

    def word(self, name: str) -> Tensor:
        return self._words[STREAMS.index(name)]

    def uniform(self, name: str) -> Tensor:
        """Uniform in [0, 1), 24 bits."""
        bits = _shift_right(self.word(name), 8, self._ops)
        return self._ops.cast(bits, "float32") * 2.0**-24

    def choose(self, name: str, probability: float) -> Tensor:
        """1 with `probability`, otherwise 0."""
        return self._ops.cast(self.uniform(name) < probability, "float32")

    def look_up(self, name: str, table: np.ndarray) -> Tensor:
        """One of the rows of a table [4096, …], all equally likely."""
        level = _shift_right(self.word(name), 20, self._ops)
        return self._ops.take(self._ops.cast(table, "float32"), level, axis=0)

    def constant(self, value: float) -> Tensor:
        return self._ops.cast(self._words[0], "float32") * 0.0 + value


def _table(quantile: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A distribution as equally likely values: its quantiles at the midpoints of 4,096 levels."""
    return np.asarray(quantile((np.arange(LEVELS) + 0.5) / LEVELS), dtype="float32")


def _between(low: float, high: float, share: np.ndarray) -> np.ndarray:
    return np.asarray(low + (high - low) * share)


def _between_logs(low: float, high: float, share: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(_between(math.log(low), math.log(high), share)))


@functools.cache
def _normal_table() -> np.ndarray:
    """Quantiles of N(0, 1), scaled to variance 1 exactly (the midpoints' own is 0.998)."""
    quantiles = _table(lambda share: np.array([NormalDist().inv_cdf(level) for level in share]))
    return np.asarray(quantiles / quantiles.std())


def _uncropped(size: Size | None, image_size: Size, streams: _Streams) -> Parameters:
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


def _draw_crop(augmentation: Augmentation, image_size: Size, streams: _Streams) -> Parameters:
    crop, windowed = augmentation.crop, augmentation.size is not None
    uncropped = _uncropped(augmentation.size, image_size, streams)
    if not crop.active:
        return uncropped
    ops = streams._ops
    use = streams.choose("crop.use", crop.probability)
    root_area = streams.look_up(
        "crop.area", np.sqrt(_table(lambda share: _between(*crop.scale, share)))
    )
    root_ratio = streams.look_up(
        "crop.ratio", np.sqrt(_table(lambda share: _between_logs(*crop.ratio, share)))
    )
    root_ratio = ops.minimum(ops.maximum(root_ratio, root_area), 1.0 / root_area)
    height = ops.where(use > 0, ops.minimum(root_area / root_ratio, 1.0), uncropped["height"])
    width = ops.where(use > 0, ops.minimum(root_area * root_ratio, 1.0), uncropped["width"])
    top = streams.uniform("crop.top") * (1.0 - height)
    left = streams.uniform("crop.left") * (1.0 - width)
    if windowed:  # A whole image has but one place.
        top = ops.where(use > 0, top, uncropped["top"])
        left = ops.where(use > 0, left, uncropped["left"])
    return {"top": top, "left": left, "height": height, "width": width}


def _draw_colour(augmentation: Augmentation, streams: _Streams) -> Tensor:
    colour, ops = augmentation.colour, streams._ops
    if not colour.active:
        return ops.stack([streams.constant(0.0)] * 3, axis=-1)
    use = streams.choose("colour.use", colour.probability)
    table = _normal_table() * colour.strength
    names = ("colour.first", "colour.second", "colour.third")
    return ops.stack([streams.look_up(name, table) * use for name in names], axis=-1)


def _draw_geometry(
    geometry: Geometry, streams: _Streams, output_size: tuple[int, int]
) -> Parameters:
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

    angle = _table(lambda share: geometry.rotation * (2 * share - 1)).astype("float64")
    lean = _table(lambda share: geometry.shear * (2 * share - 1)).astype("float64")
    scale = _table(lambda share: _between_logs(*geometry.scale, share)).astype("float64")
    turn, slant = np.deg2rad(angle), np.deg2rad(lean)
    height, width = output_size
    reach = geometry.translation * use * 2.0
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


def _compose(
    crop: Parameters,
    reflected: Tensor,
    geometry: Parameters,
    image_size: tuple[int, int],
    output_size: tuple[int, int],
) -> matrix.Affine:
    """Output coordinates → input coordinates, about the centres of output and crop."""
    (height, width), (out_height, out_width) = image_size, output_size
    centre_x = (crop["left"] + crop["width"] * 0.5) * float(width) - 0.5
    centre_y = (crop["top"] + crop["height"] * 0.5) * float(height) - 0.5
    to_centre = matrix.translation(
        -geometry["right"] - (out_width - 1) / 2, -geometry["down"] - (out_height - 1) / 2
    )
    return (
        to_centre.then(matrix.rotation(geometry["cosine"], geometry["sine"]))
        .then(matrix.shear(geometry["tangent"]))
        .then(matrix.scaling(geometry["shrink"], geometry["shrink"]))
        .then(matrix.scaling(1.0 - reflected * 2.0, 1.0))
        .then(
            matrix.scaling(
                crop["width"] * (width / out_width), crop["height"] * (height / out_height)
            )
        )
        .then(matrix.translation(centre_x, centre_y))
    )
