"""The last allowed value is accepted and the next one refused, for every number."""

from __future__ import annotations

import dataclasses
from math import inf, nan, nextafter
from typing import Any

import pytest

from convforge.augment.settings import Augmentation, Colour, Crop, Geometry, Reflection
from convforge.geometry import ArgumentError

BOUNDS: list[tuple[type, str, float, float]] = [
    *((method, "probability", 0.0, 1.0) for method in (Crop, Reflection, Colour, Geometry)),
    (Colour, "strength", 0.0, 10.0),
    (Geometry, "rotation", 0.0, 180.0),
    (Geometry, "translation", 0.0, 1.0),
    (Geometry, "shear", 0.0, 60.0),
    (Augmentation, "fill_value", 0.0, 255.0),
]
RANGES: list[tuple[type, str, float, float]] = [
    (Crop, "scale", nextafter(0.0, 1.0), 1.0),
    (Crop, "ratio", 0.1, 10.0),
    (Geometry, "scale", 0.1, 10.0),
]


def _refused(method: Any, argument: str, value: Any, **others: Any) -> None:
    with pytest.raises(ArgumentError) as refusal:
        method(**others, **{argument: value})
    assert refusal.value.argument == argument
    assert f"{argument}={value!r}" in str(refusal.value)


@pytest.mark.parametrize(("method", "argument", "low", "high"), BOUNDS)
def test_a_number_is_accepted_up_to_its_bounds_only(
    method: Any, argument: str, low: float, high: float
) -> None:
    for value in (low, high):
        assert getattr(method(**{argument: value}), argument) == value
    for value in (nextafter(low, -inf), nextafter(high, inf), -inf, inf, nan):
        _refused(method, argument, value)


@pytest.mark.parametrize(("method", "argument", "low", "high"), RANGES)
def test_a_range_is_accepted_up_to_its_bounds_only(
    method: Any, argument: str, low: float, high: float
) -> None:
    # A whole image has no other ratio.
    others = {"scale": (0.5, 1.0)} if argument == "ratio" else {}
    for value in ((low, high), (low, low), (high, high)):
        assert getattr(method(**others, **{argument: value}), argument) == value
    for value in (
        (nextafter(low, -inf), high),
        (low, nextafter(high, inf)),
        (high, low),
        (nan, high),
        (low, nan),
        (-1.0, 1.0),
    ):
        _refused(method, argument, value, **others)


@pytest.mark.parametrize("argument", ["fill", "interpolation"])
@pytest.mark.parametrize("value", ["", "Reflect", "mirror", "bicubic", None])
def test_an_unknown_choice_is_refused(argument: str, value: Any) -> None:
    _refused(Augmentation, argument, value)


def test_the_numbers_of_all_fields_are_tried_here() -> None:
    fields = {
        (method, field.name)
        for method in (Crop, Reflection, Colour, Geometry)
        for field in dataclasses.fields(method)
    }
    tried = {(method, name) for method, name, *_ in (*BOUNDS, *RANGES)}
    assert fields - tried == {(Colour, "reading")}
