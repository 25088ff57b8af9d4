"""The published nets: their counts, shapes and initial weights, under every activation."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from convforge.models.build import build_model, trained_model
from convforge.models.specs import ActivationSpec
from convforge.pipeline.settings.model import ModelSettings

Compose = Callable[..., Any]

# 60,965,224, 145,578 and 89,578 are published or follow from the published layers; the others
# are counted by hand here: kernels × (height · width · channels + bias), one set for each place
# of a locally connected layer's map.
PARAMETERS = {
    "alexnet": 60_965_224,
    "layers_80sec": 145_578,
    "layers_19pct": 89_578,
    "layers_18pct": 89_578,
    "conv_local_13pct": 64 * (5 * 5 * 3 + 1)
    + 64 * (5 * 5 * 64 + 1)
    + 8 * 8 * 32 * (3 * 3 * 64 + 1)
    + 8 * 8 * 32 * (3 * 3 * 32 + 1)
    + 10 * (8 * 8 * 32 + 1),
    "conv_local_11pct": 64 * (5 * 5 * 3 + 1)
    + 64 * (5 * 5 * 64 + 1)
    + 8 * 8 * 64 * (3 * 3 * 64 + 1)
    + 8 * 8 * 32 * (3 * 3 * 64 + 1)
    + 10 * (8 * 8 * 32 + 1),
    "maxout_cifar10": 2 * 96 * (8 * 8 * 3 + 1)
    + 2 * 192 * (8 * 8 * 96 + 1)
    + 2 * 192 * (5 * 5 * 192 + 1)
    + 5 * 500 * (5 * 5 * 192 + 1)
    + 10 * (500 + 1),
}
ACTIVATIONS = ("relu", "tanh", "prelu", "maxout")
SMALL = [name for name in PARAMETERS if name.startswith(("layers", "conv"))]


def _published(compose: Compose, name: str, *overrides: str) -> ModelSettings:
    model: ModelSettings = compose(f"model={name}", *overrides).model
    assert model.nominal_input is not None
    return model


def _built(model: ModelSettings) -> keras.Model:
    assert model.nominal_input is not None
    keras.utils.set_random_seed(4)
    return build_model(
        model.specs(),
        image_shape=tuple(model.nominal_input.image),
        num_classes=model.nominal_input.classes,
    )


def _costs(model: ModelSettings) -> Any:
    assert model.nominal_input is not None
    return model.costs(tuple(model.nominal_input.image), model.nominal_input.classes)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_count_of_parameters_is_the_published_one(compose: Compose, name: str) -> None:
    assert sum(row.parameters for row in _costs(_published(compose, name))) == PARAMETERS[name]


def test_alexnet_has_the_feature_maps_of_the_paper(compose: Compose) -> None:
    shapes = {row.name: row.output_shape for row in _costs(_published(compose, "alexnet"))}
    kept = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5", "fc6", "fc7")
    assert [shapes[name] for name in kept] == [
        (55, 55, 96), (27, 27, 96), (27, 27, 256), (13, 13, 256), (13, 13, 384),
        (13, 13, 384), (13, 13, 256), (6, 6, 256), (4096,), (4096,),
    ]  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", PARAMETERS)
def test_one_override_changes_the_activation_and_no_feature_map(
    compose: Compose, name: str, activation: str
) -> None:
    own = _published(compose, name)
    other = _published(compose, name, f"model.activation={activation}")
    assert [row.output_shape for row in _costs(other)] == [row.output_shape for row in _costs(own)]
    hidden = [spec for spec in other.specs().values() if hasattr(spec, "activation")][:-1]
    assert hidden
    assert {spec.activation for spec in hidden} == {activation}


def _nets_and_activations() -> list[Any]:
    """Each of both in `make test`, all pairs in `make test-slow`."""
    pairs = list(itertools.product(SMALL, ACTIVATIONS))
    few = list(zip(SMALL, itertools.cycle(ACTIVATIONS)))
    return [pytest.param(*pair, marks=[] if pair in few else pytest.mark.slow) for pair in pairs]


@pytest.mark.parametrize(("name", "activation"), _nets_and_activations())
def test_a_step_of_training_changes_every_weight(
    compose: Compose, name: str, activation: str
) -> None:
    model = trained_model(_built(_published(compose, name, f"model.activation={activation}")))
    rng = np.random.default_rng(0)
    images = rng.normal(0, 64, (4, 32, 32, 3)).astype("float32")
    before = model.get_weights()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    model.train_on_batch(images, np.array([0, 3, 5, 9]))
    for weight, old in zip(model.weights, before, strict=True):
        assert np.isfinite(weight.numpy()).all()
        assert (weight.numpy() != old).any(), weight.path


def test_alexnet_sees_an_image_of_imagenet(compose: Compose) -> None:
    model = _built(_published(compose, "alexnet"))
    image = np.random.default_rng(0).normal(0, 60, (1, 224, 224, 3)).astype("float32")
    probabilities = keras.ops.convert_to_numpy(model(image))
    assert probabilities.shape == (1, 1000)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_alexnet_starts_from_the_weights_of_the_paper(compose: Compose) -> None:
    model = _built(_published(compose, "alexnet"))
    biases = {"conv1": 0, "conv2": 1, "conv3": 0, "conv4": 1, "conv5": 1, "fc6": 1, "fc7": 1}
    for name, bias in biases.items():
        kernel, start = model.get_layer(name).get_weights()
        assert kernel.std() == pytest.approx(0.01, rel=0.02)
        assert (start == bias).all()


def test_relu_before_max_pooling_is_relu_after_it(compose: Compose) -> None:
    """cuda-convnet's first ReLU comes after pool1; the config's comes before."""
    model = _published(compose, "layers_80sec")
    after: dict[str, Any] = {}
    for name, spec in model.specs().items():
        after[name] = spec
        if name == "pool1":
            after["relu1"] = ActivationSpec(function="relu")
    linear = _published(compose, "layers_80sec", "model.layers.conv1.activation=linear")
    after["conv1"] = linear.specs()["conv1"]
    # As drawn, the logits are nearly those of the biases; larger weights show the difference.
    weights = [30 * weight for weight in _built(model).get_weights()]
    nets = [_built(model), build_model(after, image_shape=(32, 32, 3), num_classes=10)]
    images = np.random.default_rng(1).normal(0, 64, (2, 32, 32, 3)).astype("float32")
    outputs = []
    for net in nets:
        net.set_weights(weights)
        outputs.append(keras.ops.convert_to_numpy(trained_model(net)(images)))
    assert np.abs(outputs[0]).max() > 1
    np.testing.assert_array_equal(outputs[0], outputs[1])


def test_the_maxout_net_keeps_the_norms_of_its_kernels(compose: Compose) -> None:
    specs = _published(compose, "maxout_cifar10").specs()
    layers = {"conv1": specs["conv1"], "flatten": specs["flatten"], "fc4": specs["fc4"]}
    net = build_model(layers, image_shape=(12, 12, 3), num_classes=10)
    net.compile(keras.optimizers.SGD(1e6), "mse")
    rng = np.random.default_rng(2)
    net.train_on_batch(rng.normal(size=(2, 12, 12, 3)), rng.normal(size=(2, 500)))
    convolution, dense = net.get_layer("conv1").kernel.numpy(), net.get_layer("fc4").kernel.numpy()
    norms = np.sqrt((convolution**2).sum(axis=(0, 1, 2)))
    assert norms.shape == (192,)
    assert norms.max() == pytest.approx(0.9, rel=1e-4)
    assert np.sqrt((dense**2).sum(axis=0)).max() == pytest.approx(1.9, rel=1e-4)
