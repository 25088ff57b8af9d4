"""The cost table, which builds nothing, agrees with the Keras model that is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convforge.models.build import build_model
from convforge.models.specs import (
    ActivationSpec,
    AveragePoolSpec,
    BatchNormalizationSpec,
    Conv2DSpec,
    DenseSpec,
    DropoutSpec,
    FlattenSpec,
    LayerSpec,
    LocallyConnected2DSpec,
    LocalResponseNormalizationSpec,
    MaxoutConv2DSpec,
    MaxoutDenseSpec,
    MaxPoolSpec,
    PReLUSpec,
    SoftmaxSpec,
)
from convforge.models.summary import LayerError, layer_costs

MODELS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf/model").glob("*.yaml"))
ACTIVATIONS = ("linear", "sigmoid", "tanh", "relu", "prelu", "maxout")


def _assert_agrees(
    layers: Mapping[str, LayerSpec], image_shape: tuple[int, ...], classes: int
) -> None:
    costs = layer_costs(layers, image_shape=image_shape, num_classes=classes)
    model = build_model(layers, image_shape=image_shape, num_classes=classes)
    trainable = sum(int(keras.ops.size(weight)) for weight in model.trainable_weights)
    assert sum(row.parameters for row in costs) == trainable
    for row in costs:
        # PReLU as an activation is a Keras layer of its own; so is Maxout after unshared kernels.
        names = (row.name, f"{row.name}_prelu", f"{row.name}_maxout")
        own = [layer for layer in model.layers if layer.name in names]
        counts = [
            int(keras.ops.size(weight)) for layer in own for weight in layer.trainable_weights
        ]
        assert row.parameters == sum(counts), row
        assert own[-1].output.shape[1:] == row.output_shape, row


@pytest.mark.parametrize("model", MODELS)
def test_every_model_config_costs_what_keras_counts(
    compose: Callable[..., Any], model: str
) -> None:
    settings = compose(f"model={model}").model
    nominal = settings.nominal_input
    shapes = [tuple(nominal.image)] if nominal else [(28, 28, 1), (32, 32, 3), (33, 21, 3)]
    for image_shape in shapes:
        _assert_agrees(settings.specs(), image_shape, nominal.classes if nominal else 10)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_costs_what_keras_counts(
    compose: Callable[..., Any], activation: str
) -> None:
    specs = compose("model=lecture_cnn", f"model.activation={activation}").model.specs()
    _assert_agrees(specs, (28, 28, 1), 10)


_PADDING = st.sampled_from([0, 1, "same", "valid", (1, 2), ((0, 1), (2, 0))])
_PAIR = st.integers(1, 3) | st.tuples(st.integers(1, 3), st.integers(1, 3))
_SPATIAL = st.one_of(
    st.builds(
        Conv2DSpec,
        filters=st.sampled_from([2, 4]),
        kernel_size=_PAIR,
        strides=_PAIR,
        padding=_PADDING,
        groups=st.sampled_from([1, 2]),
        use_bias=st.booleans(),
        activation=st.sampled_from(ACTIVATIONS),
        num_pieces=st.integers(1, 3),
    ),
    st.builds(
        MaxoutConv2DSpec,
        filters=st.sampled_from([2, 4]),
        kernel_size=_PAIR,
        strides=_PAIR,
        padding=_PADDING,
        groups=st.sampled_from([1, 2]),
        use_bias=st.booleans(),
        num_pieces=st.integers(1, 3),
    ),
    st.builds(MaxPoolSpec, pool_size=_PAIR, strides=st.none() | _PAIR, padding=st.just(0)),
    st.builds(AveragePoolSpec, pool_size=_PAIR, strides=st.none() | _PAIR, padding=st.just(0)),
    st.builds(BatchNormalizationSpec),
    st.builds(ActivationSpec, function=st.sampled_from(ACTIVATIONS), num_pieces=st.integers(1, 3)),
    st.builds(
        LocallyConnected2DSpec,
        filters=st.integers(1, 3),
        kernel_size=_PAIR,
        strides=_PAIR,
        padding=_PADDING,
        use_bias=st.booleans(),
        activation=st.sampled_from(ACTIVATIONS),
        num_pieces=st.integers(1, 3),
    ),
    st.builds(
        LocalResponseNormalizationSpec,
        size=st.sampled_from([1, 3, 5]),
        region=st.sampled_from(["across_channels", "within_channel"]),
    ),
    st.builds(PReLUSpec),
    st.builds(DropoutSpec, rate=st.just(0.5)),
)
_FLAT = st.one_of(
    st.builds(
        DenseSpec,
        units=st.none() | st.integers(1, 5),
        use_bias=st.booleans(),
        activation=st.sampled_from(ACTIVATIONS),
        num_pieces=st.integers(1, 3),
    ),
    st.builds(
        MaxoutDenseSpec,
        units=st.none() | st.integers(1, 5),
        use_bias=st.booleans(),
        num_pieces=st.integers(1, 3),
    ),
    st.builds(BatchNormalizationSpec),
    st.builds(PReLUSpec),
    st.builds(SoftmaxSpec),
)


@given(
    spatial=st.lists(_SPATIAL, max_size=4),
    flat=st.lists(_FLAT, max_size=3),
    image_shape=st.tuples(st.integers(4, 12), st.integers(4, 12), st.sampled_from([2, 4])),
    classes=st.integers(2, 5),
)
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_random_nets_cost_what_keras_counts_or_are_refused_by_both(
    spatial: list[LayerSpec],
    flat: list[LayerSpec],
    image_shape: tuple[int, ...],
    classes: int,
) -> None:
    specs = [*spatial, FlattenSpec(), *flat]
    layers = {f"layer{number}": spec for number, spec in enumerate(specs)}
    said = []
    for function in (layer_costs, build_model):
        try:
            function(layers, image_shape=image_shape, num_classes=classes)
        except LayerError as refusal:
            said.append((refusal.layer, str(refusal)))
    if said:
        assert len(said) == 2
        assert said[0] == said[1]
    else:
        _assert_agrees(layers, image_shape, classes)


def test_a_fully_connected_layer_instead_would_have_as_many_as_counted_by_hand() -> None:
    """6×6×2 → 4×4×3 by a 3×3 kernel: 72 inputs and a bias for each of 48 outputs."""
    conv = {"conv1": Conv2DSpec(filters=3, kernel_size=3)}
    row = layer_costs(conv, image_shape=(6, 6, 2), num_classes=10)[0]
    assert row.output_shape == (4, 4, 3)
    assert row.parameters == 3 * 3 * 2 * 3 + 3
    assert row.multiply_adds == 4 * 4 * 3 * (3 * 3 * 2)
    assert row.fully_connected == 72 * 48 + 48


def test_the_first_layer_of_alexnet_has_the_numbers_of_the_paper() -> None:
    conv = {"conv1": Conv2DSpec(filters=96, kernel_size=11, strides=4)}
    row = layer_costs(conv, image_shape=(227, 227, 3), num_classes=1000)[0]
    assert row.output_shape == (55, 55, 96)
    assert row.parameters == 34_944
    assert row.multiply_adds == 105_415_200
    assert row.fully_connected == 227 * 227 * 3 * 290_400 + 290_400


def test_only_convolutions_are_compared_with_a_fully_connected_layer() -> None:
    layers = {"pool1": MaxPoolSpec(), "flatten": FlattenSpec(), "logits": DenseSpec(units=None)}
    costs = layer_costs(layers, image_shape=(4, 4, 1), num_classes=3)
    assert [row.fully_connected for row in costs] == [None, None, None]


def test_the_receptive_field_grows_with_kernels_and_strides() -> None:
    """By hand: 5; then 5 + 2·1 = 7; then 7 + 2·2 = 11; the whole image once flat."""
    layers = {
        "conv1": Conv2DSpec(filters=2, kernel_size=5),
        "pool1": MaxPoolSpec(pool_size=3, strides=2),
        "conv2": Conv2DSpec(filters=2, kernel_size=3),
        "flatten": FlattenSpec(),
    }
    costs = layer_costs(layers, image_shape=(28, 30, 1), num_classes=3)
    assert [row.receptive_field for row in costs] == [(5, 5), (7, 7), (11, 11), (28, 30)]


@pytest.mark.parametrize(
    ("layers", "name", "said"),
    [
        ({"one": DenseSpec(units=3)}, "one", "put a flatten layer before it"),
        ({"f": FlattenSpec(), "two": MaxPoolSpec()}, "two", "put it before the flatten layer"),
        ({"wide": Conv2DSpec(filters=2, kernel_size=9)}, "wide", "kernel_size=(9, 9)"),
        ({"p": MaxPoolSpec(pool_size=7)}, "p", "pool_size=(7, 7)"),
        ({"g": Conv2DSpec(filters=4, kernel_size=1, groups=4)}, "g", "groups=4"),
    ],
)
def test_a_layer_that_does_not_fit_is_named(
    layers: dict[str, LayerSpec], name: str, said: str
) -> None:
    with pytest.raises(LayerError) as refusal:
        layer_costs(layers, image_shape=(6, 6, 2), num_classes=3)
    assert refusal.value.layer == name
    assert said in str(refusal.value)
