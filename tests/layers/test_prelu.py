"""PReLU against its formula and finite differences (He et al. 2015)."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric import (
    EXAMPLES,
    FORWARD_ERROR,
    GRADIENT_ERROR,
    assert_gradients_match,
    backend_gradients,
    relative_error,
    set_weights,
)

from convforge.geometry import ArgumentError
from convforge.layers import PReLU

RNG = np.random.default_rng(0)
SLOPES = {"spatial": (3,), "all": (1,), "none": (4, 5, 3)}


def formula(x: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + alpha * np.minimum(x, 0)


@pytest.mark.parametrize("shared", SLOPES)
def test_forward_and_gradients_equal_the_formula(shared: str) -> None:
    inputs = RNG.normal(size=(2, 4, 5, 3))
    layer = PReLU(shared)
    layer.build(inputs.shape)
    assert layer.alpha.shape == SLOPES[shared]
    set_weights(layer, RNG.normal(size=layer.alpha.shape))
    expected = formula(inputs, layer.get_weights()[0])
    assert relative_error(layer(inputs.astype("float32")), expected) <= FORWARD_ERROR
    assert_gradients_match(layer, formula, inputs)


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=5))
def test_any_rank_has_one_slope_for_each_channel(shape: list[int]) -> None:
    inputs = RNG.normal(size=shape)
    layer = PReLU()
    actual = layer(inputs.astype("float32"))
    assert layer.alpha.shape == (shape[-1],)
    assert relative_error(actual, formula(inputs, np.array(0.25))) <= FORWARD_ERROR


def test_channels_first_shares_over_the_last_axes() -> None:
    inputs = RNG.normal(size=(2, 3, 4, 5))
    layer = PReLU(data_format="channels_first")
    layer.build(inputs.shape)
    set_weights(layer, RNG.normal(size=3))
    expected = formula(inputs, layer.get_weights()[0][:, None, None])
    assert relative_error(layer(inputs.astype("float32")), expected) <= FORWARD_ERROR


def test_slopes_start_at_a_quarter_and_the_initializer_may_be_a_number() -> None:
    for layer, start in ((PReLU(), 0.25), (PReLU(alpha_initializer=0.1), 0.1)):
        layer.build((None, 3))
        np.testing.assert_allclose(layer.get_weights()[0], start)


def test_equal_slopes_give_keras_own_prelu() -> None:
    inputs = RNG.normal(size=(2, 4, 5, 3)).astype("float32")
    keras_own = keras.layers.PReLU(alpha_initializer=keras.initializers.Constant(0.25))
    assert relative_error(PReLU("none")(inputs), keras_own(inputs)) <= FORWARD_ERROR


@pytest.mark.backends
def test_outputs_and_gradients_are_those_of_pytorchs_prelu() -> None:
    import torch

    inputs = RNG.normal(size=(2, 3, 4, 5)).astype("float32")
    slopes = RNG.normal(size=3).astype("float32")
    layer = PReLU(data_format="channels_first")
    layer.build(inputs.shape)
    set_weights(layer, slopes)
    image, alpha = (torch.from_numpy(array).requires_grad_() for array in (inputs, slopes))
    expected = torch.nn.functional.prelu(image, alpha)
    assert relative_error(layer(inputs), expected.detach().numpy()) <= FORWARD_ERROR
    expected.square().sum().backward()
    gradients = backend_gradients(
        lambda x: keras.ops.sum(keras.ops.square(layer(x))), inputs, [layer.alpha]
    )
    for gradient, wanted in zip(gradients, (image.grad, alpha.grad), strict=True):
        assert relative_error(gradient, wanted.numpy()) <= GRADIENT_ERROR


def test_spatial_size_may_be_unknown_unless_every_element_has_a_slope() -> None:
    image = keras.Input((None, None, 3))
    assert PReLU()(image).shape == (None, None, None, 3)
    with pytest.raises(ValueError, match="PReLU 'act': shared='none' needs the sizes"):
        PReLU("none", name="act")(image)


def test_an_unknown_way_of_sharing_is_refused_by_name() -> None:
    with pytest.raises(ArgumentError, match="PReLU 'act': shared='channels' is not allowed"):
        PReLU("channels", name="act")
