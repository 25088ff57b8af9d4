"""Strong reductions read averages of the pixels they cover."""

from __future__ import annotations

from typing import Any

import by_scipy
import numpy as np
import pytest

from convforge.augment import Augmentation, apply, draw, draw_and_apply, numpy_ops
from convforge.augment.settings import Crop, Geometry, Reflection

Size = tuple[int, int]
MOVED = Augmentation(
    crop=Crop(scale=(0.7, 1.0)),
    reflection=Reflection(probability=0.5),
    geometry=Geometry(rotation=25.0, scale=(0.8, 1.1), shear=8.0),
)


def _noise(height: int, width: int, count: int = 4) -> np.ndarray:
    return np.random.default_rng(9).integers(0, 256, (count, height, width, 3), np.uint8)


def _drawn(augmentation: Augmentation, images: np.ndarray, output_size: Size) -> Any:
    return draw(
        augmentation,
        seed=2,
        epoch=0,
        index=np.arange(len(images)),
        image_size=images.shape[1:3],
        output_size=output_size,
        ops=numpy_ops,
    )


def _area_average(images: np.ndarray, matrix: np.ndarray, output_size: Size) -> np.ndarray:
    """16×16 samples within every output pixel, averaged."""
    fine = 16
    finer = matrix @ np.array(
        [[1 / fine, 0, 0.5 / fine - 0.5], [0, 1 / fine, 0.5 / fine - 0.5], [0, 0, 1]]
    )
    height, width = output_size
    samples = by_scipy.warp(
        images, finer, (height * fine, width * fine), interpolation="nearest"
    ).reshape(len(images), height, fine, width, fine, -1)
    return np.asarray(samples.mean(axis=(2, 4)))


def _error(images: np.ndarray, reference: np.ndarray) -> float:
    return float(np.sqrt(np.mean((images - reference) ** 2)))


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_reduction_by_a_power_of_two_is_the_average_of_its_blocks(factor: int) -> None:
    images = _noise(16 * factor, 12 * factor)
    drawn = _drawn(Augmentation(), images, (16, 12))
    reduced = apply(images, drawn, output_size=(16, 12), ops=numpy_ops)
    blocks = images.reshape(len(images), 16, factor, 12, factor, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(reduced, blocks, atol=0.01)


@pytest.mark.parametrize("augmentation", [Augmentation(), MOVED], ids=["plain", "moved"])
@pytest.mark.parametrize(
    ("image_size", "output_size"), [((64, 64), (16, 16)), ((90, 75), (16, 14)), ((61, 83), (9, 9))]
)
def test_it_beats_plain_bilinear_reading_against_an_area_average(
    augmentation: Augmentation, image_size: Size, output_size: Size
) -> None:
    images = _noise(*image_size)
    drawn = _drawn(augmentation, images, output_size)
    matrix = by_scipy.matrices(drawn, image_size, output_size)
    reference = _area_average(images, matrix, output_size)
    plain = by_scipy.warp(images, matrix, output_size)
    reduced = apply(images, drawn, output_size=output_size, ops=numpy_ops)
    assert _error(reduced, reference) < 0.6 * _error(plain, reference)


def test_a_fine_pattern_turns_grey_and_not_into_moire() -> None:
    rows, columns = np.mgrid[:96, :96]
    board = np.uint8(255) * ((rows + columns) % 2).astype("uint8")[None, :, :, None]
    drawn = _drawn(MOVED, board, (16, 16))
    matrix = by_scipy.matrices(drawn, (96, 96), (16, 16))
    reduced = apply(board, drawn, output_size=(16, 16), ops=numpy_ops)
    np.testing.assert_allclose(reduced, 127.5, atol=1.0)
    assert by_scipy.warp(board, matrix, (16, 16)).std() > 20


def test_nearest_never_averages() -> None:
    board = np.uint8(255) * (np.indices((64, 64)).sum(axis=0) % 2).astype("uint8")
    drawn = _drawn(MOVED, board[None, :, :, None], (9, 9))
    at = {"output_size": (9, 9), "interpolation": "nearest", "ops": numpy_ops}
    assert set(np.unique(apply(board[None, :, :, None], drawn, **at))) == {0.0, 255.0}


def test_a_small_crop_of_a_reduced_image_is_read_sharply() -> None:
    """The crop decides for each image, not the size of the whole."""
    images = _noise(64, 64)
    zoomed = Augmentation(crop=Crop(scale=(0.05, 0.06)))
    drawn = _drawn(zoomed, images, (16, 16))
    matrix = by_scipy.matrices(drawn, (64, 64), (16, 16))
    reduced = apply(images, drawn, output_size=(16, 16), ops=numpy_ops)
    np.testing.assert_allclose(reduced, by_scipy.warp(images, matrix, (16, 16)), atol=0.1)


def test_images_of_one_batch_are_reduced_each_by_its_own_measure() -> None:
    images = _noise(80, 80, 12)
    mixed = Augmentation(crop=Crop(scale=(0.01, 1.0)), geometry=Geometry(rotation=30.0))
    drawn = _drawn(mixed, images, (10, 10))
    areas = np.abs(np.linalg.det(drawn["matrix"]))
    assert {int(level) for level in np.log2(np.maximum(areas, 1)) // 2} >= {0, 1, 2}
    together = apply(images, drawn, output_size=(10, 10), ops=numpy_ops)
    for n in range(len(images)):
        own = {key: value[n : n + 1] for key, value in drawn.items()}
        alone = apply(images[n : n + 1], own, output_size=(10, 10), ops=numpy_ops)
        np.testing.assert_array_equal(alone[0], together[n])


def test_a_reduction_below_two_is_plain_bilinear() -> None:
    images = _noise(30, 30)
    drawn = _drawn(MOVED, images, (16, 16))
    matrix = by_scipy.matrices(drawn, (30, 30), (16, 16))
    reduced = apply(images, drawn, output_size=(16, 16), ops=numpy_ops)
    np.testing.assert_allclose(reduced, by_scipy.warp(images, matrix, (16, 16)), atol=0.1)


@pytest.mark.parametrize("fill", ["edge", "constant"])
def test_a_constant_image_stays_constant_within_its_borders(fill: str) -> None:
    """Odd sizes on the way down too: none of their halves is darker at the border."""
    images = np.full((4, 77, 51, 1), 200, np.uint8)
    drawn = _drawn(MOVED, images, (9, 7))
    at = {"output_size": (9, 7), "fill": fill, "fill_value": 200.0, "ops": numpy_ops}
    np.testing.assert_allclose(apply(images, drawn, **at), 200.0, atol=1e-3)


@pytest.mark.parametrize(("scale", "share"), [(0.5, 0.7), (0.3, 0.6), (0.15, 0.6)])
def test_content_that_is_made_smaller_is_averaged_too(scale: float, share: float) -> None:
    """The output is as large as the image: the drawn scale alone reduces."""
    smaller = Augmentation(geometry=Geometry(scale=(scale, scale), rotation=20.0))
    images = _noise(64, 64)
    drawn = _drawn(smaller, images, (64, 64))
    matrix = by_scipy.matrices(drawn, (64, 64), (64, 64))
    reference = _area_average(images, matrix, (64, 64))
    plain = by_scipy.warp(images, matrix, (64, 64))
    reduced = draw_and_apply(
        images, smaller, seed=2, epoch=0, index=np.arange(len(images)), ops=numpy_ops
    )
    assert _error(reduced, reference) < share * _error(plain, reference)


def test_images_that_keep_their_size_among_reduced_ones_stay_sharp() -> None:
    either = Augmentation(geometry=Geometry(probability=0.5, scale=(0.3, 0.3)))
    images = _noise(32, 32, count=12)
    drawn = _drawn(either, images, (32, 32))
    whole = drawn["scale"] == 1
    assert 0 < whole.sum() < 12
    seen = draw_and_apply(images, either, seed=2, epoch=0, index=np.arange(12), ops=numpy_ops)
    np.testing.assert_array_equal(seen[whole], images[whole])
