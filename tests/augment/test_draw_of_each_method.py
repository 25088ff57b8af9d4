"""Each method draws for itself: within its range, and whatever the others do."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from convforge.augment import Augmentation, draw, numpy_ops
from convforge.augment.settings import Colour, Crop, Geometry, Reflection

METHODS: dict[str, Any] = {
    "crop": Crop(scale=(0.5, 0.9), ratio=(0.8, 1.25), probability=0.7),
    "reflection": Reflection(probability=0.4),
    "colour": Colour(strength=0.3, probability=0.6),
    "geometry": Geometry(
        rotation=20.0, translation=0.2, scale=(0.8, 1.2), shear=9.0, probability=0.5
    ),
}
DRAWS = {
    "crop": ["crop"],
    "reflection": ["reflected"],
    "colour": ["colour"],
    "geometry": ["rotation", "shear", "scale", "translation"],
}
MANY = 20_000
# Four and a half standard deviations of a frequency of one half.
TOLERANCE = 4.5 * 0.5 / np.sqrt(MANY)

Drawn = dict[str, np.ndarray]


def _drawn(count: int = 200, seed: int = 3, epoch: int = 1, **methods: Any) -> Drawn:
    sizes = {"image_size": (24, 32), "output_size": (24, 32)}
    key = {"seed": seed, "epoch": epoch, "index": np.arange(count)}
    return draw(Augmentation(**methods), **key, **sizes, ops=numpy_ops)


def _always(name: str) -> dict[str, Any]:
    """One method alone, for every image; a reflection of every image would leave no choice."""
    share = 0.5 if name == "reflection" else 1.0
    return {name: replace(METHODS[name], probability=share)}


@pytest.mark.parametrize(("name", "other"), [p for p in product(METHODS, METHODS) if p[0] != p[1]])
def test_turning_on_one_method_leaves_the_draws_of_another(name: str, other: str) -> None:
    alone = _drawn(**{name: METHODS[name]})
    together = _drawn(**{name: METHODS[name], other: METHODS[other]})
    for key in DRAWS[name]:
        np.testing.assert_array_equal(alone[key], together[key])
    assert any(np.any(alone[key] != together[key]) for key in DRAWS[other])


@pytest.mark.parametrize(
    ("alone", "key"),
    [
        (Geometry(rotation=20.0), "rotation"),
        (Geometry(shear=9.0), "shear"),
        (Geometry(scale=(0.8, 1.2)), "scale"),
        (Geometry(translation=0.2), "translation"),
    ],
)
def test_one_quantity_of_the_geometry_leaves_the_others(alone: Geometry, key: str) -> None:
    everything = _drawn(**_always("geometry"))
    np.testing.assert_array_equal(_drawn(geometry=alone)[key], everything[key])


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_is_off_draws_its_neutral_value(name: str) -> None:
    others = {other: method for other, method in METHODS.items() if other != name}
    neutral = {"crop": [0, 0, 1, 1], "scale": 1}
    for key in DRAWS[name]:
        assert np.all(_drawn(**others)[key] == neutral.get(key, 0))


@pytest.mark.parametrize("name", METHODS)
def test_every_seed_epoch_and_index_has_its_own_draw(name: str) -> None:
    methods = _always(name)
    here = _drawn(**methods)
    for key in DRAWS[name]:
        rows = here[key].reshape(200, -1)
        others = [_drawn(**methods, epoch=2)[key], _drawn(**methods, seed=4)[key]]
        # A reflection has two outcomes only: half of them repeat.
        allowed = 0.65 if name == "reflection" else 0.02
        for other in (*(one.reshape(200, -1) for one in others), np.roll(rows, 1, axis=0)):
            assert np.mean(np.all(rows == other, axis=1)) < allowed


def test_draws_stay_within_the_configured_ranges() -> None:
    drawn = _drawn(MANY, **{name: _always(name)[name] for name in METHODS})
    tiny = 1e-5
    top, left, height, width = drawn["crop"].T
    ranges = {
        "rotation": (drawn["rotation"], -20, 20),
        "shear": (drawn["shear"], -9, 9),
        "scale": (drawn["scale"], 0.8, 1.2),
        "right": (drawn["translation"][:, 0], -0.2 * 32, 0.2 * 32),
        "down": (drawn["translation"][:, 1], -0.2 * 24, 0.2 * 24),
        "area": (height * width, 0.5, 0.9),
    }
    for key, (values, low, high) in ranges.items():
        assert values.min() >= low - tiny, key
        assert values.max() <= high + tiny, key
        assert np.ptp(values) > 0.99 * (high - low), key
    # Narrower where the crop would not fit, never wider.
    ratio = width / height
    assert 0.8 - tiny <= ratio.min() < 0.81
    assert 1.24 < ratio.max() <= 1.25 + tiny
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) <= 1 + tiny
    assert set(np.unique(drawn["reflected"])) == {0.0, 1.0}


def test_a_range_of_one_value_gives_that_value() -> None:
    crop = Crop(scale=(0.64, 0.64), ratio=(1.0, 1.0))
    drawn = _drawn(crop=crop, geometry=Geometry(scale=(1.5, 1.5)))
    np.testing.assert_allclose(drawn["crop"][:, 2:], 0.8, atol=1e-6)
    np.testing.assert_allclose(drawn["scale"], 1.5, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_as_many_images_are_altered_as_the_probability_says(name: str) -> None:
    drawn = _drawn(MANY, **{name: METHODS[name]})
    key = DRAWS[name][0]
    values = drawn[key].reshape(MANY, -1)
    neutral = np.array([0, 0, 1, 1]) if name == "crop" else 0.0
    altered = np.any(values != neutral, axis=1)
    assert abs(altered.mean() - METHODS[name].probability) < TOLERANCE


def test_methods_choose_their_images_independently() -> None:
    drawn = _drawn(MANY, **METHODS)
    chosen = np.stack(
        [
            np.any(drawn["crop"] != [0, 0, 1, 1], axis=1),
            drawn["reflected"] > 0,
            np.any(drawn["colour"] != 0, axis=1),
            drawn["rotation"] != 0,
        ]
    )
    correlation = np.corrcoef(chosen) - np.eye(4)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(MANY)


def test_all_of_the_geometry_is_used_together_or_not_at_all() -> None:
    drawn = _drawn(geometry=METHODS["geometry"])
    moved = [drawn["rotation"] != 0, drawn["shear"] != 0, drawn["scale"] != 1]
    moved += list((drawn["translation"] != 0).T)
    for other in moved[1:]:
        np.testing.assert_array_equal(other, moved[0])
