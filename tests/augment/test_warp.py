"""Pixels land where the parameters say: SciPy's `map_coordinates` agrees within 1 level of 255."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import by_scipy
import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from convforge.augment import Augmentation, apply, draw, numpy_ops
from convforge.augment.settings import Colour, Crop, Geometry, Reflection
from convforge.geometry import ArgumentError

# The promise is 1 level; float32 coordinates keep far within it.
LEVEL = 0.1
FILLS = ("reflect", "edge", "constant")
INTERPOLATIONS = ("bilinear", "nearest")
METHODS = {
    "crop": Augmentation(crop=Crop(scale=(0.3, 0.9), ratio=(0.6, 1.7))),
    "reflection": Augmentation(reflection=Reflection(probability=0.5)),
    "rotation": Augmentation(geometry=Geometry(rotation=180.0)),
    "translation": Augmentation(geometry=Geometry(translation=0.4)),
    "scale": Augmentation(geometry=Geometry(scale=(0.5, 2.0))),
    "shear": Augmentation(geometry=Geometry(shear=30.0)),
    "all": Augmentation(
        crop=Crop(scale=(0.3, 0.9), ratio=(0.6, 1.7), probability=0.8),
        reflection=Reflection(probability=0.5),
        geometry=Geometry(
            rotation=40.0, translation=0.2, scale=(0.6, 1.6), shear=20.0, probability=0.8
        ),
    ),
}

Size = tuple[int, int]


def _drawn(augmentation: Augmentation, images: np.ndarray, output_size: Size, **key: int) -> Any:
    return draw(
        augmentation,
        seed=key.get("seed", 1),
        epoch=key.get("epoch", 0),
        index=np.arange(len(images)),
        image_size=images.shape[1:3],
        output_size=output_size,
        ops=numpy_ops,
    )


def _assert_as_scipy(
    images: np.ndarray, augmentation: Augmentation, output_size: Size, **options: Any
) -> None:
    drawn = _drawn(augmentation, images, output_size)
    matrix = by_scipy.matrices(drawn, images.shape[1:3], output_size)
    expected = by_scipy.warp(images, matrix, output_size, **options)
    moved = apply(images, drawn, output_size=output_size, ops=numpy_ops, **options)
    assert moved.dtype == np.float32
    assert moved.shape == expected.shape
    decided = np.ones(moved.shape[:3], bool)
    if options["interpolation"] == "nearest":
        decided = ~by_scipy.undecided(matrix, output_size)
    # All pixels, those of the fill too; interior ones are among them.
    assert (decided & by_scipy.is_inside(matrix, images.shape[1:3], output_size)).mean() > 0.25
    assert np.abs(moved - expected)[decided].max() <= LEVEL


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("method", METHODS)
class TestAgainstScipy:
    def test_digits_move_as_scipy_moves_them(
        self, digits_uint8: np.ndarray, method: str, fill: str, interpolation: str
    ) -> None:
        options = {"fill": fill, "fill_value": 77.0, "interpolation": interpolation}
        _assert_as_scipy(digits_uint8, METHODS[method], (28, 28), **options)

    def test_colours_move_as_scipy_moves_them(
        self, colours_uint8: np.ndarray, method: str, fill: str, interpolation: str
    ) -> None:
        options = {"fill": fill, "fill_value": 77.0, "interpolation": interpolation}
        _assert_as_scipy(colours_uint8, METHODS[method], (21, 26), **options)

    def test_another_output_size_costs_no_accuracy(
        self, colours_uint8: np.ndarray, method: str, fill: str, interpolation: str
    ) -> None:
        options = {"fill": fill, "fill_value": 77.0, "interpolation": interpolation}
        _assert_as_scipy(colours_uint8, METHODS[method], (33, 17), **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("output_size", [(21, 26), (33, 17)])
def test_the_matrix_is_what_the_named_parameters_say(
    colours_uint8: np.ndarray, method: str, output_size: Size
) -> None:
    drawn = _drawn(METHODS[method], colours_uint8, output_size)
    expected = by_scipy.matrices(drawn, (21, 26), output_size)
    np.testing.assert_allclose(drawn["matrix"], expected, atol=3e-5)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_float_images_move_as_scipy_moves_them(
    colours_uint8: np.ndarray, dtype: str, interpolation: str
) -> None:
    images = (colours_uint8 * 0.97 + 0.3).astype(dtype)
    _assert_as_scipy(images, METHODS["all"], (21, 26), fill="edge", interpolation=interpolation)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_bytes_and_floats_of_the_same_levels_give_the_same_image(
    colours_uint8: np.ndarray, interpolation: str
) -> None:
    at = {"output_size": (21, 26), "interpolation": interpolation, "ops": numpy_ops}
    drawn = _drawn(METHODS["all"], colours_uint8, (21, 26))
    of_bytes = apply(colours_uint8, drawn, **at)
    np.testing.assert_array_equal(apply(colours_uint8.astype("float32"), drawn, **at), of_bytes)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2)])
def test_images_of_one_row_or_column_move_as_scipy_moves_them(shape: Size, fill: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, *shape, 3), np.uint8)
    drawn = _drawn(METHODS["all"], images, (5, 5))
    expected = by_scipy.warp(images, by_scipy.matrices(drawn, shape, (5, 5)), (5, 5), fill=fill)
    moved = apply(images, drawn, output_size=(5, 5), fill=fill, ops=numpy_ops)
    assert np.abs(moved - expected).max() <= LEVEL


@pytest.mark.parametrize("fill", FILLS)
def test_far_beyond_the_image_there_is_only_the_fill(fill: str) -> None:
    """Content shrunk to a tenth: mirror images of mirror images."""
    images = np.random.default_rng(1).integers(0, 256, (4, 6, 5, 1), np.uint8)
    far = Augmentation(geometry=Geometry(scale=(0.1, 0.1), rotation=20.0, translation=1.0))
    drawn = _drawn(far, images, (6, 5))
    expected = by_scipy.warp(
        images, by_scipy.matrices(drawn, (6, 5), (6, 5)), (6, 5), fill=fill, fill_value=200.0
    )
    moved = apply(images, drawn, output_size=(6, 5), fill=fill, fill_value=200.0, ops=numpy_ops)
    assert np.abs(moved - expected).max() <= LEVEL


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("fill", FILLS)
class TestExactness:
    def test_an_identity_changes_no_bit(
        self, colours_uint8: np.ndarray, fill: str, interpolation: str
    ) -> None:
        images = colours_uint8 + np.float32(0.1)
        drawn = _drawn(Augmentation(), images, (21, 26))
        at = {"output_size": (21, 26), "fill": fill, "fill_value": 9.0}
        moved = apply(images, drawn, interpolation=interpolation, ops=numpy_ops, **at)
        np.testing.assert_array_equal(moved, images)

    def test_a_reflection_reverses_the_columns_and_changes_no_bit(
        self, colours_uint8: np.ndarray, fill: str, interpolation: str
    ) -> None:
        images = colours_uint8 + np.float32(0.1)
        mirror = Augmentation(reflection=Reflection(probability=1.0))
        at = {"output_size": (21, 26), "fill": fill, "fill_value": 9.0}
        drawn = _drawn(mirror, images, (21, 26))
        moved = apply(images, drawn, interpolation=interpolation, ops=numpy_ops, **at)
        np.testing.assert_array_equal(moved, images[:, :, ::-1])

    def test_images_that_chance_leaves_alone_keep_every_bit(
        self, colours_uint8: np.ndarray, fill: str, interpolation: str
    ) -> None:
        images = np.tile(colours_uint8, (4, 1, 1, 1))
        rare = Augmentation(
            crop=Crop(probability=0.4, scale=(0.5, 0.9)),
            colour=Colour(probability=0.4, strength=0.5),
            geometry=Geometry(probability=0.4, rotation=30.0, shear=9.0, scale=(0.8, 1.2)),
        )
        drawn = _drawn(rare, images, (21, 26))
        at = {"output_size": (21, 26), "fill": fill, "colour_basis": np.eye(3) * 20}
        moved = apply(images, drawn, interpolation=interpolation, ops=numpy_ops, **at)
        identity = np.all(drawn["matrix"] == np.eye(3), axis=(1, 2))
        alone = identity & np.all(drawn["colour"] == 0, axis=1)
        assert 0 < alone.sum() < len(images)
        np.testing.assert_array_equal(moved[alone], images[alone])
        assert np.all(np.any(moved[~alone] != images[~alone], axis=(1, 2, 3)))


def _dot(row: int, column: int, size: int = 21) -> np.ndarray:
    image = np.zeros((1, size, size, 1), np.uint8)
    image[0, row - 1 : row + 2, column - 1 : column + 2] = 255
    return image


def _centre_of_mass(image: np.ndarray) -> tuple[float, float]:
    rows, columns = np.mgrid[: image.shape[1], : image.shape[2]]
    weight = image[0, :, :, 0] / image.sum()
    return float((rows * weight).sum()), float((columns * weight).sum())


def _parameters_of(sign: Callable[[Any], bool], augmentation: Augmentation) -> Any:
    """The first draw with the wanted sign."""
    image = np.zeros((1, 21, 21, 1))
    draws = (_drawn(augmentation, image, (21, 21), epoch=epoch) for epoch in range(100))
    return next(drawn for drawn in draws if sign(drawn))


@pytest.mark.parametrize(
    ("name", "geometry", "start", "rises"),
    [
        ("rotation", Geometry(rotation=30.0), (10, 16), True),
        ("shear", Geometry(shear=30.0), (4, 10), False),
    ],
)
def test_positive_angles_turn_counter_clockwise_and_lean_right(
    name: str, geometry: Geometry, start: Size, rises: bool
) -> None:
    drawn = _parameters_of(lambda drawn: drawn[name][0] > 10, Augmentation(geometry=geometry))
    moved = apply(_dot(*start), drawn, output_size=(21, 21), ops=numpy_ops)
    row, column = _centre_of_mass(moved)
    if rises:
        assert row < start[0] - 0.5, "right of the centre, the content rises"
    else:
        assert column > start[1] + 0.5, "above the centre, the content goes right"
        assert row == pytest.approx(start[0], abs=0.1)


def test_positive_translations_move_the_content_right_and_down() -> None:
    def positive(drawn: Any) -> bool:
        return bool(np.all(drawn["translation"] > 1))

    drawn = _parameters_of(positive, Augmentation(geometry=Geometry(translation=0.2)))
    moved = apply(_dot(10, 10), drawn, output_size=(21, 21), fill="edge", ops=numpy_ops)
    right, down = drawn["translation"][0]
    assert _centre_of_mass(moved) == pytest.approx((10 + down, 10 + right), abs=0.01)


def test_a_scale_above_one_shows_the_content_larger() -> None:
    drawn = _parameters_of(lambda _: True, Augmentation(geometry=Geometry(scale=(1.5, 1.5))))
    moved = apply(_dot(10, 14), drawn, output_size=(21, 21), fill="edge", ops=numpy_ops)
    assert _centre_of_mass(moved) == pytest.approx((10, 10 + 4 * 1.5), abs=0.1)


def test_a_crop_shows_its_rectangle_and_nothing_else() -> None:
    """Coordinates as pixels, so that every pixel tells where it came from."""
    rows, columns = np.mgrid[:40, :60].astype("float32")
    images = np.tile(np.stack([rows, columns], axis=-1), (16, 1, 1, 1))
    drawn = _drawn(METHODS["crop"], images, (10, 10))
    moved = apply(images, drawn, output_size=(10, 10), ops=numpy_ops, interpolation="nearest")
    top, left, height, width = drawn["crop"].T
    for axis, first, extent, size in ((0, top, height, 40), (1, left, width, 60)):
        places = moved[..., axis].reshape(16, -1)
        assert np.all(places.min(axis=1) >= np.floor(first * size))
        assert np.all(places.max(axis=1) <= np.ceil((first + extent) * size))
        reach = places.max(axis=1) - places.min(axis=1)
        np.testing.assert_allclose(reach, extent * size * 0.9, atol=1.01)


def _smooth(size: int) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] * (2 * np.pi / size)
    waves = [np.sin(rows + columns), np.cos(rows - 0.5), np.sin(columns + 1) * np.cos(rows)]
    return (127.5 + 120 * np.stack(waves, axis=-1))[None].astype("float32")


def _parts(whole: Augmentation) -> list[Augmentation]:
    """One method each, in the order in which the content is moved."""
    geometry = whole.geometry
    return [
        Augmentation(crop=whole.crop),
        Augmentation(reflection=whole.reflection),
        Augmentation(geometry=Geometry(scale=geometry.scale)),
        Augmentation(geometry=Geometry(shear=geometry.shear)),
        Augmentation(geometry=Geometry(rotation=geometry.rotation)),
        Augmentation(geometry=Geometry(translation=geometry.translation)),
    ]


@pytest.mark.parametrize("epoch", range(4))
def test_a_composition_equals_its_parts_one_after_the_other(epoch: int) -> None:
    size = (96, 96)
    image = _smooth(96)
    whole = Augmentation(
        crop=Crop(scale=(0.5, 0.9), ratio=(0.8, 1.25)),
        reflection=Reflection(probability=1.0),
        geometry=Geometry(rotation=20.0, translation=0.1, scale=(0.9, 1.2), shear=10.0),
    )
    at_once = _drawn(whole, image, size, epoch=epoch)
    one_by_one = [_drawn(part, image, size, epoch=epoch) for part in _parts(whole)]

    moved = image
    for drawn in one_by_one:
        moved = apply(moved, drawn, output_size=size, ops=numpy_ops)
    # Pixels that no step took from beyond its frame: each step alone has to fill there.
    product, interior = np.eye(3)[None], np.ones((1, *size), bool)
    for drawn in reversed(one_by_one):
        product = drawn["matrix"].astype("float64") @ product
        interior &= by_scipy.is_inside(product, size, size)
    # Beside a frame, later steps interpolate with what an earlier one had to fill.
    interior[0] = binary_erosion(interior[0], iterations=4)
    np.testing.assert_allclose(product, at_once["matrix"], atol=1e-4)

    difference = np.abs(apply(image, at_once, output_size=size, ops=numpy_ops) - moved)
    assert interior.mean() > 0.4
    assert difference[interior].max() <= 1.0


@pytest.mark.parametrize("basis", [np.eye(2), np.ones(3), np.eye(4)], ids=str)
def test_a_basis_of_the_wrong_shape_is_refused(basis: np.ndarray) -> None:
    images = np.zeros((1, 4, 4, 3), np.uint8)
    drawn = _drawn(Augmentation(), images, (4, 4))
    with pytest.raises(ArgumentError) as refusal:
        apply(images, drawn, output_size=(4, 4), colour_basis=basis, ops=numpy_ops)
    assert refusal.value.argument == "colour_basis"
