"""Method 3, altered RGB values: settings, draw, the shift, and the principal colours behind it."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from convforge.augment.streams import Streams, normal_table
from convforge.augment.values import Tensor, check, check_probability
from convforge.geometry import ArgumentError

Reading = Literal["sqrt", "lambda"]


@dataclass(frozen=True)
class Colour:
    """Method 3, altering RGB values along the principal colours of the training split.

    Every pixel of an image gets the same shift P·(α∘σ), α ~ N(0, strength²) drawn once per image
    and use; see `convforge.augment.colour_basis` for P and σ.

    Attributes:
        probability: share of the images that are altered.
        strength: standard deviation of α; 0 is off, 0.1 is AlexNet's.
        reading: what scales the principal directions: "sqrt", the standard deviations √λ that
            the authors' code uses, or "lambda", the eigenvalues λ that the paper's text names.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    probability: float = 1.0
    strength: float = 0.0
    reading: Reading = "sqrt"

    def __post_init__(self) -> None:
        check_probability(self.probability)
        check("strength", self.strength, 0.0 <= self.strength <= 10.0, "a number from 0 to 10")
        check("reading", self.reading, self.reading in ("sqrt", "lambda"), "sqrt or lambda")

    @property
    def active(self) -> bool:
        """Whether any image can change."""
        return self.probability > 0 and self.strength > 0


def draw_colour(colour: Colour, streams: Streams) -> Tensor:
    """α of each image, `(batch, 3)`; 0 where colour is left alone."""
    ops = streams.ops
    if not colour.active:
        return ops.stack([streams.constant(0.0)] * 3, axis=-1)
    use = streams.choose("colour.use", colour.probability)
    table = normal_table() * colour.strength
    names = ("colour.first", "colour.second", "colour.third")
    return ops.stack([streams.look_up(name, table) * use for name in names], axis=-1)


def shift_colours(
    pixels: Tensor, alpha: Tensor, colour_basis: ArrayLike, channels: int, ops: Any
) -> Tensor:
    """P ← clip(p + basis · α, 0, 255), for pixels `(batch, height, width, channels)`.

    Raises:
        ArgumentError: the basis does not fit the channels.
    """
    shape = np.shape(colour_basis)
    if shape != (channels, channels) or channels > 3:
        allowed = f"an array [C, C] for C = {channels} channels, at most 3"
        raise ArgumentError("colour_basis", shape, allowed)
    basis = ops.reshape(ops.cast(colour_basis, "float32"), (1, channels, channels))
    shift = ops.sum(basis * alpha[:, None, :channels], axis=-1)
    return ops.clip(pixels + shift[:, None, None, :], 0.0, 255.0)


def colour_basis(covariance: ArrayLike, reading: Reading = "sqrt") -> np.ndarray:
    """Principal colour directions of a data set times how far colours spread along each.

    With the eigenvectors P = [p₁ … p_C] and eigenvalues λ₁ ≥ … ≥ λ_C of the covariance of the
    pixel values, every pixel of an image is shifted by basis · α, α ~ N(0, strength²) per image:

        reading="sqrt":    basis · α = P (α ∘ √λ)
        reading="lambda":  basis · α = P (α ∘ λ / 255)

    The paper's text says λ, for pixels of a scale it leaves open; the code its authors published
    multiplies by standard deviations, √λ, and that is the default. Eigenvalues have the square of
    the pixels' unit, so λ needs a scale: here pixels run from 0 to 1, as in most programs that
    read the text so, and the result is brought back to grey levels 0 to 255. On photographs the
    first √λ is about 120 grey levels and the first λ / 255 about 58.

    With one channel there are no colours: P = 1, and the method alters brightness alone.

    Args:
        covariance: array (channels, channels), at most 3 channels, of the training split's pixels
            in grey levels 0 to 255.
        reading: "sqrt" or "lambda".

    Returns:
        float64 array (channels, channels), in grey levels, one column per direction, the widest
        spread first. The largest entry of each direction is positive, so that machines agree on
        the sign.

    Raises:
        ArgumentError: the covariance is not symmetric, or the reading is unknown.

    Example:
        >>> colour_basis([[400.0]]).tolist()
        [[20.0]]

    References:
        Krizhevsky, Sutskever, Hinton 2012, section 4.1, and their program cuda-convnet2.
    """
    matrix = np.asarray(covariance, dtype="float64")
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] <= 3
    if not square or not np.allclose(matrix, matrix.T):
        raise ArgumentError("covariance", matrix.tolist(), "a symmetric array [C, C], C ≤ 3")
    eigenvalues, vectors = np.linalg.eigh(matrix)
    return scaled_directions(eigenvalues[::-1], vectors.T[::-1], reading)


def scaled_directions(
    variances: ArrayLike, directions: ArrayLike, reading: Reading = "sqrt"
) -> np.ndarray:
    """`colour_basis` of eigenvalues and eigenvectors that are known already.

    A prepared data set holds those of its training split, so that no other machine's solver can
    round them otherwise.

    Args:
        variances: eigenvalues (channels,) of the covariance, grey levels squared.
        directions: their eigenvectors (channels, channels), one in each *row*, of length 1.
        reading: "sqrt" or "lambda".

    Returns:
        float64 array (channels, channels), in grey levels, one column per direction.

    Raises:
        ArgumentError: the reading is unknown.

    Example:
        >>> scaled_directions([400.0, 100.0], [[0.6, 0.8], [0.8, -0.6]]).tolist()
        [[12.0, 8.0], [16.0, -6.0]]
    """
    if reading not in ("sqrt", "lambda"):
        raise ArgumentError("reading", reading, "sqrt or lambda")
    spread, vectors = np.maximum(np.asarray(variances), 0.0), np.asarray(directions).T
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(len(vectors))]
    scale = np.sqrt(spread) if reading == "sqrt" else spread / 255.0
    return np.asarray(vectors * np.sign(largest) * scale)
