"""Every public name of the library: its arguments typed, spelled out and described."""

from __future__ import annotations

import inspect
import re
from typing import Any

import keras
import pytest

from convforge import augment, geometry, layers, losses, optimizers
from convforge.augment import settings, window
from convforge.models import build, summary

# What a backend makes has no type that all of them know.
TENSORS = {
    "images", "inputs", "index", "parameters", "seed", "epoch", "ops", "value", "y_true", "y_pred",
}  # fmt: skip
SECTIONS = ("Shapes", "Args", "Attributes", "Returns", "Raises", "Example", "References")


def public() -> dict[str, Any]:
    found = {}
    packages = (augment, layers, optimizers)
    modules = (geometry, losses, settings, window, build, summary)
    for module in (*packages, *modules):
        for name in getattr(module, "__all__", None) or vars(module):
            value = getattr(module, name)
            made_here = getattr(value, "__module__", "").startswith(module.__name__)
            if callable(value) and made_here and not name.startswith("_"):
                found[name] = value
    return found


PUBLIC = public()
every_name = pytest.mark.parametrize("value", PUBLIC.values(), ids=PUBLIC)


def own_parameters(value: Any) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(value).parameters
    return {name: found for name, found in parameters.items() if name != "self"}


def described(value: Any, section: str = "Args") -> set[str]:
    """The names that a section of the docstring describes."""
    text = inspect.getdoc(value) or ""
    found = re.search(rf"^{section}:\n((?: +.*\n|\n)+)", text + "\n", re.MULTILINE)
    return set(re.findall(r"^    \**(\w+): ", found[1], re.MULTILINE)) if found else set()


def test_the_library_is_all_here() -> None:
    assert {"Conv2D", "MomentumSGD", "Hinge", "Augment", "draw", "output_size"} <= PUBLIC.keys()
    assert len(PUBLIC) > 45


@every_name
def test_arguments_are_spelled_out_and_none_hides_in_kwargs(value: Any) -> None:
    parameters = own_parameters(value)
    # A settings class describes its fields as attributes, and takes nothing else.
    assert (described(value) or described(value, "Attributes")) == parameters.keys()
    if not (inspect.isclass(value) and issubclass(value, keras.layers.Layer)):
        assert not any(p.kind is p.VAR_KEYWORD for p in parameters.values())


@every_name
def test_arguments_have_types_that_say_what_may_be_given(value: Any) -> None:
    for name, parameter in own_parameters(value).items():
        if parameter.kind is parameter.VAR_KEYWORD or name in TENSORS:
            continue
        assert parameter.annotation is not inspect.Parameter.empty, name
        assert parameter.annotation not in (Any, "Any"), name


@every_name
def test_docstrings_are_of_one_dialect(value: Any) -> None:
    text = inspect.getdoc(value) or ""
    assert text.split("\n")[0].endswith((".", ":")), "the first line is a sentence"
    headings = re.findall(r"^([A-Z]\w+):$", text, re.MULTILINE)
    assert set(headings) <= {*SECTIONS}
    assert headings == sorted(headings, key=SECTIONS.index), "sections in their order"
    assert not re.search(r"\[(B|H|W|C)[\],]", text), "shapes are `(batch, height, …)`"


REQUIRED = {"filters": 4, "kernel_size": 3, "units": 4}
# For each argument a value that no class has by default.
OTHER = {
    "activation": "tanh", "alpha": 0.3, "alpha_constraint": "non_neg", "alpha_initializer": 0.1,
    "alpha_regularizer": "l2", "beta": 0.3, "bias_constraint": "unit_norm",
    "bias_initializer": "ones", "bias_regularizer": "l1", "clipnorm": 0.3, "clipvalue": 0.3,
    "count_padding": True, "data_format": "channels_first", "decay_factors": {"a": 2.0},
    "ema_momentum": 0.3, "ema_overwrite_frequency": 3, "filters": 6, "global_clipnorm": 0.3,
    "gradient_accumulation_steps": 3, "groups": 2, "k": 0.3, "kernel_constraint": "non_neg",
    "kernel_initializer": "zeros", "kernel_regularizer": "l2", "kernel_size": 5,
    "learning_rate": 0.3, "learning_rate_factors": {"a": 2.0}, "loss_scale_factor": 0.3,
    "mode": "convolution", "momentum": 0.3, "name": "other", "no_decay": ["a"], "num_pieces": 3,
    "padding": 1, "pool_size": 3, "reduction": "sum", "region": "within_channel", "shared": "all",
    "size": 3, "strides": 4, "units": 6, "use_bias": False, "use_ema": True, "weight_decay": 0.3,
}  # fmt: skip
SAVED = [
    (made, name)
    for made in [*map(PUBLIC.get, layers.__all__), optimizers.MomentumSGD, losses.Hinge]
    if inspect.isclass(made)
    for name in sorted(own_parameters(made).keys() - {"kwargs", "dtype"})
]


@pytest.mark.parametrize(
    ("made", "name"), SAVED, ids=[f"{made.__name__}-{name}" for made, name in SAVED]
)
def test_what_is_given_reaches_the_config_and_comes_back_out_of_it(made: Any, name: str) -> None:
    required = {key: REQUIRED[key] for key in own_parameters(made).keys() & REQUIRED.keys()}
    # An optimizer overwrites its weights by their average only where it keeps one.
    also = {"use_ema": True} if name == "ema_overwrite_frequency" else {}
    plain = made(**{**required, **also}).get_config()
    given = made(**{**required, **also, name: OTHER[name]}).get_config()
    assert given[name] != plain[name]
    assert {key for key in given if given[key] != plain[key]} <= {name, "name", "strides"}
    assert made.from_config(dict(given)).get_config() == given
