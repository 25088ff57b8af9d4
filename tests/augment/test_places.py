"""In the input pipeline, in a layer or in the training step: the same images, the same training."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import train_in_places
from omegaconf import OmegaConf

from convforge.augment import draw, numpy_ops
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.reading.stream import Stream
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.train import dump
from convforge.pipeline.training.trainer import Trainer, build_trainer
from convforge.serving.predictor import load_predictor

SHORT = (
    *("tracking=none", "model=softmax_linear", "augment=full"),
    *("trainer.epochs=2", "trainer.limit_steps=2"),
)


@pytest.fixture(scope="module")
def settings(compose: Callable[..., Settings]) -> Settings:
    return compose(*SHORT)


@pytest.fixture(scope="module")
def trainers(settings: Settings, digits: Path) -> dict[str, Trainer]:
    manifest = Manifest.read(digits)
    return {
        place: build_trainer(train_in_places.at(settings, place), manifest, digits)
        for place in train_in_places.PLACES
    }


def _seen(trainer: Trainer) -> Callable[[Any], np.ndarray]:
    """What the first layer of the net sees of the inputs of a training batch."""
    place = trainer.settings.augment.place
    if place == "model":
        layer = trainer.trainable.get_layer("augment")
        first = keras.Model(trainer.trainable.input, layer.output)
        return lambda inputs: keras.ops.convert_to_numpy(first(inputs, training=True))
    if place == "step":
        return lambda inputs: keras.ops.convert_to_numpy(trainer.trainable.augmented(inputs))
    return lambda inputs: inputs.numpy()


def test_every_place_shows_the_net_the_same_images_epoch_by_epoch(
    trainers: dict[str, Trainer],
) -> None:
    """Four batches: two of the first epoch, two of the second."""
    batches = {place: list(trainer.feed.training().take(4)) for place, trainer in trainers.items()}
    expected = [images.numpy() for images, _ in batches["input"]]
    for place in ("model", "step"):
        seen = _seen(trainers[place])
        for (inputs, labels), images, (_, others) in zip(
            batches[place], expected, batches["input"], strict=True
        ):
            assert inputs["image"].dtype == "uint8"
            np.testing.assert_array_equal(labels, others)
            assert np.abs(seen(inputs) - images).max() < 0.05
            assert np.abs(inputs["image"] - images).mean() > 5, "the images are moved"


def test_every_place_draws_the_same_parameters(
    trainers: dict[str, Trainer], settings: Settings
) -> None:
    """Exactly: they follow from the numbers that a batch brings along."""
    sizes: dict[str, Any] = {"image_size": (28, 28), "output_size": (28, 28)}
    for place in ("model", "step"):
        inputs, _ = list(trainers[place].feed.training().take(3))[-1]
        index, epoch = inputs["index"], inputs["epoch"]
        assert set(epoch.numpy()) == {1}
        there = draw(settings.augment, seed=settings.seed, epoch=epoch, index=index, **sizes)
        by_numpy = draw(
            settings.augment, seed=settings.seed, epoch=1, index=index.numpy(), ops=numpy_ops,
            **sizes,
        )  # fmt: skip
        for name, value in by_numpy.items():
            np.testing.assert_array_equal(there[name], value)


def test_no_place_augments_when_it_evaluates_or_predicts(trainers: dict[str, Trainer]) -> None:
    numbered, _ = next(iter(trainers["model"].feed.training()))
    for place, trainer in trainers.items():
        inputs = numbered["image"] if place == "input" else numbered
        plain = trainer.model.predict(numbered["image"], verbose=0)
        logits = trainer.trainable.predict(inputs, verbose=0)
        np.testing.assert_allclose(keras.ops.softmax(logits), plain, atol=1e-6)
        trainer.trainable.compile(loss="mse")
        zero = np.zeros_like(logits)
        loss = trainer.trainable.evaluate(inputs, zero, verbose=0)
        assert loss == pytest.approx(float(np.mean(logits**2)), rel=1e-5)


@pytest.fixture(scope="module")
def trained(
    settings: Settings, digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("places")
    return folder, train_in_places.trained(settings, digits, folder)


def _assert_all_places_agree(found: dict[str, np.ndarray]) -> None:
    for place in ("model", "step"):
        np.testing.assert_allclose(found[place], found["input"], atol=1e-5)
        validation = found[f"{place} validation"]
        np.testing.assert_allclose(validation, found["input validation"], rtol=1e-4)


@pytest.mark.integration
def test_training_comes_to_the_same_weights_and_figures_in_every_place(
    trained: tuple[Path, dict[str, np.ndarray]], trainers: dict[str, Trainer]
) -> None:
    _, found = trained
    _assert_all_places_agree(found)
    assert np.abs(found["input"]).max() > 1e-3


@pytest.mark.integration
def test_no_saved_model_holds_an_augmentation(
    trained: tuple[Path, dict[str, np.ndarray]],
) -> None:
    names = [
        [layer.name for layer in load_predictor(trained[0] / place).model.layers]
        for place in train_in_places.PLACES
    ]
    assert names[0] == names[1] == names[2]
    assert "augment" not in names[0]


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_training_on_other_backends_agrees_in_every_place(
    backend: str, settings: Settings, digits: Path, tmp_path: Path
) -> None:
    assert importlib.util.find_spec(backend), f"no {backend}: make test-backends installs it"
    config = tmp_path / "config.yaml"
    # JAX compiles for one shape: here training and held-out images come in two.
    size = (24, 20) if backend == "jax" else None
    augmentation = dataclasses.replace(settings.augment, size=size)
    settings = settings.model_copy(update={"augment": augmentation})
    config.write_text(OmegaConf.to_yaml(OmegaConf.create(dump(settings))))
    script = Path(__file__).with_name("train_in_places.py")
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:keras", script, config, digits, tmp_path],
        env={**os.environ, "KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    _assert_all_places_agree(dict(np.load(tmp_path / "results.npz")))


def test_held_out_images_come_with_their_numbers_where_the_model_asks_for_them(
    trainers: dict[str, Trainer],
) -> None:
    stream: Stream = trainers["model"].feed.stream
    plain = list(stream.sequential("validation"))
    numbered = list(stream.sequential("validation", numbered=True))
    for (images, labels), (inputs, others) in zip(plain, numbered, strict=True):
        np.testing.assert_array_equal(inputs["image"], images)
        np.testing.assert_array_equal(labels, others)
    indices = np.concatenate([inputs["index"] for inputs, _ in numbered])
    np.testing.assert_array_equal(indices, np.arange(50))


@pytest.mark.slow
def test_predicting_the_rotation_has_the_same_labels_in_every_place(
    compose: Callable[..., Settings], digits: Path
) -> None:
    turned = ("task=regression", "loss=mse", "task.drawn=[rotation]", "augment=light")
    settings, manifest = compose(*SHORT[:2], *turned), Manifest.read(digits)
    found = []
    for place in train_in_places.PLACES:
        trainer = build_trainer(train_in_places.at(settings, place), manifest, digits)
        labels = [labels.numpy() for _, labels in trainer.feed.training().take(3)]
        (held_out, _), *_ = trainer.feed.validation()
        images = held_out if place == "input" else held_out["image"]
        found.append([*labels, images.numpy()])
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            np.testing.assert_allclose(one, same, atol=1e-3)
