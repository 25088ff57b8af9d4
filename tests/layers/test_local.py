"""The locally connected convolution against a NumPy loop over places."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from numeric import EXAMPLES, FORWARD_ERROR, assert_gradients_match, relative_error, set_weights
from windows import convolutions

from convforge import geometry
from convforge.geometry import ArgumentError
from convforge.layers import Conv2D, LocallyConnected2D

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("window", "strides", "sides"),
    [
        ((3, 3), (1, 1), ((1, 1), (1, 1))),
        ((2, 3), (2, 1), ((0, 0), (0, 2))),
        ((1, 1), (1, 2), ((0, 0), (0, 0))),
    ],
)
def test_forward_and_gradients_equal_a_loop_over_places(
    window: tuple[int, int], strides: tuple[int, int], sides: oracles.Sides
) -> None:
    images = RNG.normal(size=(2, 4, 5, 2))
    layer = LocallyConnected2D(3, window, strides, sides)
    layer.build(images.shape)
    set_weights(layer, *(RNG.normal(size=weight.shape) for weight in layer.weights))

    def oracle(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
        return oracles.local_convolution(
            x, kernel, bias, window=window, strides=strides, sides=sides
        )

    expected = oracle(images, *layer.get_weights())
    assert relative_error(layer(images.astype("float32")), expected) <= FORWARD_ERROR
    assert_gradients_match(layer, oracle, images)


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
@given(convolutions())
def test_forward_equals_a_loop_over_places_for_any_window(case: dict[str, Any]) -> None:
    images = RNG.normal(size=(case["batch"], *case["size"], case["channels"]))
    strides, sides = case["strides"], case["sides"]
    layer = LocallyConnected2D(case["filters"], case["kernel"], strides, sides)
    layer.build(images.shape)
    kernel, bias = (RNG.normal(size=weight.shape) for weight in layer.weights)
    set_weights(layer, kernel, bias)
    expected = oracles.local_convolution(
        images, kernel, bias, window=case["kernel"], strides=strides, sides=sides
    )
    actual = layer(images.astype("float32"))
    assert tuple(actual.shape) == layer.compute_output_shape(images.shape) == expected.shape
    assert relative_error(actual, expected) <= FORWARD_ERROR


@pytest.mark.parametrize("padding", ["valid", "same", 1])
def test_equal_kernels_everywhere_give_a_convolution(padding: object) -> None:
    images = RNG.normal(size=(2, 6, 5, 3)).astype("float32")
    shared, local = Conv2D(4, 3, 2, padding), LocallyConnected2D(4, 3, 2, padding)
    shared.build(images.shape)
    local.build(images.shape)
    kernel, bias = shared.get_weights()
    set_weights(
        local,
        np.broadcast_to(kernel.reshape(-1, 4), local.kernel.shape),
        np.broadcast_to(bias, local.bias.shape),
    )
    assert relative_error(local(images), shared(images)) <= FORWARD_ERROR


def test_parameters_are_those_that_geometry_counts() -> None:
    layer = LocallyConnected2D(32, 3, padding=1)
    layer.build((None, 6, 6, 64))
    assert layer.count_params() == geometry.local_parameters((6, 6), (3, 3), 64, 32)


def test_kernels_start_different_with_the_spread_of_one_kernels_inputs() -> None:
    layer = LocallyConnected2D(16, 3)
    layer.build((None, 8, 8, 16))
    kernel = layer.get_weights()[0]
    assert not np.allclose(kernel[0, 0], kernel[0, 1])
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (3 * 3 * 16)), rtol=0.02)


def test_unknown_size_and_large_kernels_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="LocallyConnected2D 'local3': every place has weights"):
        LocallyConnected2D(4, 3, name="local3")(keras.Input((None, None, 3)))
    with pytest.raises(ArgumentError, match="LocallyConnected2D 'local3': kernel_size"):
        LocallyConnected2D(4, 3, name="local3")(keras.Input((2, 2, 3)))
