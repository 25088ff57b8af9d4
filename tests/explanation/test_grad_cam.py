"""Grad-CAM and feature maps: by hand, by finite differences, of every kind of layer."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pytest

from convforge.errors import InputError
from convforge.layers import Conv2D
from convforge.models import specs
from convforge.models.build import build_model, with_units
from convforge.pipeline.explanation.feature_maps import (
    compute_feature_maps,
    find_feature_maps,
    strongest,
)
from convforge.pipeline.explanation.grad_cam import grad_cam

NETS: Mapping[str, Mapping[str, specs.LayerSpec]] = {
    "maxout, overlapping pooling, PReLU": {
        "conv1": specs.MaxoutConv2DSpec(filters=3, kernel_size=3, num_pieces=2),
        "pool1": specs.MaxPoolSpec(pool_size=3, strides=2),
        "conv2": specs.Conv2DSpec(filters=4, kernel_size=3, padding=1, activation="prelu"),
        "pool2": specs.AveragePoolSpec(pool_size=2),
    },
    "normalised, an activation of its own": {
        "conv1": specs.Conv2DSpec(filters=4, kernel_size=3),
        "norm1": specs.BatchNormalizationSpec(),
        "act1": specs.ActivationSpec(function="maxout"),
        "drop1": specs.DropoutSpec(rate=0.5),
        "pool1": specs.MaxPoolSpec(pool_size=2),
    },
    "locally connected": {
        "conv1": specs.Conv2DSpec(filters=3, kernel_size=3, activation="relu"),
        "rnorm1": specs.LocalResponseNormalizationSpec(size=3),
        "local2": specs.LocallyConnected2DSpec(filters=2, kernel_size=3, activation="maxout"),
    },
}
#: The last convolution's maps: its name, and rows, columns, channels of 9×8 images.
LAST = {
    "maxout, overlapping pooling, PReLU": ("conv2", (3, 2, 4)),
    "normalised, an activation of its own": ("conv1", (7, 6, 2)),
    "locally connected": ("local2", (5, 4, 2)),
}


def build(name: str, channels: int, outputs: int = 3) -> keras.Model:
    """A net of the kind, its weights drawn, its normalisation as after some training."""
    keras.utils.set_random_seed(5)
    end = {"flatten": specs.FlattenSpec(), "logits": specs.DenseSpec(units=None)}
    model = build_model(
        {**NETS[name], **end, "softmax": specs.SoftmaxSpec()},
        image_shape=(9, 8, channels),
        num_classes=outputs,
        normalize="standardize",
        mean=[100.0] * channels,
        std=[50.0] * channels,
    )
    generator = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([generator.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return model


def images(channels: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(2).uniform(0, 255, (count, 9, 8, channels)).astype(np.float32)


@pytest.fixture(scope="module")
def by_hand() -> keras.Model:
    """A 1×1 convolution to the maps max(0, x) and max(0, 3 - x), their means, three classes."""
    image = keras.Input((2, 2, 1))
    maps = Conv2D(2, 1, activation="relu", name="maps")(image)
    logits = keras.layers.Dense(3, use_bias=False)(keras.layers.GlobalAveragePooling2D()(maps))
    model = keras.Model(image, keras.layers.Softmax()(logits))
    model.get_layer("maps").set_weights([np.array([[[[1.0, -1.0]]]]), np.array([0.0, 3.0])])
    model.layers[-2].set_weights([np.array([[4.0, -4.0, 0.0], [-8.0, 4.0, 8.0]])])
    return model


# The maps of the image [[1, 2], [3, 4]] are it and [[2, 1], [0, 0]]; their weights are those of the
# class divided by the four places.
@pytest.mark.parametrize(
    ("output", "summed"),
    [
        (0, [[1.0 - 2 * 2, 2.0 - 2 * 1], [3.0, 4.0]]),
        (1, [[-1.0 + 2, -2.0 + 1], [-3.0, -4.0]]),
        (2, [[2.0 * 2, 2.0 * 1], [0.0, 0.0]]),
    ],
)
def test_behind_a_global_average_it_is_the_weighted_sum_of_the_maps(
    by_hand: keras.Model, output: int, summed: list[list[float]]
) -> None:
    (maps,) = find_feature_maps(by_hand)
    image = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    (heat,) = grad_cam(by_hand, maps, image, [output])
    np.testing.assert_allclose(heat, np.maximum(summed, 0), atol=1e-6)
    (heat,) = grad_cam(by_hand, maps, image, [output], both_signs=True)
    np.testing.assert_allclose(heat, summed, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NETS)
def test_each_maps_weight_is_what_the_score_gains_from_it(name: str, channels: int) -> None:
    """By finite differences: to add ε to all H·W places of a map adds ε·H·W·α to the score."""
    model, pictures = build(name, channels), images(channels)
    found = find_feature_maps(model)[-1]
    outputs = [0, 2, 1]
    heat = grad_cam(model, found, pictures, outputs, both_signs=True)
    (maps,) = compute_feature_maps(model, [found], pictures)
    assert (found.name, maps.shape[1:]) == LAST[name]
    after = keras.Model(found.output, model.layers[-1].input)
    expected = np.zeros(heat.shape)
    step = 1e-3
    for channel in range(maps.shape[3]):
        nudge = np.zeros(maps.shape[3], np.float32)
        nudge[channel] = step
        up, down = (
            keras.ops.convert_to_numpy(after(keras.ops.convert_to_tensor(moved), training=False))
            for moved in (maps + nudge, maps - nudge)
        )
        gained = (up - down)[np.arange(len(outputs)), outputs] / (2 * step)
        weights = gained / (maps.shape[1] * maps.shape[2])
        expected += weights[:, None, None] * maps[..., channel]
    np.testing.assert_allclose(heat, expected, atol=2e-3 * np.abs(expected).max())
    np.testing.assert_array_equal(grad_cam(model, found, pictures, outputs), np.maximum(heat, 0))


def test_an_image_has_the_same_map_whatever_stands_beside_it() -> None:
    model, pictures = build("normalised, an activation of its own", 1), images(1)
    found = find_feature_maps(model)[-1]
    together = grad_cam(model, found, pictures, [0, 2, 1])
    alone = [grad_cam(model, found, pictures[i : i + 1], [k])[0] for i, k in enumerate((0, 2, 1))]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-4, atol=1e-6)


def test_of_a_predicted_number_it_is_in_the_numbers_own_units() -> None:
    keras.utils.set_random_seed(5)
    layers = {
        "conv1": specs.Conv2DSpec(filters=3, kernel_size=3),
        "flatten": specs.FlattenSpec(),
        "numbers": specs.DenseSpec(units=None),
    }
    bare = build_model(layers, image_shape=(9, 8, 1), num_classes=2)
    model = with_units(bare, mean=[0.0, 5.0], std=[1.0, 10.0])
    found = find_feature_maps(model)[-1]
    of = {net: grad_cam(net, found, images(1), [1, 1, 1], both_signs=True) for net in (bare, model)}
    np.testing.assert_allclose(of[model], 10 * of[bare], rtol=1e-4, atol=1e-4)
    assert (of[bare] < 0).any()


def test_the_strongest_maps_are_those_of_largest_mean_magnitude() -> None:
    maps = np.stack([np.full((2, 2), 0.1), np.diag([-9.0, 0.0]), np.full((2, 2), 2.0)], axis=2)
    assert strongest(maps, 2).tolist() == [1, 2]
    assert strongest(maps, 9).tolist() == [1, 2, 0]


def test_a_net_without_convolution_has_no_feature_maps() -> None:
    layers = {
        "flatten": specs.FlattenSpec(),
        "logits": specs.DenseSpec(units=None),
        "softmax": specs.SoftmaxSpec(),
    }
    assert find_feature_maps(build_model(layers, image_shape=(9, 8, 1), num_classes=3)) == []


def test_a_way_round_the_maps_is_refused() -> None:
    image = keras.Input((4, 4, 1))
    seen = keras.layers.Flatten()(Conv2D(2, 3, name="conv1")(image))
    both = keras.layers.Concatenate()([seen, keras.layers.Flatten()(image)])
    model = keras.Model(image, keras.layers.Softmax()(keras.layers.Dense(2)(both)))
    (maps,) = find_feature_maps(model)
    with pytest.raises(InputError, match="all of the net goes through: conv1 is none"):
        grad_cam(model, maps, np.zeros((1, 4, 4, 1)), [0])


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_all_of_this_holds_on_the_other_backends(backend: str) -> None:
    assert importlib.util.find_spec(backend) is not None, "make test-backends installs it"
    environment: dict[str, Any] = {**os.environ, "KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not backends", __file__],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
