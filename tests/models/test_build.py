"""The Keras model is the network that the config describes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from convforge import layers as lecture
from convforge.models.build import build_model, trained_model, with_units
from convforge.models.specs import (
    Activation,
    BatchNormalizationSpec,
    Conv2DSpec,
    DenseSpec,
    DropoutSpec,
    FlattenSpec,
    LayerSpec,
    PReLUSpec,
    SoftmaxSpec,
)
from convforge.models.summary import LayerError

SHAPE = (6, 6, 1)


def _net(activation: Activation = "relu") -> dict[str, LayerSpec]:
    return {
        "conv1": Conv2DSpec(filters=2, kernel_size=3, activation=activation),
        "flatten": FlattenSpec(),
        "dense1": DenseSpec(units=4, activation=activation),
        "logits": DenseSpec(units=None),
        "softmax": SoftmaxSpec(),
    }


def _images(number: int = 5, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (number, *shape)).astype("float32")


def _model(layers: dict[str, LayerSpec], **options: Any) -> keras.Model:
    keras.utils.set_random_seed(1)
    return build_model(layers, image_shape=SHAPE, num_classes=3, **options)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "linear"])
def test_a_fixed_activation_is_the_layers_own(activation: Activation) -> None:
    model = _model(_net(activation))
    for name in ("conv1", "dense1"):
        assert model.get_layer(name).activation is getattr(keras.activations, activation)
    assert type(model.get_layer("conv1")) is lecture.Conv2D


def test_prelu_follows_each_layer_as_one_of_its_own() -> None:
    model = _model(_net("prelu"))
    names = [layer.name for layer in model.layers]
    assert names[1:] == [
        "conv1", "conv1_prelu", "flatten", "dense1", "dense1_prelu", "logits", "softmax",
    ]  # fmt: skip
    assert isinstance(model.get_layer("conv1_prelu"), lecture.PReLU)
    assert model.get_layer("conv1_prelu").weights[0].shape == (2,)
    assert model.get_layer("conv1").activation is keras.activations.linear


def test_maxout_replaces_the_layer_by_the_one_with_pieces() -> None:
    model = _model(_net("maxout"))
    assert isinstance(model.get_layer("conv1"), lecture.MaxoutConv2D)
    assert isinstance(model.get_layer("dense1"), lecture.MaxoutDense)
    assert model.get_layer("conv1").output.shape == (None, 4, 4, 2)
    assert model.get_layer("dense1").output.shape == (None, 4)


@pytest.mark.parametrize("activation", ["linear", "sigmoid", "tanh", "relu", "prelu", "maxout"])
def test_one_switch_in_the_config_changes_all_hidden_layers(
    compose: Callable[..., Any], activation: str
) -> None:
    specs = compose("model=lecture_cnn", f"model.activation={activation}").model.specs()
    hidden = [specs[name].activation for name in ("conv1", "conv2", "dense1")]
    assert hidden == [activation] * 3
    assert specs["logits"].activation == "linear"


def test_the_names_of_the_config_are_those_of_the_keras_layers() -> None:
    assert [layer.name for layer in _model(_net()).layers] == ["image", *_net()]


def test_logits_and_model_share_weights_and_differ_by_the_softmax() -> None:
    model = _model(_net())
    logits = trained_model(model)
    assert logits.trainable_weights == model.trainable_weights
    images = _images()
    expected = keras.ops.softmax(logits(images))
    np.testing.assert_array_equal(np.asarray(model(images)), np.asarray(expected))
    logits.get_layer("logits").bias.assign([5.0, 0.0, 0.0])
    assert np.asarray(model(images))[:, 0].min() > np.asarray(expected)[:, 0].min()


def test_standardised_numbers_come_in_their_units_and_are_trained_without() -> None:
    layers = _net()
    del layers["softmax"]
    model = with_units(_model(layers), mean=[10.0, 0.0, -1.0], std=[2.0, 1.0, 0.5])
    plain = np.asarray(trained_model(model)(_images()))
    expected = plain * [2.0, 1.0, 0.5] + [10.0, 0.0, -1.0]
    np.testing.assert_allclose(np.asarray(model(_images())), expected, rtol=1e-5)


def test_probabilities_sum_to_one() -> None:
    np.testing.assert_allclose(np.asarray(_model(_net())(_images())).sum(axis=1), 1, rtol=1e-6)


def test_a_net_that_does_not_end_in_a_softmax_is_refused_by_its_last_layer() -> None:
    layers = _net()
    del layers["softmax"]
    with pytest.raises(LayerError) as refusal:
        trained_model(_model(layers))
    assert refusal.value.layer == "logits"
    assert "ends with softmax or units" in str(refusal.value)


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [
        ("none", lambda x: x),
        ("center", lambda x: x - 100),
        ("standardize", lambda x: (x - 100) / 50),
    ],
)
def test_normalisation_is_inside_the_model(normalize: Any, expected: Any) -> None:
    layers = {"flatten": FlattenSpec()}
    model = _model(layers, normalize=normalize, mean=[100.0], std=[50.0])
    images = _images()
    np.testing.assert_allclose(
        np.asarray(model(images)), expected(images).reshape(5, -1), rtol=1e-5, atol=1e-4
    )


def test_each_channel_is_normalised_by_its_own_statistics() -> None:
    mean, std = [10.0, 20.0, 30.0], [1.0, 2.0, 0.0]
    model = build_model(
        {"flatten": FlattenSpec()},
        image_shape=(2, 2, 3),
        num_classes=3,
        normalize="standardize",
        mean=mean,
        std=std,
    )
    images = _images(2, (2, 2, 3))
    # A channel that never varies is only centred.
    expected = (images - mean) / np.array([1.0, 2.0, 1.0])
    np.testing.assert_allclose(np.asarray(model(images)), expected.reshape(2, -1), rtol=1e-5)


def test_pixels_may_come_as_bytes_or_as_floats() -> None:
    model = _model(_net(), normalize="standardize", mean=[100.0], std=[50.0])
    pixels = _images().astype(np.uint8)
    as_floats = np.asarray(model(pixels.astype("float32")))
    np.testing.assert_allclose(np.asarray(model(pixels)), as_floats, rtol=1e-6)


def test_what_a_spec_says_reaches_the_keras_layer() -> None:
    model = _model(
        {
            "conv1": Conv2DSpec(
                filters=4, kernel_size=(3, 2), strides=(1, 2), padding=((0, 1), (1, 0)),
                use_bias=False, mode="convolution",
            ),
            "norm1": BatchNormalizationSpec(momentum=0.5, epsilon=0.01),
            "prelu1": PReLUSpec(initial_slope=0.1),
            "drop1": DropoutSpec(rate=0.25),
            "flatten": FlattenSpec(),
        }
    )  # fmt: skip
    conv = model.get_layer("conv1").get_config()
    assert (tuple(conv["kernel_size"]), tuple(conv["strides"])) == ((3, 2), (1, 2))
    assert conv["mode"] == "convolution"
    assert not conv["use_bias"]
    assert model.get_layer("norm1").momentum == 0.5
    assert model.get_layer("norm1").epsilon == 0.01
    np.testing.assert_allclose(np.asarray(model.get_layer("prelu1").weights[0]), 0.1)
    assert model.get_layer("drop1").rate == 0.25


def test_building_refuses_before_keras_does() -> None:
    with pytest.raises(LayerError, match="flatten"):
        build_model({"dense1": DenseSpec(units=3)}, image_shape=SHAPE, num_classes=3)
