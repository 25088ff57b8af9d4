"""Max and average pooling against a NumPy loop over windows."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric import EXAMPLES, FORWARD_ERROR, assert_gradients_match, relative_error

from convforge.geometry import ArgumentError
from convforge.layers import AveragePooling2D, MaxPooling2D

RNG = np.random.default_rng(0)
KINDS = {
    "max": MaxPooling2D,
    "average": AveragePooling2D,
    "average_padded": lambda *a, **k: AveragePooling2D(*a, count_padding=True, **k),
}


@st.composite
def poolings(draw: Any) -> dict[str, Any]:
    pool = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    sides = tuple(
        (draw(st.integers(0, min(2, z - 1))), draw(st.integers(0, min(2, z - 1)))) for z in pool
    )
    size = tuple(
        max(draw(st.integers(1, 7)), z - sum(pads)) for z, pads in zip(pool, sides, strict=True)
    )
    return {
        "shape": (draw(st.integers(1, 2)), *size, draw(st.integers(1, 3))),
        "pool": pool,
        "strides": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "sides": sides,
    }


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
@given(case=poolings())
def test_forward_equals_a_loop_over_windows(kind: str, case: dict[str, Any]) -> None:
    # Only negative values: a zero of the padding that won would be seen.
    images = -1 - RNG.random(case["shape"])
    layer = KINDS[kind](case["pool"], case["strides"], case["sides"])
    expected = oracles.pooling(images, case["pool"], case["strides"], case["sides"], kind)
    actual = layer(images.astype("float32"))
    assert tuple(actual.shape) == layer.compute_output_shape(images.shape)
    assert relative_error(actual, expected) <= FORWARD_ERROR


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_finite_differences(kind: str) -> None:
    sides = ((1, 0), (1, 1))
    assert_gradients_match(
        KINDS[kind](3, 2, sides),
        lambda x: oracles.pooling(x, (3, 3), (2, 2), sides, kind),
        RNG.normal(size=(2, 6, 5, 2)),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(6, 6), (7, 5), (1, 1)])
def test_same_padding_gives_the_size_rounded_up_and_counts_as_any_other(
    kind: str, size: tuple[int, int]
) -> None:
    images = -1 - RNG.random((2, *size, 3))
    total = [max((-(-n // 2) - 1) * 2 + 3 - n, 0) for n in size]
    sides = tuple((t // 2, t - t // 2) for t in total)
    expected = oracles.pooling(images, (3, 3), (2, 2), sides, kind)
    assert expected.shape[1:3] == tuple(-(-n // 2) for n in size)
    actual = KINDS[kind](3, 2, "same")(images.astype("float32"))
    assert relative_error(actual, expected) <= FORWARD_ERROR


@pytest.mark.parametrize("kind", ["max", "average"])
def test_same_padding_of_a_map_of_unknown_size_equals_that_of_a_known_one(kind: str) -> None:
    image = keras.Input((None, None, 2))
    model = keras.Model(image, KINDS[kind](3, 2, "same")(image))
    images = RNG.normal(size=(2, 6, 7, 2)).astype("float32")
    expected = KINDS[kind](3, 2, "same")(images)
    assert relative_error(model.predict(images, verbose=0), expected) <= FORWARD_ERROR


def test_stride_defaults_to_the_window_and_a_smaller_one_overlaps() -> None:
    ramp = np.arange(6, dtype="float32").reshape(1, 1, 6, 1)
    apart = keras.ops.convert_to_numpy(MaxPooling2D((1, 3))(ramp)).ravel()
    overlapping = keras.ops.convert_to_numpy(MaxPooling2D((1, 3), 2)(ramp)).ravel()
    np.testing.assert_array_equal(apart, [2, 5])
    np.testing.assert_array_equal(overlapping, [2, 4])


@pytest.mark.parametrize("layer", [MaxPooling2D, AveragePooling2D])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"pool_size": 0}, "pool_size=0"),
        ({"strides": 0}, "strides=0"),
        ({"padding": -1}, "padding=-1"),
        ({"pool_size": 2, "padding": 2}, "padding=2 .* less than pool_size"),
    ],
)
def test_bad_arguments_are_refused_by_name(
    layer: Any, arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(ArgumentError, match=f"{layer.__name__} 'pool': {named}"):
        layer(name="pool", **arguments)


def test_window_larger_than_the_padded_map_is_refused_by_name() -> None:
    with pytest.raises(ArgumentError, match=r"MaxPooling2D 'pool': pool_size=\(3, 3\).* 2×2"):
        MaxPooling2D(3, name="pool")(keras.Input((2, 2, 1)))
