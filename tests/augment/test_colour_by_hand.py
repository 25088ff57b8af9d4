"""The third method, worked out by hand for a covariance whose eigenvectors are known."""

from __future__ import annotations

import numpy as np
import pytest

from convforge.augment import Augmentation, apply, colour_basis, draw, numpy_ops
from convforge.augment.settings import Colour

# Brightness, red against blue, green against both: variances of grey levels 9000, 600 and 150.
DIRECTIONS = np.stack(
    [
        np.array([1.0, 1.0, 1.0]) / np.sqrt(3.0),
        np.array([1.0, 0.0, -1.0]) / np.sqrt(2.0),
        np.array([-1.0, 2.0, -1.0]) / np.sqrt(6.0),
    ],
    axis=1,
)
VARIANCES = np.array([9000.0, 600.0, 150.0])
COVARIANCE = DIRECTIONS @ np.diag(VARIANCES) @ DIRECTIONS.T
SIZE = {"output_size": (5, 4), "ops": numpy_ops}


def _alphas(count: int, **colour: float) -> dict[str, np.ndarray]:
    settings = Augmentation(colour=Colour(**{"strength": 0.1, **colour}))
    return draw(settings, seed=0, epoch=0, index=np.arange(count), image_size=(5, 4), **SIZE)


def _flat(level: float, channels: int, count: int = 50) -> np.ndarray:
    return np.full((count, 5, 4, channels), level, "float32")


@pytest.mark.parametrize(
    ("reading", "scale"), [("sqrt", np.sqrt(VARIANCES)), ("lambda", VARIANCES / 255.0)]
)
def test_the_basis_is_the_directions_times_what_the_reading_says(
    reading: str, scale: np.ndarray
) -> None:
    basis = colour_basis(COVARIANCE, reading)
    for column, direction in enumerate(DIRECTIONS.T):
        found = basis[:, column]
        # The largest entry is positive; two are equally large in red against blue.
        sign = np.sign(found @ direction)
        np.testing.assert_allclose(found, sign * direction * scale[column], atol=1e-6)
        assert found.max() >= -found.min() - 1e-6 or column == 1


def test_the_basis_of_real_pixels_is_that_of_their_singular_values() -> None:
    rng = np.random.default_rng(4)
    pixels = rng.normal(size=(5000, 3)) * [50, 20, 5] @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    centred = pixels - pixels.mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    basis = colour_basis(np.cov(pixels.T, bias=True))
    lengths = np.linalg.norm(basis, axis=0)
    np.testing.assert_allclose(lengths, singular / np.sqrt(5000))
    np.testing.assert_allclose(np.abs(np.sum(basis / lengths * directions.T, axis=0)), 1.0)


def test_every_pixel_of_an_image_shifts_by_the_basis_times_its_alpha() -> None:
    drawn, basis = _alphas(50), colour_basis(COVARIANCE)
    images = np.random.default_rng(1).integers(100, 156, (50, 5, 4, 3), np.uint8)
    moved = apply(images, drawn, colour_basis=basis, **SIZE)
    shift = drawn["colour"].astype("float64") @ basis.T
    np.testing.assert_allclose(moved, images + shift[:, None, None, :], atol=1e-3)
    assert len(np.unique(shift[:, 0])) > 40, "another shift for every image"


def test_an_image_without_colour_method_keeps_its_levels() -> None:
    drawn = _alphas(50, probability=0.5)
    untouched = np.all(drawn["colour"] == 0, axis=1)
    moved = apply(_flat(120, 3), drawn, colour_basis=colour_basis(COVARIANCE), **SIZE)
    assert 10 < untouched.sum() < 40
    assert np.all(moved[untouched] == 120)
    assert np.all(np.any(moved[~untouched] != 120, axis=(1, 2, 3)))


def test_levels_are_clipped_and_never_wrap() -> None:
    drawn = _alphas(50, strength=10.0)
    for level in (0, 255):
        moved = apply(_flat(level, 3), drawn, colour_basis=colour_basis(COVARIANCE), **SIZE)
        assert moved.min() == 0.0
        assert moved.max() == 255.0


@pytest.mark.parametrize(("reading", "scale"), [("sqrt", 60.0), ("lambda", 3600.0 / 255.0)])
def test_a_grey_image_changes_its_brightness_alone(reading: str, scale: float) -> None:
    drawn, basis = _alphas(50), colour_basis([[3600.0]], reading)
    moved = apply(_flat(120, 1), drawn, colour_basis=basis, **SIZE)
    expected = 120 + scale * drawn["colour"][:, 0]
    np.testing.assert_allclose(moved, expected[:, None, None, None] + _flat(0, 1), atol=1e-3)


def test_a_grey_data_set_in_three_channels_stays_grey() -> None:
    """Its only principal direction is brightness; the other variances are 0."""
    basis = colour_basis(np.full((3, 3), 3600.0))
    moved = apply(_flat(120, 3), _alphas(50), colour_basis=basis, **SIZE)
    np.testing.assert_allclose(moved[..., 1:], moved[..., :1] + _flat(0, 2), atol=1e-3)
    assert moved[:, 0, 0, 0].std() > 3


def test_a_tiny_negative_eigenvalue_is_taken_for_zero() -> None:
    """Rounding gives such to colours that lie in a plane."""
    covariance = np.diag([4.0, 1.0, -1e-12])
    assert np.all(np.isfinite(colour_basis(covariance)))
    assert np.all(colour_basis(covariance)[:, 2] == 0)
