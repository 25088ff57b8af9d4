"""A config's spec and the layer that is built from it hold the same rules and defaults."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, get_args

import pytest

from convforge.geometry import ArgumentError
from convforge.models import specs
from convforge.models.build import keras_layers

CONVOLUTION = {"filters": 4, "kernel_size": 3}
#: A spec of each kind with a layer of ours, with what it needs.
KINDS: dict[type[specs.LayerSpec], dict[str, Any]] = {
    specs.Conv2DSpec: CONVOLUTION,
    specs.MaxoutConv2DSpec: CONVOLUTION,
    specs.LocallyConnected2DSpec: CONVOLUTION,
    specs.MaxPoolSpec: {},
    specs.AveragePoolSpec: {},
    specs.MaxoutDenseSpec: {"units": 4},
    specs.LocalResponseNormalizationSpec: {},
}
#: What neither takes, by the argument's name.
REFUSED: dict[str, list[Any]] = {
    "filters": [0, -1, 1.5, True],
    "kernel_size": [0, [3], [3, 0], "3", 1.5],
    "pool_size": [0, [2, 0], "2"],
    "strides": [0, [1, 0], "1"],
    "padding": [-1, [1, -1], "full", 1.5],
    "groups": [0, 3, 1.5],
    "num_pieces": [0, 1.5, True],
    "units": [0, -1, 1.5],
    "size": [0, 2, 1.5],
    "alpha": [-1.0],
    "k": [0.0, -1.0],
}
CASES = [
    (kind, argument, value)
    for kind in KINDS
    for argument, values in REFUSED.items()
    if argument in {field.name for field in dataclasses.fields(kind)}
    for value in values
    # Of an activation, not of these layers.
    if not (argument == "num_pieces" and issubclass(kind, specs.ActivatedSpec))
]


def _layer_class(kind: type[specs.LayerSpec]) -> Any:
    return type(keras_layers("layer", kind(**KINDS[kind]))[0])


@pytest.mark.parametrize(
    ("kind", "argument", "value"), CASES, ids=lambda item: getattr(item, "__name__", str(item))
)
def test_what_the_layer_refuses_the_spec_refuses_in_the_same_words(
    kind: type[specs.LayerSpec], argument: str, value: Any
) -> None:
    given = {**KINDS[kind], argument: value}
    with pytest.raises(ArgumentError) as by_spec:
        kind(**given)
    with pytest.raises(ArgumentError) as by_layer:
        _layer_class(kind)(**given)
    assert by_spec.value.argument == by_layer.value.argument
    assert by_spec.value.allowed == by_layer.value.allowed


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_defaults_of_a_spec_are_those_of_its_layer(kind: type[specs.LayerSpec]) -> None:
    parameters = inspect.signature(_layer_class(kind).__init__).parameters
    # Those of a config that builds something of its own from them.
    own = {"activation", "kernel_initializer", "initial_bias", "max_norm", "type"}
    compared = 0
    for field in dataclasses.fields(kind):
        if field.name in own or field.name not in parameters:
            continue
        if field.default is not dataclasses.MISSING:
            assert parameters[field.name].default == field.default, field.name
            compared += 1
    assert compared >= 1


#: What kinds of the others need.
OTHERS: dict[type[specs.LayerSpec], dict[str, Any]] = {
    specs.DenseSpec: {"units": 4},
    specs.DropoutSpec: {"rate": 0.5},
    specs.ActivationSpec: {"function": "relu"},
}


@pytest.mark.parametrize("kind", get_args(specs.AnyLayerSpec))
def test_a_spec_learns_where_it_has_parameters(kind: type[specs.LayerSpec]) -> None:
    shape = (8,) if issubclass(kind, specs.FullyConnectedSpec) else (4, 4, 2)
    spec = kind(**(KINDS | OTHERS).get(kind, {}))
    assert spec.learns == bool(spec.parameters(shape))


def test_an_activation_learns_where_it_has_slopes() -> None:
    assert specs.ActivationSpec(function="prelu").learns
    assert not specs.ActivationSpec(function="maxout").learns
