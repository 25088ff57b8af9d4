"""`augment.size`: a net that sees less of an image than is stored, as AlexNet's 224 of 256."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import all_methods
import keras
import numpy as np
import pytest
import train_in_places
from PIL import Image

from convforge.augment import Augment, Augmentation, draw, draw_and_apply, numpy_ops
from convforge.augment.settings import Crop, Geometry
from convforge.errors import InputError
from convforge.geometry import ArgumentError
from convforge.pipeline import cli
from convforge.pipeline.composition import compose_config, settings_of
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.reading.stream import Stream
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.evaluate import evaluate
from convforge.pipeline.stages.preprocess import prepared
from convforge.pipeline.stages.train import train
from convforge.pipeline.training.objective import targets_of
from convforge.pipeline.training.trainer import Trainer, build_trainer
from convforge.serving.predictor import decode_image, load_predictor

SIZE = (24, 20)
SPLITS = ("data.split.validation=50", "data.split.test=100")
QUIET = Progress(Verbosity.QUIET)
ALL = dataclasses.replace(all_methods.ALL, size=SIZE)
Compose = Callable[..., Settings]


@pytest.fixture(scope="module")
def stream(digits: Path) -> Stream:
    return Stream(digits, Manifest.read(digits), 50)


@pytest.fixture(scope="module")
def sized_trainers(compose: Compose, digits: Path) -> dict[str, Trainer]:
    settings = compose("model=softmax_linear", "augment=full", "augment.size=[24,20]")
    return {
        place: build_trainer(train_in_places.at(settings, place), Manifest.read(digits), digits)
        for place in train_in_places.PLACES
    }


def _centre(images: np.ndarray) -> np.ndarray:
    return images[:, 2:26, 4:24]


def test_held_out_images_show_the_exact_pixels_of_their_centre(stream: Stream) -> None:
    for split in ("validation", "test"):
        whole, seen = stream.sequential(split), stream.sequential(split, size=SIZE)
        for (images, labels), (windows, others) in zip(whole, seen, strict=True):
            np.testing.assert_array_equal(windows, _centre(images.numpy()))
            np.testing.assert_array_equal(others, labels)


@pytest.mark.parametrize("place", train_in_places.PLACES)
def test_training_sees_each_crop_in_one_resampling_wherever_it_is_made(
    sized_trainers: dict[str, Trainer], place: str
) -> None:
    """Each image is what NumPy replays from its number, straight into the size."""
    trainer, numbered = sized_trainers[place], sized_trainers["step"].feed.training()
    settings = trainer.settings
    (inputs, _), (given, _) = next(iter(trainer.feed.training())), next(iter(numbered))
    if place == "model":
        layer = trainer.trainable.get_layer("augment")
        inputs = layer(inputs["image"], inputs["index"], inputs["epoch"], training=True)
    elif place == "step":
        inputs = trainer.trainable.augmented(inputs)  # type: ignore[attr-defined]
    replayed = draw_and_apply(
        given["image"].numpy(), settings.augment, seed=0, epoch=0, index=given["index"].numpy(),
        colour_basis=trainer.feed.stream.colour_basis(settings.augment), ops=numpy_ops,
    )  # fmt: skip
    assert replayed.shape[1:] == (*SIZE, 1)
    assert np.abs(keras.ops.convert_to_numpy(inputs) - replayed).max() < 0.05


def test_without_augmentation_training_sees_the_centre_too(stream: Stream) -> None:
    numbered = Augmentation(place="step")
    options: dict[str, Any] = {"seed": 1, "epochs": 1, "shuffle_bytes": 1 << 20}
    seen, _ = next(iter(stream.training(augmentation=Augmentation(size=SIZE), **options)))
    given, _ = next(iter(stream.training(augmentation=numbered, **options)))
    np.testing.assert_array_equal(seen, _centre(given["image"].numpy()))


def test_an_image_that_chance_leaves_uncropped_shows_its_centre() -> None:
    """And a crop lies anywhere in the image, not in the window alone."""
    images, index = all_methods.noise(64, 28, 28, 3), np.arange(64)
    half = Augmentation(crop=Crop(probability=0.5, scale=(0.5, 0.6)), size=SIZE)
    sizes: dict[str, Any] = {"image_size": (28, 28), "output_size": SIZE, "ops": numpy_ops}
    crop = draw(half, seed=0, epoch=0, index=index, **sizes)["crop"]
    spared = crop[:, 2] > 0.8
    assert 16 < spared.sum() < 48
    np.testing.assert_allclose(crop[spared], [[2 / 28, 4 / 28, 24 / 28, 20 / 28]] * spared.sum())
    assert crop[~spared, 0].min() < 2 / 28
    seen = draw_and_apply(images, half, seed=0, epoch=0, index=index, ops=numpy_ops)
    np.testing.assert_allclose(seen[spared], _centre(images)[spared], atol=0.01)


def test_the_stored_size_itself_changes_no_bit() -> None:
    images, index = all_methods.noise(16, 28, 28, 3), np.arange(16)
    options: dict[str, Any] = {"seed": 0, "epoch": 3, "index": index, "ops": numpy_ops}
    plain = draw_and_apply(images, all_methods.ALL, colour_basis=all_methods.BASIS, **options)
    sized = dataclasses.replace(all_methods.ALL, size=(28, 28))
    same = draw_and_apply(images, sized, colour_basis=all_methods.BASIS, **options)
    np.testing.assert_array_equal(same, plain)


def test_the_layer_keeps_its_size_and_shows_centres_where_it_does_not_augment() -> None:
    layer = Augment(ALL, colour_basis=all_methods.BASIS)
    images = all_methods.noise(3, 28, 28, 3)
    again = Augment.from_config(layer.get_config())
    for one in (layer, again):
        assert one.augmentation == ALL
        assert one(images, training=True).shape == (3, *SIZE, 3)
        np.testing.assert_array_equal(one(images), _centre(images))
        np.testing.assert_array_equal(one(_centre(images)), _centre(images))
    with pytest.raises(ArgumentError, match="output_size"):
        Augment(ALL, output_size=(10, 10), colour_basis=all_methods.BASIS)


@pytest.mark.integration
def test_a_run_trains_evaluates_and_predicts_on_the_size(
    compose: Compose, digits: Path, tmp_path: Path
) -> None:
    """In the training step; tests/augment/test_places.py compares the places, on JAX too."""
    settings = compose(
        "augment=full", "augment.size=[24,20]", "augment.place=step", "model=softmax_linear",
        "tracking=none", "trainer.epochs=1", "trainer.limit_steps=1",
    )  # fmt: skip
    run = tmp_path / "run"
    train(settings, digits, run, tmp_path, QUIET)
    figures = evaluate(settings, run, digits, tmp_path / "evaluated", tmp_path, QUIET)
    assert figures["test_images"] == 100
    predictor = load_predictor(run)
    assert predictor.card.image_shape == [24, 20, 1]
    pixels = all_methods.noise(1, 28, 28, 1)
    Image.fromarray(pixels[0, :, :, 0]).save(tmp_path / "noise.png")
    # Of a file of another size: first what is stored of it, then the centre of that.
    Image.fromarray(pixels[0, :, :, 0]).resize((56, 56), 0).save(tmp_path / "large.png")
    seen = decode_image((tmp_path / "noise.png").read_bytes(), predictor.card)
    np.testing.assert_array_equal(seen, _centre(pixels)[0])
    assert decode_image((tmp_path / "large.png").read_bytes(), predictor.card).shape == (24, 20, 1)
    assert predictor.outputs(seen[None]).shape == (1, 10)
    other = compose("augment.size=[20,20]", "model=softmax_linear", "tracking=none")
    with pytest.raises(InputError, match=r"another augment\.size"):
        evaluate(other, run, digits, tmp_path / "evaluated", tmp_path, QUIET)


@pytest.mark.integration
def test_drawn_labels_are_those_of_the_smaller_images(
    compose: Compose, digits: Path, stream: Stream
) -> None:
    """Shifts are pixels of what the net sees: a tenth of 20 and of 24 at most."""
    settings = compose(
        "task=regression", "loss=mse", "task.drawn=[translation_right,translation_down]",
        "augment.size=[24,20]",
    )  # fmt: skip
    options: dict[str, Any] = {
        "augmentation": settings.augment, "targets": settings.drawn_targets, "seed": 0,
    }  # fmt: skip
    trained = next(iter(stream.training(**options, epochs=1, shuffle_bytes=1 << 20)))
    tested = next(iter(stream.sequential("test", **options)))
    for images, labels in (trained, tested):
        assert images.shape[1:] == (*SIZE, 1)
        right, down = np.abs(labels).max(axis=0)
        assert 1.5 < right <= 2.0 < down <= 2.4
    targets = targets_of(
        settings.task, settings.loss, settings.augment, settings.seed, Manifest.read(digits)
    )
    assert targets is not None
    # Uniform in ±2: 2 / √3.
    assert targets.std[0] == pytest.approx(2 / 3**0.5, rel=0.05)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("augment.size=[29,28]", "augment.size=[29, 28] is not allowed"),
        ("augment.size=[28,29]", "augment.size=[28, 29] is not allowed"),
        ("augment.size=[0,28]", "augment.size=[0, 28] is not allowed"),
        ("augment.size=[28]", "augment.size.1 is missing"),
        ("augment.size=28", "augment.size=28"),
        ("augment.size=[20.5,20]", "augment.size.0=20.5"),
    ],
)
def test_a_wrong_size_is_refused_when_composed(compose: Compose, override: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        compose(override)
    assert str(refused.value).startswith(said)


def test_a_size_beyond_the_images_is_refused_when_they_are_known(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`data.geometry=as_is` without a size: only the images themselves tell theirs."""
    overrides = ["data.size=null", "data.geometry=as_is", "augment.size=[40,40]", *SPLITS]
    settings = settings_of(compose_config(project, overrides))
    data = prepared(settings.data, project, QUIET)
    said = r"augment\.size=\[40, 40\] is not allowed: give null, or at most .*\[28, 28\]"
    with pytest.raises(ArgumentError, match=said):
        build_trainer(settings, Manifest.read(data), data)
    assert cli.main(["preview-augment", "-q", *overrides]) == 2
    assert "error: augment.size=[40, 40]" in capsys.readouterr().err
    with pytest.raises(ArgumentError, match="size"):
        draw_and_apply(np.zeros((1, 8, 8, 3)), Augmentation(size=(9, 8)), seed=0, epoch=0,
                       index=np.zeros(1, int), ops=numpy_ops)  # fmt: skip


def test_alexnet_on_imagenet_is_the_papers(
    compose: Compose, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """224×224 of 256×256 at the images' own scale, and 60,965,224 parameters."""
    settings = settings_of(compose_config(project, ["experiment=alexnet"]))
    assert settings.model.nominal_input is not None
    shape = settings.input_shape((256, 256, 3))
    assert shape == tuple(settings.model.nominal_input.image)
    assert sum(row.parameters for row in settings.costs(shape, 1000)) == 60_965_224
    drawn = draw(
        settings.augment, seed=0, epoch=0, index=np.arange(500), image_size=(256, 256),
        output_size=(224, 224), ops=numpy_ops,
    )  # fmt: skip
    np.testing.assert_allclose(drawn["crop"][:, 2:], 224 / 256, rtol=1e-6)
    np.testing.assert_allclose(np.abs(drawn["matrix"][:, 0, 0]), 1.0, rtol=1e-6)
    corners = drawn["crop"][:, :2] * 256
    assert corners.min() < 1
    assert corners.max() > 31
    by_hand = ["data=imagenet", "model=alexnet", "augment=alexnet", "augment.size=[224,224]"]
    for overrides in (["experiment=alexnet"], by_hand):
        assert cli.main(["summary", *overrides]) == 0
        assert "60,965,224" in capsys.readouterr().out
    # The group alone works on data of any size.
    assert compose("augment=alexnet").input_shape((28, 28, 1)) == (28, 28, 1)


def test_geometry_turns_about_the_centre_of_the_window() -> None:
    """Half a turn of an image's centre window is the window reversed, off the image's middle too.

    In 27×28 the window of 24 rows begins at row 1 and leaves two below.
    """
    images = all_methods.noise(4, 27, 28, 3)
    turned = Augmentation(geometry=Geometry(rotation=180.0), size=SIZE)
    index = np.arange(20_000)
    sizes: dict[str, Any] = {"image_size": (27, 28), "output_size": SIZE, "ops": numpy_ops}
    angles = draw(turned, seed=0, epoch=0, index=index, **sizes)["rotation"]
    furthest = np.argsort(-np.abs(angles))[:4]
    assert np.abs(angles[furthest]).min() > 179.9
    seen = draw_and_apply(images, turned, seed=0, epoch=0, index=furthest, ops=numpy_ops)
    window = images[:, 1:25, 4:24].astype(float)
    assert np.abs(seen - window[:, ::-1, ::-1])[:, 1:-1, 1:-1].mean() < 1.5
