"""`convforge explain`: a picture for every kind of model, or one line that says why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from convforge.models import specs
from convforge.models.build import build_model, with_units
from convforge.pipeline import cli
from convforge.pipeline.report.style import WIDTH
from convforge.serving.model_card import ModelCard
from convforge.serving.predictor import save_model

CLASSES = ["cat", "a class with a name that is much longer than any picture has room for", "$5\n"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, str], Path]:
    """The folder of a small net of so many channels, for classes or for numbers."""
    folder = tmp_path_factory.mktemp("models")

    def saved(channels: int, kind: str) -> Path:
        path = folder / f"{kind}{channels}"
        if path.exists():
            return path
        keras.utils.set_random_seed(3)
        layers: dict[str, specs.LayerSpec] = {
            "conv1": specs.MaxoutConv2DSpec(filters=2, kernel_size=3, num_pieces=2),
            "pool1": specs.MaxPoolSpec(pool_size=3, strides=2),
            "conv2": specs.Conv2DSpec(filters=3, kernel_size=3, activation="prelu"),
            "flatten": specs.FlattenSpec(),
            "outputs": specs.DenseSpec(units=None),
        }
        if kind == "classes":
            layers["softmax"] = specs.SoftmaxSpec()
        model = build_model(layers, image_shape=(12, 12, channels), num_classes=3)
        names = {"classes": CLASSES} if kind == "classes" else {"classes": [], "targets": CLASSES}
        if kind == "numbers":
            model = with_units(model, mean=[0.0] * 3, std=[1.0] * 3)
        shape = [12, 12, channels]
        card = ModelCard(name=kind, image_shape=shape, data_digest="", version="1", **names)
        save_model(path, model, card)
        return path

    return saved


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: five images and a text in `images/`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    return tmp_path


def explained(*arguments: object) -> int:
    try:
        return cli.main(["explain", *map(str, arguments)])
    except SystemExit as end:
        return int(end.code or 0)


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@pytest.mark.parametrize("kind", ["classes", "numbers"])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_draws_beside_where_one_is_and_says_where(
    models: Callable[[int, str], Path],
    here: Path,
    capsys: pytest.CaptureFixture[str],
    channels: int,
    kind: str,
) -> None:
    assert explained(models(channels, kind), "images/0.png") == 0
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == f"picture: {here / 'explanation.png'}"
    picture = pixels_of(here / "explanation.png")
    assert picture.shape[1] == WIDTH
    red, _, blue = picture.transpose(2, 0, 1)
    if channels == 1:  # All else is grey: the orange of what speaks for the class.
        assert (red - blue > 60).any()
    if kind == "classes" and channels == 1:
        assert not (blue - red > 60).any(), "blue is for what lowers a number"


def test_another_class_has_another_map_and_a_path_of_its_own(
    models: Callable[[int, str], Path], here: Path
) -> None:
    drawn = []
    for name in CLASSES:
        out = here / "new" / "folder" / f"{len(drawn)}.png"
        assert explained(models(1, "classes"), "images/0.png", "--class", name, "--out", out) == 0
        drawn.append(pixels_of(out))
    assert not any(np.array_equal(drawn[0], other) for other in drawn[1:])


def test_of_many_images_the_first_are_shown_and_what_is_no_image_is_told(
    models: Callable[[int, str], Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heights = []
    for number in (1, 3, 9):
        assert explained(models(3, "classes"), "images", "--images", number) == 0
        heights.append(len(pixels_of(here / "explanation.png")))
    one, three, all_five = heights
    assert all_five - three == three - one
    said = capsys.readouterr().err
    assert "the first 3 shown: --images=N shows more" in said
    assert "the first 9" not in said
    (here / "images" / "notes.txt").write_text("text")
    assert explained(models(3, "classes"), "images", "--out", "with_text.png") == 1
    assert "notes.txt: not an image" in capsys.readouterr().err
    assert np.array_equal(pixels_of(here / "with_text.png"), pixels_of(here / "explanation.png"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["images", "--class", "cats"], "--class=cats is no class of {model}; did you mean cat?"),
        (["images", "--class", "0"], "--class=0 is no class of {model}; known are cat, a class"),
        (["images", "--images", "51"], "--images=51 is not allowed: give a number from 1 to 50"),
        (["images", "--out", "x.jpg"], "--out=x.jpg is not allowed"),
        (["images/9.png"], "images/9.png: No such file"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_picture(
    models: Callable[[int, str], Path],
    here: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: Sequence[str],
    said: str,
) -> None:
    model = models(3, "classes")
    assert explained(model, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said.format(model=model)}")
    assert not list(here.glob("*.*g"))
