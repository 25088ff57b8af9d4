"""Two layers of one seed agree, seeds differ, and neither a policy nor a reload changes a draw."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import all_methods
import keras
import numpy as np
import pytest

from convforge.augment import Augment

IMAGES = all_methods.noise(6, 20, 24, 3)


def _layer(seed: int = 4, **options: object) -> Augment:
    return Augment(all_methods.ALL, colour_basis=all_methods.BASIS, seed=seed, **options)


def _augmented(layer: Augment, calls: int = 1) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(layer(IMAGES, training=True)) for _ in range(calls)]


def test_layers_of_the_same_seed_agree_call_by_call() -> None:
    first, second = _augmented(_layer(), calls=3), _augmented(_layer(), calls=3)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first[0] - first[1]).mean() > 1, "each call draws anew"


def test_layers_of_different_seeds_differ() -> None:
    (first,), (second,) = _augmented(_layer(4)), _augmented(_layer(5))
    assert np.abs(first - second).mean(axis=(1, 2, 3)).min() > 1


def test_inference_between_training_calls_changes_no_draw() -> None:
    plain, disturbed = _layer(), _layer()
    expected = _augmented(plain, calls=2)
    first = _augmented(disturbed)
    np.testing.assert_array_equal(disturbed(IMAGES, training=False), IMAGES)
    np.testing.assert_array_equal([*first, *_augmented(disturbed)], expected)
    assert int(disturbed.calls) == 2


def test_a_policy_of_half_precision_leaves_the_grey_levels_alone() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        layer = _layer()
        levels = np.arange(480, dtype="float32").reshape(1, 20, 24, 1) / 2
        out = Augment()(levels + 0.125)
        (augmented,) = _augmented(layer)
    finally:
        keras.config.set_dtype_policy(before)
    np.testing.assert_array_equal(out, levels + 0.125)
    np.testing.assert_array_equal(augmented, _augmented(_layer())[0])


def test_it_has_nothing_to_learn() -> None:
    layer = _layer()
    _augmented(layer)
    assert layer.trainable_weights == []
    assert [weight.name for weight in layer.weights] == ["calls"]


def test_a_reloaded_model_goes_on_where_the_saved_one_was(tmp_path: Path) -> None:
    inputs = keras.Input((20, 24, 3), dtype="uint8")
    layer = _layer(name="augment", output_size=(16, 12))
    model = keras.Model(inputs, layer(inputs))
    for _ in range(3):
        model(IMAGES, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    again = loaded.get_layer("augment")
    assert (again.augmentation, again.output_size, again.seed) == (all_methods.ALL, (16, 12), 4)
    assert int(again.calls) == 3
    np.testing.assert_array_equal(loaded(IMAGES, training=True), model(IMAGES, training=True))
    np.testing.assert_array_equal(loaded(IMAGES), model(IMAGES))


@pytest.mark.parametrize("size", [(20, 24), (16, 12)])
def test_the_shape_it_announces_is_the_one_it_gives(size: tuple[int, int]) -> None:
    layer = _layer(output_size=size)
    announced = layer.compute_output_shape((6, 20, 24, 3))
    assert announced == layer(IMAGES, training=True).shape == (6, *size, 3)


@pytest.mark.integration
def test_draw_can_be_the_first_to_import_keras() -> None:
    """Keras registers the layer as soon as it is imported, in the midst of `draw`'s own module."""
    code = "from convforge.augment import draw"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        # The quickest to import; which one it is makes no difference here.
        env={**os.environ, "KERAS_BACKEND": "numpy"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
