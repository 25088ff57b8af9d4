"""The principal colours of a training split, for the lecture's third method."""

import numpy as np
from numpy.typing import ArrayLike


def colour_basis(covariance: ArrayLike, reading: str = "sqrt") -> np.ndarray:
    """Principal directions times scale."""
    values, vectors = np.linalg.eigh(np.asarray(covariance, dtype="float64"))
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    scale = np.sqrt(values) if reading == "sqrt" else values / 255.0
    return np.asarray(vectors * scale)
