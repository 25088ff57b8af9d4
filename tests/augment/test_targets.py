"""Drawn parameters as labels: read from the draw, in the units they claim, refused where fixed."""

from __future__ import annotations

import dataclasses
import re

import all_methods
import numpy as np
import pytest

from convforge.augment import TARGETS, Augmentation, apply, check_targets, draw, numpy_ops
from convforge.augment.settings import Crop, Geometry, Reflection
from convforge.augment.targets import target_values
from convforge.geometry import ArgumentError

SIZE = (41, 41)
ALONE = {
    "rotation": Geometry(rotation=40.0),
    "shear": Geometry(shear=30.0),
    "scale": Geometry(scale=(0.5, 1.0)),
    "translation_right": Geometry(translation=0.2),
    "translation_down": Geometry(translation=0.2),
}


def _labels_and_cross(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of `name`, and where each image's centre and a dot ten pixels above it have gone."""
    images = np.zeros((2, *SIZE, 1), "uint8")
    images[0, 20, 20] = images[1, 10, 20] = 255
    at = {"image_size": SIZE, "output_size": SIZE, "ops": numpy_ops}
    labels, places = [], []
    for index in range(40):
        drawn = draw(
            Augmentation(geometry=ALONE[name]), seed=1, epoch=0, index=np.full(2, index), **at
        )
        moved = apply(images, drawn, output_size=SIZE, fill="constant", ops=numpy_ops)[..., 0]
        labels.append(target_values(drawn, [name], numpy_ops)[0, 0])
        mass = moved.sum(axis=(1, 2))
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
        places.append([((moved * axis).sum(axis=(1, 2)) / mass) - 20.0 for axis in (columns, rows)])
    x, y = np.moveaxis(np.array(places), 1, 0)
    return np.array(labels), np.stack([x[:, 0], y[:, 0]]), np.stack([x[:, 1], y[:, 1]])


def test_rotation_is_the_angle_seen_counter_clockwise_in_degrees() -> None:
    labels, _, (x, y) = _labels_and_cross("rotation")
    np.testing.assert_allclose(np.rad2deg(np.arctan2(-x, -y)), labels, atol=1.5)
    assert labels.std() > 15


def test_shear_is_the_lean_to_the_right_in_degrees() -> None:
    labels, _, (x, y) = _labels_and_cross("shear")
    np.testing.assert_allclose(np.rad2deg(np.arctan2(x, -y)), labels, atol=1.5)
    assert labels.std() > 10


def test_scale_is_the_enlargement() -> None:
    labels, _, (_, y) = _labels_and_cross("scale")
    np.testing.assert_allclose(y / -10, labels, atol=0.05)
    assert labels.std() > 0.1


@pytest.mark.parametrize(("name", "axis"), [("translation_right", 0), ("translation_down", 1)])
def test_translations_are_pixels(name: str, axis: int) -> None:
    labels, centre, _ = _labels_and_cross(name)
    np.testing.assert_allclose(centre[axis], labels, atol=0.05)
    assert labels.std() > 3


def test_the_others_are_entries_of_the_draw() -> None:
    drawn = draw(
        all_methods.ALL, seed=0, epoch=0, index=np.arange(50), image_size=SIZE, output_size=SIZE,
        ops=numpy_ops,
    )  # fmt: skip
    names = ("reflected", "crop_top", "crop_left", "crop_height", "crop_width")
    expected = np.concatenate([drawn["reflected"][:, None], drawn["crop"]], axis=1)
    values = target_values(drawn, names, numpy_ops)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, expected)


def test_every_target_varies_where_all_methods_are_on_and_none_where_all_are_off() -> None:
    assert check_targets(list(TARGETS), all_methods.ALL) == tuple(TARGETS)
    drawn = draw(
        all_methods.ALL, seed=0, epoch=0, index=np.arange(50), image_size=SIZE, output_size=SIZE,
        ops=numpy_ops,
    )  # fmt: skip
    assert np.all(target_values(drawn, list(TARGETS), numpy_ops).std(axis=0) > 0)
    for name, target in TARGETS.items():
        with pytest.raises(ArgumentError, match=rf"task\.targets='{name}'.*augment\.{target.key}"):
            check_targets([name], Augmentation(), argument="task.targets")


@pytest.mark.parametrize(
    ("name", "fixed"),
    [
        ("rotation", Augmentation(geometry=Geometry(shear=5.0))),
        ("rotation", Augmentation(geometry=Geometry(probability=0.0, rotation=5.0))),
        ("scale", Augmentation(geometry=Geometry(rotation=5.0))),
        ("translation_down", Augmentation(geometry=Geometry(rotation=5.0))),
        ("reflected", Augmentation(reflection=Reflection(probability=1.0))),
        ("crop_top", Augmentation(crop=Crop(probability=0.0, scale=(0.5, 1.0)))),
    ],
)
def test_a_target_that_never_varies_is_refused(name: str, fixed: Augmentation) -> None:
    with pytest.raises(ArgumentError, match="keeps this one fixed"):
        check_targets([name], fixed)


def test_unknown_and_repeated_targets_are_refused_and_none_is_fine() -> None:
    with pytest.raises(ArgumentError, match=re.escape("targets='angle'")) as refusal:
        check_targets(["angle"], all_methods.ALL)
    assert "rotation, shear" in refusal.value.allowed
    with pytest.raises(ArgumentError, match="each name once"):
        check_targets(["scale", "scale"], all_methods.ALL)
    assert check_targets([], Augmentation()) == ()


def test_a_method_of_half_the_images_still_gives_labels() -> None:
    half = dataclasses.replace(all_methods.GEOMETRY, probability=0.5)
    assert check_targets(["rotation"], Augmentation(geometry=half)) == ("rotation",)
