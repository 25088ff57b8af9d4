"""The layer does in a model what `draw` and `apply` do outside, and keeps count across files."""

from __future__ import annotations

from pathlib import Path

import all_methods
import keras
import numpy as np
import pytest

from convforge.augment import Augment, apply, draw, numpy_ops
from convforge.augment.settings import Augmentation

IMAGES = all_methods.noise(8, 20, 24, 3)
SIZE = (20, 24)


def layer(**kwargs: object) -> Augment:
    return Augment(all_methods.ALL, colour_basis=all_methods.BASIS, seed=4, **kwargs)


def expected(call: int) -> np.ndarray:
    drawn = draw(
        all_methods.ALL, seed=4, epoch=call, index=np.arange(8), image_size=SIZE, output_size=SIZE,
        ops=numpy_ops,
    )  # fmt: skip
    return apply(IMAGES, drawn, output_size=SIZE, colour_basis=all_methods.BASIS, ops=numpy_ops)


def model(augment: Augment) -> keras.Model:
    layers = [keras.Input((*SIZE, 3), dtype="uint8"), augment, keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dense(2)])


def test_the_nth_training_call_is_epoch_n_of_draw() -> None:
    augment = layer()
    for call in range(3):
        pixels = keras.ops.convert_to_numpy(augment(IMAGES, training=True))
        assert np.abs(pixels - expected(call)).max() < 0.01


def test_inference_leaves_images_alone_and_does_not_count() -> None:
    augment = layer()
    assert np.array_equal(keras.ops.convert_to_numpy(augment(IMAGES)), IMAGES)
    assert int(augment.calls) == 0


def test_an_output_size_resizes_in_training_and_in_inference() -> None:
    augment = layer(output_size=(10, 13))
    assert augment.compute_output_shape((None, 20, 24, 3)) == (None, 10, 13, 3)
    for training in (True, False):
        assert augment(IMAGES, training=training).shape == (8, 10, 13, 3)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_training_counts_every_step(jit_compile: bool) -> None:
    network = model(layer(name="augment"))
    network.compile("sgd", "mse", jit_compile=jit_compile)
    network.fit(IMAGES, np.zeros((8, 2)), batch_size=4, epochs=3, verbose=0)
    assert int(network.get_layer("augment").calls) == 6


def test_a_saved_model_goes_on_counting_and_augments_the_same(tmp_path: Path) -> None:
    network = model(layer(name="augment"))
    network(IMAGES, training=True)
    network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    first, second = network(IMAGES, training=True), loaded(IMAGES, training=True)
    assert np.array_equal(first, second)
    assert int(loaded.get_layer("augment").calls) == 2


def test_the_configuration_round_trips() -> None:
    again = Augment.from_config(layer().get_config())
    assert again.augmentation == all_methods.ALL
    assert np.array_equal(again.colour_basis, all_methods.BASIS.astype("float32"))


def test_without_settings_it_does_nothing() -> None:
    assert np.array_equal(Augment(Augmentation())(IMAGES, training=True), IMAGES)
