"""Local response normalisation against a NumPy loop and PyTorch's own."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
from numeric import FORWARD_ERROR, assert_gradients_match, relative_error

from convforge.geometry import ArgumentError
from convforge.layers import LocalResponseNormalization

RNG = np.random.default_rng(0)
REGIONS = ("across_channels", "within_channel")


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(2, 4, 5, 7), (1, 1, 1, 1)])
def test_forward_equals_a_loop(region: str, size: int, shape: tuple[int, ...]) -> None:
    images = RNG.normal(size=shape)
    settings = {"size": size, "alpha": 0.3, "beta": 0.75, "k": 2.0, "region": region}
    expected = oracles.response_normalization(images, **settings)
    actual = LocalResponseNormalization(**settings)(images.astype("float32"))
    assert relative_error(actual, expected) <= FORWARD_ERROR


@pytest.mark.parametrize("region", REGIONS)
def test_gradients_equal_finite_differences(region: str) -> None:
    settings = {"size": 3, "alpha": 0.3, "beta": 0.75, "k": 2.0, "region": region}
    assert_gradients_match(
        LocalResponseNormalization(**settings),
        lambda x: oracles.response_normalization(x, **settings),
        RNG.normal(size=(1, 3, 4, 5)),
    )


def test_defaults_are_the_papers() -> None:
    images = 30 * RNG.normal(size=(1, 2, 2, 9))
    expected = oracles.response_normalization(images, 5, 1e-4, 0.75, 2.0, "across_channels")
    actual = LocalResponseNormalization()(images.astype("float32"))
    assert relative_error(actual, expected) <= FORWARD_ERROR


def test_half_precision_does_not_overflow_in_the_squares() -> None:
    images = np.full((1, 1, 1, 3), 400.0)
    expected = oracles.response_normalization(images, 3, 1e-4, 0.75, 2.0, "across_channels")
    actual = LocalResponseNormalization(3, dtype="mixed_float16")(images.astype("float32"))
    assert relative_error(actual, expected) <= 2e-3


@pytest.mark.backends
def test_alpha_divided_by_the_size_is_pytorchs() -> None:
    import torch

    images = RNG.normal(size=(2, 3, 4, 6)).astype("float32")
    expected = torch.nn.functional.local_response_norm(
        torch.tensor(images.transpose(0, 3, 1, 2)), 5, alpha=0.5, beta=0.75, k=2.0
    )
    actual = LocalResponseNormalization(5, alpha=0.5 / 5)(images)
    assert relative_error(actual, expected.numpy().transpose(0, 2, 3, 1)) <= FORWARD_ERROR


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"size": 4}, "size=4"),
        ({"alpha": -1.0}, "alpha=-1.0"),
        ({"k": 0}, "k=0"),
        ({"region": "both"}, "region='both'"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(ArgumentError, match=f"LocalResponseNormalization 'norm1': {named}"):
        LocalResponseNormalization(name="norm1", **arguments)
