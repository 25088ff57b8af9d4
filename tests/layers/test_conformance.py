"""Every layer: symbolic shapes, unknown sizes, serialization, precision, both data formats."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import conformance
import keras
import pytest

from convforge import layers

MAP = (7, 6, 4)
CASES = {
    "convolution": (partial(layers.Conv2D, 4, 3, 2, ((0, 2), (1, 1)), activation="relu"), MAP),
    "convolution_flipped": (partial(layers.Conv2D, 4, 3, padding=1, mode="convolution"), MAP),
    "convolution_groups": (partial(layers.Conv2D, 4, 3, groups=2, use_bias=False), MAP),
    "maxout_convolution": (partial(layers.MaxoutConv2D, 3, 3, 2, padding=1), MAP),
    "maxout_convolution_groups": (partial(layers.MaxoutConv2D, 4, 2, 3, groups=2), MAP),
    "maxout": (partial(layers.Maxout, 2), MAP),
    "maxout_flat": (partial(layers.Maxout, 4), (8,)),
    "maxout_dense": (partial(layers.MaxoutDense, 5, 3), (8,)),
    "prelu": (layers.PReLU, MAP),
    "prelu_all": (partial(layers.PReLU, "all"), MAP),
    "prelu_none": (partial(layers.PReLU, "none"), MAP),
    "max_pooling": (partial(layers.MaxPooling2D, 3, 2, 1), MAP),
    "max_pooling_same": (partial(layers.MaxPooling2D, 3, 2, "same"), MAP),
    "average_pooling": (partial(layers.AveragePooling2D, 3, 2, 1), MAP),
    "average_pooling_same": (partial(layers.AveragePooling2D, 3, 2, "same"), MAP),
    "response_normalization": (partial(layers.LocalResponseNormalization, 3, 0.1), MAP),
    "response_normalization_within": (
        partial(layers.LocalResponseNormalization, 3, 0.1, region="within_channel"),
        MAP,
    ),
    "local_convolution": (partial(layers.LocallyConnected2D, 3, 3, 2, 1), MAP),
}
every_layer = pytest.mark.parametrize(("make", "shape"), CASES.values(), ids=CASES)


def test_every_public_layer_is_checked_here() -> None:
    public = {value for value in vars(layers).values() if isinstance(value, type)}
    checked = {make.func if isinstance(make, partial) else make for make, _ in CASES.values()}
    assert checked == public


@every_layer
def test_symbolic_shape_is_the_real_one(make: conformance.Make, shape: tuple[int, ...]) -> None:
    conformance.check_symbolic_shape(make, shape)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        pytest.param(make, shape, id=name)
        for name, (make, shape) in CASES.items()
        # These have weights for each place, which an unknown size cannot give.
        if len(shape) == 3 and name not in ("local_convolution", "prelu_none")
    ],
)
def test_batch_and_spatial_size_may_be_unknown(
    make: conformance.Make, shape: tuple[int, ...]
) -> None:
    conformance.check_unknown_size(make, shape)


@every_layer
def test_config_rebuilds_and_clones_the_layer(
    make: conformance.Make, shape: tuple[int, ...]
) -> None:
    conformance.check_config(make, shape)


@every_layer
def test_saved_models_load_without_custom_objects(
    make: conformance.Make, shape: tuple[int, ...], tmp_path: Path
) -> None:
    conformance.check_saving(make, shape, tmp_path)


@every_layer
def test_mixed_precision_computes_in_half_and_keeps_full_weights(
    make: conformance.Make, shape: tuple[int, ...]
) -> None:
    conformance.check_mixed_precision(make, shape)


# In half precision one of each kind trains here, and all of them in `make test-slow`.
HALVES = ("convolution", "maxout_convolution_groups", "prelu", "average_pooling", "maxout_dense",
          "response_normalization", "local_convolution")  # fmt: skip


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        *((name, "float32") for name in CASES),
        *(
            pytest.param(name, "mixed_bfloat16", marks=[pytest.mark.slow][name in HALVES :])
            for name in CASES
        ),
    ],
)
def test_fit_changes_every_weight(name: str, policy: str) -> None:
    conformance.check_training(*CASES[name], policy)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        pytest.param(make, shape, id=name)
        for name, (make, shape) in CASES.items()
        if len(shape) == 3
    ],
)
def test_channels_first_is_channels_last_transposed(
    make: conformance.Make, shape: tuple[int, ...], request: pytest.FixtureRequest
) -> None:
    convolves = "convolution" in request.node.callspec.id and "local" not in request.node.name
    if convolves and keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow has no channels_first convolution on a CPU")
    conformance.check_channels_first(make, shape)
