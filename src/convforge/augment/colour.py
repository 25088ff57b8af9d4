"""The principal colours of a training split, for the lecture's third method."""

import numpy as np
from numpy.typing import ArrayLike

from convforge.geometry import ArgumentError


def colour_basis(covariance: ArrayLike, reading: str = "sqrt") -> np.ndarray:
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
        covariance: Array [C, C], C ≤ 3, of the training split's pixels in grey levels 0 to 255.
        reading: "sqrt" or "lambda".

    Returns:
        float64 array [C, C], in grey levels, one column per direction, the widest spread first.
        The largest entry of each direction is positive, so that machines agree on the sign.

    Raises:
        ArgumentError: The covariance is not symmetric, or the reading is unknown.

    Source:
        Krizhevsky, Sutskever, Hinton 2012, section 4.1, and their program cuda-convnet2.

    Example:
        >>> colour_basis([[400.0]]).tolist()
        [[20.0]]
    """
    matrix = np.asarray(covariance, dtype="float64")
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] <= 3
    if not square or not np.allclose(matrix, matrix.T):
        raise ArgumentError("covariance", matrix.tolist(), "a symmetric array [C, C], C ≤ 3")
    eigenvalues, vectors = np.linalg.eigh(matrix)
    return scaled_directions(eigenvalues[::-1], vectors.T[::-1], reading)


def scaled_directions(
    variances: ArrayLike, directions: ArrayLike, reading: str = "sqrt"
) -> np.ndarray:
    """`colour_basis` of eigenvalues and eigenvectors that are known already.

    A prepared data set holds those of its training split, so that no other machine's solver can
    round them otherwise.

    Args:
        variances: Eigenvalues [C] of the covariance, grey levels squared.
        directions: Their eigenvectors [C, C], one in each *row*, of length 1.
        reading: "sqrt" or "lambda".

    Returns:
        float64 array [C, C], in grey levels, one column per direction.

    Raises:
        ArgumentError: The reading is unknown.

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
