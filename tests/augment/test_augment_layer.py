"""The layer does in a model what `draw` and `apply` do outside, and keeps count across files."""

from __future__ import annotations

from pathlib import Path

import all_methods
import keras
import numpy as np
import pytest

from convforge.augment import Augment, apply, draw, draw_and_apply, numpy_ops
from convforge.augment.settings import Augmentation
from convforge.geometry import ArgumentError

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


def test_with_numbers_of_examples_and_epochs_it_draws_what_draw_does_in_any_order() -> None:
    order = np.array([5, 0, 7, 2, 1, 6, 4, 3])
    augment = layer()
    for epoch in (2, np.full(8, 2)):
        pixels = augment(IMAGES[order], index=order, epoch=epoch, training=True)
        assert np.abs(keras.ops.convert_to_numpy(pixels) - expected(2)[order]).max() < 0.01
    assert augment.weights == [], "nothing to count, nothing to save"


def test_images_of_several_epochs_may_lie_in_one_batch() -> None:
    epochs = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    pixels = layer()(IMAGES, index=np.arange(8), epoch=epochs, training=True)
    wanted = np.stack([expected(epoch)[row] for row, epoch in enumerate(epochs)])
    assert np.abs(keras.ops.convert_to_numpy(pixels) - wanted).max() < 0.01


def test_a_model_may_take_the_numbers_as_inputs_and_be_saved(tmp_path: Path) -> None:
    inputs = [
        keras.Input((*SIZE, 3), name="image"),
        *(keras.Input((), dtype="int32", name=name) for name in ("index", "epoch")),
    ]
    augment = layer(name="augment")
    network = keras.Model(inputs, augment(inputs[0], index=inputs[1], epoch=inputs[2]))
    batch = [IMAGES, np.arange(8), np.full(8, 1)]
    network.save(tmp_path / "model.keras")
    for one in (network, keras.models.load_model(tmp_path / "model.keras")):
        pixels = keras.ops.convert_to_numpy(one(batch, training=True))
        assert np.abs(pixels - expected(1)).max() < 0.01
        assert np.array_equal(one(batch), IMAGES)


def test_an_index_without_an_epoch_is_refused() -> None:
    with pytest.raises(ValueError, match="index and epoch, or neither"):
        layer()(IMAGES, index=np.arange(8), training=True)


def test_colour_without_its_basis_is_refused() -> None:
    """It would alter nothing, and nobody would notice."""
    with pytest.raises(ArgumentError, match=r"colour_basis=None.*colour\.strength is above 0"):
        Augment(all_methods.ALL)
    with pytest.raises(ArgumentError, match="colour_basis=None"):
        draw_and_apply(IMAGES, all_methods.ALL, seed=0, epoch=0, index=np.arange(8))
    Augment(Augmentation(geometry=all_methods.GEOMETRY))
