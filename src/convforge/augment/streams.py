"""Random numbers as a pure function of (seed, epoch, index): no generator and no state.

Each number is the Threefry-2x32 hash of the key (seed, epoch) and the counter (index, stream), in
32-bit integers. So neither batch size, order, threads, workers nor a resume can change a draw, and
NumPy, TensorFlow (in a `tf.data` map, under XLA), JAX and PyTorch draw the same. Every quantity
has a stream of its own: turning one method on leaves the draws of the others as they were.

What needs a cosine, an exponential or a normal quantile is read from a table of 4,096 equally
likely values, since these functions differ in the last bit from library to library.

References:
    Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

import functools
import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np

from convforge.augment.values import Tensor
from convforge.geometry import ArgumentError

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


def random_words(seed: Any, epoch: Any, index: Tensor, ops: Any) -> Tensor:
    """Random bits for a batch of examples: one 32-bit word per example and stream.

    Args:
        seed: first word of the key: an int or a scalar integer tensor.
        epoch: second word of the key, or one for each example: integer tensor (batch,).
        index: integer tensor (batch,).
        ops: namespace of the functions listed in `convforge.augment`.

    Returns:
        int32 tensor (16, batch); all 2³² values are equally likely.
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
    """An int, a scalar tensor or a tensor (batch,) as int32 [1, 1] or (1, batch)."""
    if isinstance(value, bool | float | np.floating | str):
        raise ArgumentError("seed or epoch", value, "an integer or a tensor of integers")
    if isinstance(value, int):
        value = np.array((value + 2**31) % 2**32 - 2**31, dtype="int32")
    return ops.reshape(ops.cast(value, "int32"), (1, -1))


class Streams:
    """The words of a batch, read as uniform, chosen or tabulated values, by name of the stream.

    Args:
        words: of `random_words`.
        ops: namespace of the functions listed in `convforge.augment`.
        strengths: by name, what takes the place of a probability, a table or a number.
    """

    def __init__(
        self, words: Tensor, ops: Any, strengths: Mapping[str, Tensor] | None = None
    ) -> None:
        self._words = words
        self._strengths = strengths or {}
        self.ops = ops
        #: What was read so far, as the settings have it.
        self.read: dict[str, Any] = {}

    def word(self, name: str) -> Tensor:
        return self._words[STREAMS.index(name)]

    def uniform(self, name: str) -> Tensor:
        """Uniform in [0, 1), 24 bits."""
        bits = _shift_right(self.word(name), 8, self.ops)
        return self.ops.cast(bits, "float32") * 2.0**-24

    def choose(self, name: str, probability: float) -> Tensor:
        """1 with `probability`, otherwise 0."""
        return self.ops.cast(self.uniform(name) < self.strength(name, probability), "float32")

    def look_up(self, name: str, table: np.ndarray) -> Tensor:
        """One of the rows of a table [4096, …], all equally likely."""
        level = _shift_right(self.word(name), 20, self.ops)
        table = self.strength(name, table)
        return self.ops.take(self.ops.cast(table, "float32"), level, axis=0)

    def strength(self, name: str, value: Any) -> Any:
        """`value`, or what was given in its place."""
        self.read[name] = value
        return self._strengths.get(name, value)

    def constant(self, value: float) -> Tensor:
        return self.ops.cast(self._words[0], "float32") * 0.0 + value


def table(quantile: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A distribution as equally likely values: its quantiles at the midpoints of 4,096 levels."""
    return np.asarray(quantile((np.arange(LEVELS) + 0.5) / LEVELS), dtype="float32")


def between(low: float, high: float, share: np.ndarray) -> np.ndarray:
    return np.asarray(low + (high - low) * share)


def between_logs(low: float, high: float, share: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(between(math.log(low), math.log(high), share)))


@functools.cache
def normal_table() -> np.ndarray:
    """Quantiles of N(0, 1), scaled to variance 1 exactly (the midpoints' own is 0.998)."""
    quantiles = table(lambda share: np.array([NormalDist().inv_cdf(level) for level in share]))
    return np.asarray(quantiles / quantiles.std())
