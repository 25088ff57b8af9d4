"""Maxout layers against NumPy: linear maps and a loop over adjacent pieces."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric import (
    EXAMPLES,
    FORWARD_ERROR,
    assert_gradients_match,
    backend_gradients,
    relative_error,
    set_weights,
)
from windows import convolutions

from convforge.geometry import ArgumentError
from convforge.layers import Conv2D, Maxout, MaxoutConv2D, MaxoutDense, from_strided_pieces

RNG = np.random.default_rng(0)


def built(layer: keras.layers.Layer, shape: tuple[int, ...]) -> keras.layers.Layer:
    layer.build(shape)
    set_weights(layer, *(RNG.normal(size=weight.shape) for weight in layer.weights))
    return layer


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_dense_equals_numpy(batch: int, features: int, units: int, pieces: int) -> None:
    inputs = RNG.normal(size=(batch, features))
    layer = built(MaxoutDense(units, pieces), inputs.shape)
    kernel, bias = layer.get_weights()
    expected = oracles.largest_adjacent(inputs @ kernel.astype("float64") + bias, pieces)
    assert relative_error(layer(inputs.astype("float32")), expected) <= FORWARD_ERROR


def test_dense_takes_any_leading_axes() -> None:
    inputs = RNG.normal(size=(2, 3, 4, 5))
    layer = built(MaxoutDense(6, 2, use_bias=False), inputs.shape)
    expected = oracles.largest_adjacent(inputs @ layer.get_weights()[0].astype("float64"), 2)
    assert relative_error(layer(inputs.astype("float32")), expected) <= FORWARD_ERROR


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
@given(convolutions(), st.integers(1, 3))
def test_convolutional_equals_scipy_then_max_over_adjacent_pieces(
    case: dict[str, Any], pieces: int
) -> None:
    images = RNG.normal(size=(case["batch"], *case["size"], case["channels"]))
    how = {"groups": case["groups"], "mode": case["mode"]}
    strides, sides = case["strides"], case["sides"]
    layer = built(
        MaxoutConv2D(case["filters"], case["kernel"], pieces, strides, sides, **how), images.shape
    )
    kernel, bias = layer.get_weights()
    linear = oracles.convolution(
        images, kernel.astype("float64"), bias, strides=strides, sides=sides, **how
    )
    expected = oracles.largest_adjacent(linear, pieces)
    assert relative_error(layer(images.astype("float32")), expected) <= FORWARD_ERROR


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from(["channels_last", "channels_first"]),
)
def test_the_bare_layer_takes_the_largest_of_adjacent_channels_of_any_input(
    sizes: list[int], units: int, pieces: int, data_format: str
) -> None:
    inputs = RNG.normal(size=(*sizes, units * pieces))
    expected = oracles.largest_adjacent(inputs, pieces)
    if data_format == "channels_first":
        inputs, expected = np.moveaxis(inputs, -1, 1), np.moveaxis(expected, -1, 1)
    layer = Maxout(pieces, data_format=data_format)
    actual = layer(inputs.astype("float32"))
    assert tuple(actual.shape) == layer.compute_output_shape(inputs.shape)
    assert relative_error(actual, expected) <= FORWARD_ERROR


def test_gradients_of_the_bare_layer_equal_finite_differences() -> None:
    assert_gradients_match(
        Maxout(3), lambda x: oracles.largest_adjacent(x, 3), RNG.normal(size=(2, 3, 6))
    )


def test_a_convolution_and_the_bare_layer_are_the_convolutional_maxout() -> None:
    images = RNG.normal(size=(2, 5, 6, 3)).astype("float32")
    fused = built(MaxoutConv2D(4, 3, 2, padding=1), images.shape)
    linear = Conv2D(8, 3, padding=1)
    linear.build(images.shape)
    linear.set_weights(fused.get_weights())
    assert relative_error(Maxout(2)(linear(images)), fused(images)) <= FORWARD_ERROR


def test_the_bare_layer_refuses_channels_that_the_pieces_do_not_divide() -> None:
    with pytest.raises(
        ArgumentError, match=r"Maxout 'act': num_pieces=2 .* divisor of the 5 input channels"
    ):
        Maxout(2, name="act")(keras.Input((3, 3, 5)))
    with pytest.raises(ValueError, match="Maxout 'act': the number of input channels"):
        Maxout(2, name="act")(keras.Input((3, 3, None)))


def test_dense_gradients_equal_finite_differences() -> None:
    layer = built(MaxoutDense(3, 3), (4, 5))
    assert_gradients_match(
        layer,
        lambda x, k, b: oracles.largest_adjacent(x @ k + b, 3),
        RNG.normal(size=(4, 5)),
    )


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutional_gradients_equal_finite_differences(groups: int) -> None:
    layer = built(MaxoutConv2D(2, 2, 3, groups=groups), (2, 4, 4, 2))
    assert_gradients_match(
        layer,
        lambda x, k, b: oracles.largest_adjacent(oracles.convolution(x, k, b, groups=groups), 3),
        RNG.normal(size=(2, 4, 4, 2)),
    )


def test_the_gradient_of_a_tie_goes_to_the_first_piece() -> None:
    layer = MaxoutDense(2, 3)
    layer.build((1, 4))
    black = np.zeros((1, 4))
    gradients = backend_gradients(lambda x: keras.ops.sum(layer(x)), black, [layer.bias])
    np.testing.assert_array_equal(gradients[1], [1, 0, 0, 1, 0, 0])


@pytest.mark.parametrize("piece", [0, 1, 2])
def test_a_piece_that_is_no_number_is_not_hidden_by_the_others(piece: int) -> None:
    channels = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]], "float32")
    channels[0, piece] = np.nan
    largest = keras.ops.convert_to_numpy(Maxout(3)(channels))
    np.testing.assert_array_equal(largest, [[np.nan, 6.0]])


def test_one_piece_is_a_linear_convolution() -> None:
    images = RNG.normal(size=(1, 5, 5, 2)).astype("float32")
    maxout = built(MaxoutConv2D(3, 3, num_pieces=1), images.shape)
    linear = Conv2D(3, 3)
    linear.build(images.shape)
    linear.set_weights(maxout.get_weights())
    assert relative_error(maxout(images), linear(images)) <= FORWARD_ERROR


def test_all_pieces_are_one_convolution_kernel() -> None:
    layer = MaxoutConv2D(96, 8, num_pieces=2, padding=4)
    layer.build((None, 32, 32, 3))
    assert layer.kernel.shape == (8, 8, 3, 192)
    assert layer.count_params() == 8 * 8 * 3 * 192 + 192


def test_two_pieces_can_learn_relu_and_the_absolute_value() -> None:
    layer = MaxoutDense(2, 2, use_bias=False)
    layer.build((None, 1))
    set_weights(layer, [[1.0, 0.0, 1.0, -1.0]])
    actual = keras.ops.convert_to_numpy(layer(np.array([[-2.0], [3.0]], "float32")))
    np.testing.assert_array_equal(actual, [[0, 2], [3, 3]])


def test_strided_weights_convert_to_adjacent_ones() -> None:
    inputs, kernel = RNG.normal(size=(4, 5)), RNG.normal(size=(5, 6))
    # TensorFlow Addons' Maxout: reshape to (batch, pieces, units), max over the pieces.
    expected = (inputs @ kernel).reshape(4, 3, 2).max(axis=1)
    layer = MaxoutDense(2, num_pieces=3, use_bias=False)
    layer.build(inputs.shape)
    set_weights(layer, from_strided_pieces(kernel, 3))
    assert relative_error(layer(inputs.astype("float32")), expected) <= FORWARD_ERROR


def test_the_converter_refuses_pieces_that_do_not_divide_the_outputs() -> None:
    with pytest.raises(ArgumentError, match=r"num_pieces=4 .* divisor of the 6 outputs"):
        from_strided_pieces(np.zeros((5, 6)), 4)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda **k: MaxoutConv2D(4, 3, num_pieces=0, **k), "MaxoutConv2D 'm': num_pieces=0"),
        (lambda **k: Maxout(0, **k), "Maxout 'm': num_pieces=0"),
        (lambda **k: MaxoutDense(4, num_pieces=0, **k), "MaxoutDense 'm': num_pieces=0"),
        (lambda **k: MaxoutDense(0, **k), "MaxoutDense 'm': units=0"),
        (lambda **k: MaxoutConv2D(4, 3, groups=3, **k), "MaxoutConv2D 'm': groups=3"),
    ],
)
def test_bad_arguments_are_refused_by_name(make: Any, named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        make(name="m")
