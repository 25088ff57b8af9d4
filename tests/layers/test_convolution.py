"""Conv2D against SciPy's correlate2d and convolve2d, equations (1) to (4)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from numeric import (
    EXAMPLES,
    FORWARD_ERROR,
    GRADIENT_ERROR,
    assert_gradients_match,
    backend_gradients,
    relative_error,
    set_weights,
)
from windows import convolutions

from convforge.geometry import ArgumentError
from convforge.layers import Conv2D

RNG = np.random.default_rng(0)


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
@given(convolutions())
def test_forward_equals_scipy_for_any_window(case: dict[str, Any]) -> None:
    layer = Conv2D(
        case["filters"],
        case["kernel"],
        case["strides"],
        case["sides"],
        mode=case["mode"],
        groups=case["groups"],
    )
    images = RNG.normal(size=(case["batch"], *case["size"], case["channels"]))
    layer.build(images.shape)
    kernel, bias = (RNG.normal(size=weight.shape) for weight in layer.weights)
    set_weights(layer, kernel, bias)
    expected = oracles.convolution(
        images,
        kernel,
        bias,
        strides=case["strides"],
        sides=case["sides"],
        groups=case["groups"],
        mode=case["mode"],
    )
    actual = layer(images.astype("float32"))
    assert tuple(actual.shape) == layer.compute_output_shape(images.shape) == expected.shape
    assert relative_error(actual, expected) <= FORWARD_ERROR


@pytest.mark.parametrize("mode", ["cross_correlation", "convolution"])
@pytest.mark.parametrize(
    ("groups", "strides", "sides"),
    [
        (1, (1, 1), ((1, 1), (1, 1))),
        (2, (2, 1), ((0, 2), (1, 0))),
    ],
)
def test_gradients_equal_finite_differences(
    mode: str, groups: int, strides: tuple[int, int], sides: oracles.Sides
) -> None:
    layer = Conv2D(4, 3, strides, sides, mode=mode, groups=groups)
    images = RNG.normal(size=(2, 4, 5, 2))
    layer.build(images.shape)
    set_weights(layer, *(RNG.normal(size=weight.shape) for weight in layer.weights))
    assert_gradients_match(
        layer,
        lambda x, k, b: oracles.convolution(
            x, k, b, strides=strides, sides=sides, groups=groups, mode=mode
        ),
        images,
    )


@pytest.mark.backends
@pytest.mark.parametrize(
    ("kernel_size", "strides", "padding", "groups"),
    [((5, 5), (1, 1), (2, 2), 1), ((3, 2), (3, 1), (1, 0), 2), ((1, 1), (2, 2), (0, 0), 1)],
)
def test_outputs_and_gradients_are_those_of_pytorchs_conv2d(
    kernel_size: tuple[int, int], strides: tuple[int, int], padding: tuple[int, int], groups: int
) -> None:
    import torch

    images = RNG.normal(size=(2, 6, 7, 4))
    layer = Conv2D(6, kernel_size, strides, padding, groups=groups)
    layer.build(images.shape)
    kernel, bias = (RNG.normal(size=weight.shape) for weight in layer.weights)
    set_weights(layer, kernel, bias)

    theirs = torch.nn.Conv2d(4, 6, kernel_size, strides, padding, groups=groups, device="cpu")
    theirs = theirs.double()
    theirs.weight.data = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
    theirs.bias.data = torch.from_numpy(bias)
    image = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).requires_grad_()
    outputs = theirs(image)
    expected = outputs.detach().numpy().transpose(0, 2, 3, 1)
    assert relative_error(layer(images.astype("float32")), expected) <= FORWARD_ERROR

    probe = RNG.normal(size=expected.shape)
    (outputs * torch.from_numpy(probe.transpose(0, 3, 1, 2).copy())).sum().backward()
    weights = keras.ops.convert_to_tensor(probe.astype("float32"))
    gradients = backend_gradients(
        lambda x: keras.ops.sum(layer(x) * weights), images, layer.trainable_variables
    )
    wanted = (
        image.grad.numpy().transpose(0, 2, 3, 1),
        theirs.weight.grad.numpy().transpose(2, 3, 1, 0),
        theirs.bias.grad.numpy(),
    )
    for gradient, want in zip(gradients, wanted, strict=True):
        assert relative_error(gradient, want) <= GRADIENT_ERROR


def test_many_groups_equal_scipy() -> None:
    layer = Conv2D(10, 3, groups=10, use_bias=False)
    images = RNG.normal(size=(1, 5, 5, 10))
    layer.build(images.shape)
    kernel = RNG.normal(size=layer.kernel.shape)
    set_weights(layer, kernel)
    expected = oracles.convolution(images, kernel, groups=10)
    assert relative_error(layer(images.astype("float32")), expected) <= FORWARD_ERROR


def test_a_single_column_out_of_one_channel_with_a_wide_stride_equals_scipy() -> None:
    # TensorFlow's own convolution returns a wrong second row here.
    images = RNG.normal(size=(2, 2, 2, 1))
    layer = Conv2D(1, (1, 2), strides=(1, 3), use_bias=False)
    layer.build(images.shape)
    expected = oracles.convolution(images, layer.get_weights()[0], strides=(1, 3))
    assert relative_error(layer(images.astype("float32")), expected) <= FORWARD_ERROR


def test_the_lectures_10x10_map_gives_8x8_and_3x3() -> None:
    image = np.zeros((1, 10, 10, 3), "float32")
    assert tuple(Conv2D(32, 3)(image).shape) == (1, 8, 8, 32)
    assert tuple(Conv2D(32, 3, strides=3)(image).shape) == (1, 3, 3, 32)
    assert tuple(Conv2D(32, 3, strides=3, padding=1)(image).shape) == (1, 4, 4, 32)


def test_the_two_modes_are_a_flip_of_the_kernel_apart() -> None:
    images = RNG.normal(size=(2, 6, 6, 3)).astype("float32")
    convolving, correlating = Conv2D(4, 3, mode="convolution"), Conv2D(4, 3)
    convolving.build(images.shape)
    correlating.build(images.shape)
    kernel, bias = convolving.get_weights()
    set_weights(correlating, kernel[::-1, ::-1], bias)
    assert relative_error(convolving(images), correlating(images)) <= FORWARD_ERROR


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [1, 2])
def test_named_padding_is_keras_own(padding: str, strides: int) -> None:
    images = RNG.normal(size=(2, 7, 8, 3)).astype("float32")
    ours = Conv2D(4, 3, strides, padding)
    keras_own = keras.layers.Conv2D(4, 3, strides, padding)
    ours.build(images.shape)
    keras_own.build(images.shape)
    keras_own.set_weights(ours.get_weights())
    assert relative_error(ours(images), keras_own(images)) <= FORWARD_ERROR


@pytest.mark.parametrize(
    ("name", "closed_form"),
    [
        ("linear", lambda x: x),
        ("sigmoid", lambda x: np.where(x > 0, 1, np.exp(-np.abs(x))) / (1 + np.exp(-np.abs(x)))),
        ("tanh", np.tanh),
        ("relu", lambda x: np.maximum(x, 0)),
    ],
)
def test_activation_is_applied_after_the_bias_and_stable_for_large_inputs(
    name: str, closed_form: Any
) -> None:
    values = np.array([-1e4, -3.0, -0.5, 0.0, 0.5, 3.0, 1e4])
    layer = Conv2D(1, 1, activation=name, kernel_initializer="ones", bias_initializer="ones")
    actual = keras.ops.convert_to_numpy(layer(values.reshape(1, 1, -1, 1).astype("float32")))
    np.testing.assert_allclose(actual.ravel(), closed_form(values + 1), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"padding": -1}, "padding=-1"),
        ({"padding": "full"}, "padding='full'"),
        ({"padding": 1.0}, "padding=1.0"),
        ({"strides": 0}, "strides=0"),
        ({"strides": (1, 2, 3)}, r"strides=\(1, 2, 3\)"),
        ({"kernel_size": 0}, "kernel_size=0"),
        ({"filters": 0}, "filters=0"),
        ({"filters": True}, "filters=True"),
        ({"groups": 3}, "groups=3 .* divisor of the 4 filters"),
        ({"mode": "flipped"}, "mode='flipped'"),
        ({"data_format": "NHWC"}, "data_format='NHWC'"),
    ],
)
def test_bad_arguments_are_refused_with_layer_value_and_what_is_allowed(
    arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(ArgumentError, match=f"Conv2D 'conv1': {named}"):
        Conv2D(**{"filters": 4, "kernel_size": 3, "name": "conv1", **arguments})


def test_kernel_larger_than_the_padded_map_is_refused_by_name() -> None:
    with pytest.raises(ArgumentError, match=r"Conv2D 'conv1': kernel_size=\(5, 5\).* map of 4×4"):
        Conv2D(4, 5, padding=1, name="conv1")(keras.Input((2, 2, 1)))


@pytest.mark.parametrize("use", ["call", "predict", "fit"])
def test_kernel_larger_than_a_map_seen_at_run_time_is_refused_by_name(use: str) -> None:
    image = keras.Input((None, None, 1))
    maps = Conv2D(4, 5, name="conv1")(image)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(maps))
    model.compile("sgd", "mse")
    small = np.zeros((2, 3, 3, 1), "float32")
    run = {
        "call": lambda: model(small),
        "predict": lambda: model.predict(small, verbose=0),
        "fit": lambda: model.fit(small, np.zeros((2, 4), "float32"), verbose=0),
    }[use]
    # Keras before 3.12 quotes it in an error of its own, where `fit` builds the model.
    told = r"Conv2D 'conv1': kernel_size=\(5, 5\).* of 3×3"
    with pytest.raises((ArgumentError, RuntimeError), match=told):
        run()


def test_channels_not_divisible_by_groups_are_refused_by_name() -> None:
    with pytest.raises(
        ArgumentError, match=r"'conv2': groups=2 .* divisor of the 3 input channels"
    ):
        Conv2D(4, 3, groups=2, name="conv2")(keras.Input((8, 8, 3)))


def test_regularizers_and_constraints_reach_the_weights() -> None:
    layer = Conv2D(
        2,
        1,
        kernel_initializer="ones",
        kernel_regularizer=keras.regularizers.L2(0.5),
        bias_constraint="non_neg",
    )
    layer.build((None, 4, 4, 3))
    np.testing.assert_allclose(float(layer.losses[0]), 3.0)
    assert isinstance(layer.bias.constraint, keras.constraints.NonNeg)
