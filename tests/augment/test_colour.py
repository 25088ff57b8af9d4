"""The colour basis against NumPy's covariance of real shifts, both readings, one channel."""

from __future__ import annotations

import all_methods
import numpy as np
import pytest

from convforge.augment import apply, colour_basis, draw, numpy_ops
from convforge.augment.settings import Augmentation, Colour
from convforge.geometry import ArgumentError

COVARIANCE = all_methods.BASIS @ all_methods.BASIS.T


def shifts(basis: np.ndarray, channels: int, strength: float = 0.1) -> np.ndarray:
    """What one grey pixel is shifted by in 100,000 images: [100000, C]."""
    grey = np.full((100_000, 1, 1, channels), 128, dtype=np.uint8)
    at = {"output_size": (1, 1), "ops": numpy_ops}
    colour = Augmentation(colour=Colour(strength=strength))
    drawn = draw(colour, seed=0, epoch=0, index=np.arange(100_000), image_size=(1, 1), **at)
    return apply(grey, drawn, colour_basis=basis, **at)[:, 0, 0] - 128.0


def test_square_roots_of_eigenvalues_give_shifts_with_the_covariance_of_the_colours() -> None:
    covariance = np.cov(shifts(colour_basis(COVARIANCE), 3).T)
    assert np.abs(covariance - 0.01 * COVARIANCE).max() < 0.02 * 0.01 * COVARIANCE.max()


def test_eigenvalues_give_shifts_in_units_of_the_whole_range() -> None:
    # p ← p + P(α∘λ) with pixels and λ on a scale of 0 to 1, as the paper's text says.
    eigenvalues, vectors = np.linalg.eigh(COVARIANCE / 255.0**2)
    expected = (vectors * (0.1 * eigenvalues * 255.0) ** 2) @ vectors.T
    covariance = np.cov(shifts(colour_basis(COVARIANCE, "lambda"), 3).T)
    assert np.abs(covariance - expected).max() < 0.02 * expected.max()


def test_the_basis_squared_is_the_covariance() -> None:
    basis = colour_basis(COVARIANCE)
    assert np.allclose(basis @ basis.T, COVARIANCE)
    lengths = np.linalg.norm(basis, axis=0)
    assert np.all(np.diff(lengths) <= 0)
    assert np.all(basis[np.abs(basis).argmax(axis=0), range(3)] > 0)


def test_one_channel_is_a_change_of_brightness() -> None:
    found = shifts(colour_basis([[400.0]]), 1)
    assert found.std() == pytest.approx(0.1 * 20.0, rel=0.02)


def test_all_pixels_of_an_image_shift_alike() -> None:
    at = {"output_size": (6, 6), "ops": numpy_ops}
    colour = Augmentation(colour=Colour(strength=0.1))
    drawn = draw(colour, seed=0, epoch=0, index=np.arange(5), image_size=(6, 6), **at)
    images = all_methods.noise(5, 6, 6, 3) // 4 + 96
    moved = apply(images, drawn, colour_basis=colour_basis(COVARIANCE), **at) - images
    assert np.abs(moved - moved[:, :1, :1]).max() < 1e-4
    assert np.abs(moved[:, 0, 0] - moved[0, 0, 0]).max() > 1.0


@pytest.mark.parametrize("covariance", [[[1.0, 2.0], [0.0, 1.0]], [1.0, 2.0], np.eye(4)])
def test_what_is_no_covariance_of_colours_is_refused(covariance: list[list[float]]) -> None:
    with pytest.raises(ArgumentError, match="covariance"):
        colour_basis(covariance)


def test_an_unknown_reading_is_refused() -> None:
    with pytest.raises(ArgumentError, match="reading"):
        colour_basis(COVARIANCE, "variance")
