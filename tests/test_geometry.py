"""Sizes, padding, receptive field and counts against hand counts and NumPy."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convforge import geometry
from convforge.geometry import ArgumentError

small = st.integers(0, 4)
size = st.integers(1, 12)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(size, st.integers(1, 5), st.integers(1, 4), st.tuples(small, small))
def test_output_size_counts_the_places_where_the_window_fits(
    size: int, kernel: int, stride: int, sides: tuple[int, int]
) -> None:
    padded = np.pad(np.zeros(size), sides)
    if kernel > len(padded):
        with pytest.raises(ArgumentError, match="kernel_size"):
            geometry.output_size(size, kernel, stride, sides)
        return
    places = np.lib.stride_tricks.sliding_window_view(padded, kernel)[::stride]
    assert geometry.output_size(size, kernel, stride, sides) == len(places)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(size, st.integers(1, 5), st.integers(1, 4))
def test_same_padding_gives_the_size_divided_by_the_stride_rounded_up(
    size: int, kernel: int, stride: int
) -> None:
    sides = geometry.same_padding(size, kernel, stride)
    assert 0 <= sides[1] - sides[0] <= 1
    rounded_up = int(np.ceil(size / stride))
    assert geometry.output_size(size, kernel, stride, "same") == rounded_up
    if kernel >= stride:
        assert geometry.output_size(size, kernel, stride, sides) == rounded_up


def test_the_lectures_examples() -> None:
    assert geometry.output_size(10, 3, 1) == 8
    assert geometry.output_size(10, 3, 3) == 3
    assert geometry.output_shape((10, 10), (3, 3), (3, 1), ((1, 1), (1, 1))) == (4, 10)


def test_alexnets_first_layer_needs_asymmetric_padding_for_55() -> None:
    assert geometry.output_size(224, 11, 4, (0, 3)) == 55
    assert geometry.output_size(224, 11, 4, "valid") == 54


def test_unknown_sizes_stay_unknown() -> None:
    assert geometry.output_size(None, 3, 2, 1) is None
    assert geometry.output_shape((None, 8), (3, 3)) == (None, 6)


def test_a_kernel_larger_than_the_padded_map_names_owner_kernel_and_map() -> None:
    message = r"Conv2D 'conv1': kernel_size=\(5, 5\) is not allowed: .* padded map of 4×\?"
    with pytest.raises(ArgumentError, match=message):
        geometry.output_shape((2, None), (5, 5), (1, 1), ((1, 1), (1, 1)), owner="Conv2D 'conv1'")


@pytest.mark.parametrize(
    ("value", "canonical"),
    [
        (2, ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        ([1, 2], ((1, 1), (2, 2))),
        ([[0, 3], [1, 2]], ((0, 3), (1, 2))),
        (((0, 3), 1), ((0, 3), (1, 1))),
        (np.int64(1), ((1, 1), (1, 1))),
        ("same", "same"),
        ("valid", "valid"),
    ],
)
def test_padding_has_one_canonical_form(value: Any, canonical: Any) -> None:
    assert geometry.canonical_padding(value) == canonical


@pytest.mark.parametrize(
    "value", [-1, True, 1.0, "full", (1,), (1, 2, 3), (1, -2), ((1, 2), (3, True)), None, [], {}]
)
def test_other_paddings_are_refused_with_what_is_allowed(value: Any) -> None:
    with pytest.raises(ArgumentError) as caught:
        geometry.canonical_padding(value)
    assert caught.value.argument == "padding"
    assert caught.value.value == value
    assert str(caught.value) == (
        f"padding={value!r} is not allowed: give an integer ≥ 0, a pair, a pair of pairs, "
        '"valid" or "same"'
    )


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "3", (1,), (1, 0), (1, 2, 3), None])
def test_pairs_are_integers_of_at_least_one(value: Any) -> None:
    with pytest.raises(ArgumentError, match=r"strides=.* is not allowed: give an integer ≥ 1"):
        geometry.canonical_pair(value, "strides")


def test_errors_survive_pickling_as_between_sweep_workers() -> None:
    error = ArgumentError("padding", -1, "an integer ≥ 0", owner="Conv2D 'c'")
    again = pickle.loads(pickle.dumps(error))
    assert (again.argument, again.value, again.allowed, again.owner) == (
        "padding",
        -1,
        "an integer ≥ 0",
        "Conv2D 'c'",
    )
    assert str(again) == str(error)


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), max_size=4))
def test_receptive_field_is_the_input_that_one_output_needs(
    windows: list[tuple[int, int]],
) -> None:
    needed = 1
    for kernel, stride in reversed(windows):
        needed = (needed - 1) * stride + kernel
    assert geometry.receptive_field(windows) == needed


def test_the_backends_own_padding_is_used_only_where_it_is_the_same() -> None:
    def native(size: int | None, kernel: int, stride: int, pad: int) -> str | None:
        sides = ((pad, pad), (pad, pad))
        return geometry.native_padding((size, size), (kernel, kernel), (stride, stride), sides)

    assert native(None, 3, 1, 1) == "same"
    assert native(None, 3, 1, 0) == "valid"
    assert native(None, 3, 1, 2) is None
    assert native(None, 3, 2, 1) is None
    assert native(7, 3, 2, 1) == "same"
    assert native(8, 3, 2, 1) is None


def test_alexnet_has_its_published_parameters_and_far_fewer_than_fully_connected() -> None:
    convolutions = [
        ((11, 11), 3, 96, 1),
        ((5, 5), 96, 256, 2),
        ((3, 3), 256, 384, 1),
        ((3, 3), 384, 384, 2),
        ((3, 3), 384, 256, 2),
    ]
    parameters = sum(
        geometry.conv_parameters(kernel, channels, filters, groups=groups)
        for kernel, channels, filters, groups in convolutions
    ) + sum(
        geometry.dense_parameters(inputs, units)
        for inputs, units in [(6 * 6 * 256, 4096), (4096, 4096), (4096, 1000)]
    )
    assert parameters == 60_965_224
    connected = geometry.fully_connected_parameters((224, 224, 3), (55, 55, 96))
    assert connected > 1_000_000 * geometry.conv_parameters((11, 11), 3, 96)


def test_cuda_convnets_80sec_net_has_its_published_parameters() -> None:
    layers = [((5, 5), 3, 32), ((5, 5), 32, 32), ((5, 5), 32, 64)]
    convolutional = sum(geometry.conv_parameters(*layer) for layer in layers)
    connected = geometry.dense_parameters(4 * 4 * 64, 64) + geometry.dense_parameters(64, 10)
    assert convolutional + connected == 145_578
    assert convolutional + geometry.dense_parameters(4 * 4 * 64, 10) == 89_578


def test_multiply_adds_count_every_product_of_equation_3() -> None:
    count = 0
    for _row in range(3):
        for _column in range(4):
            for _kernel in range(6):
                count += 2 * 5 * (8 // 2)
    assert geometry.conv_multiply_adds((3, 4), (2, 5), 8, 6, groups=2) == count


def test_geometry_needs_neither_keras_nor_numpy() -> None:
    source = f"import runpy, sys; runpy.run_path({geometry.__file__!r}); "
    check = source + "assert not {'keras', 'numpy', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
