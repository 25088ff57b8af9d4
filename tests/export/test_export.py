"""`convforge export`: each format is run by its own runtime, beside Keras, on real digits."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from convforge.errors import InputError
from convforge.layers import MaxPooling2D
from convforge.pipeline import cli
from convforge.pipeline.export.formats import FORMATS
from convforge.pipeline.export.preprocessing import network_input, network_input_of_files
from convforge.pipeline.export.quantization import quantizable
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.stages.train import train
from convforge.serving.model_card import ModelCard
from convforge.serving.predictor import decode_image, load_predictor

EXAMPLE = Path(__file__).parents[2] / "examples" / "exported_model.py"
DIGITS = Path(__file__).parents[2] / "data" / "mnist-5k.zip"
# The lecture's own layers, pooling with a border among them.
NET = (
    "model=maxout_cnn",
    "model.layers.conv1.filters=6",
    "model.layers.conv2.filters=6",
    "model.layers.dense1.units=16",
    "trainer.epochs=8",
    "tracking=none",
)


@pytest.fixture(scope="module")
def run(
    compose: Callable[..., Any],
    shared_project: Path,
    digits: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "run"
    train(compose(*NET), digits, folder, shared_project, Progress(Verbosity.QUIET))
    return folder


@pytest.mark.parametrize(
    ("form", "takes"),
    [
        pytest.param("savedmodel", "200 images of any size", marks=pytest.mark.integration),
        ("onnx", "200 images of any size"),
        ("litert", "100 images of 28×28"),
    ],
)
def test_the_runtime_of_a_format_answers_as_keras_does(
    run: Path,
    shared_project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    form: str,
    takes: str,
) -> None:
    monkeypatch.chdir(shared_project)
    out = tmp_path / f"net{FORMATS[form].ending}"
    assert cli.main(["export", str(run), "--to", form, "--out", str(out)]) == 0
    said = capfd.readouterr().err.splitlines()
    assert re.fullmatch(rf"{out}: [\d.]+ MB, like Keras on {takes} \(at most \S+ apart\)", said[-1])
    assert len(said) == 1, "converters are quiet"
    predictor = load_predictor(run)
    card = json.loads((tmp_path / f"{out.name}.card.json").read_text())
    assert card["classes"] == predictor.card.classes
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1))
    given = images.astype(np.uint8 if FORMATS[form].takes_any_size else np.float32)
    (found,) = FORMATS[form].run(out, [given])
    np.testing.assert_allclose(found, predictor.outputs(images), atol=1e-4)
    if FORMATS[form].takes_any_size:
        colours = np.random.default_rng(1).integers(0, 256, (2, 51, 90, 3), dtype=np.uint8)
        (found,) = FORMATS[form].run(out, [colours])
        files = [encoded(Image.fromarray(image), "PNG") for image in colours]
        expected = np.stack([decode_image(file, predictor.card) for file in files])
        np.testing.assert_allclose(found, predictor.outputs(expected), atol=1e-4)
    image = run / "model" / "example.png"
    (seen,) = predictor.outputs(decode_image(image.read_bytes(), predictor.card)[None])
    command = [sys.executable, str(EXAMPLE), str(out), str(image)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    likeliest = predictor.card.classes[seen.argmax()]
    (said,) = re.findall(rf"^{image}: {likeliest} (\d+\.\d\d)%$", answer.strip())
    assert float(said) == pytest.approx(100 * seen.max(), abs=0.02)
    if form == "savedmodel":
        loaded = tf.saved_model.load(str(out))
        np.testing.assert_allclose(loaded.files(files), predictor.outputs(expected), atol=1e-4)
        np.testing.assert_allclose(
            loaded.serve(images.astype(np.float32)), predictor.outputs(images), atol=1e-4
        )


def encoded(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def photograph(mode: str) -> Image.Image:
    """Real digits side by side, in false colours."""
    with zipfile.ZipFile(DIGITS) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))[:2000:10]
        digits = [np.array(Image.open(archive.open(name))) for name in names]
    page = np.concatenate([np.concatenate(digits[row : row + 20], 1) for row in range(0, 160, 20)])
    colours = np.stack([page, np.roll(page, 9, 1), 255 - page, np.roll(page, 30, 0)], axis=-1)
    return Image.fromarray(colours[..., :3] if mode == "RGB" else colours)


FILES = {
    "a photograph": encoded(photograph("RGB"), "JPEG"),
    "a grey photograph": encoded(photograph("RGB").convert("L"), "JPEG"),
    "a small one": encoded(photograph("RGB").resize((61, 40)), "JPEG"),
    "ink": encoded(photograph("RGB").convert("CMYK"), "JPEG"),
    "colours": encoded(photograph("RGB"), "PNG"),
    "transparent": encoded(photograph("RGBA"), "PNG"),
    "transparent grey": encoded(photograph("RGBA").convert("LA"), "PNG"),
    "a palette": encoded(photograph("RGB").quantize(64), "PNG"),
    "16 bits": encoded(Image.fromarray(np.arange(0, 65000, 13, np.uint16).reshape(50, 100)), "PNG"),
    "a drawing": encoded(photograph("RGB").quantize(64), "GIF"),
    "a bitmap": encoded(photograph("RGB"), "BMP"),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("geometry", ["resize", "center_crop"])
def test_a_graph_prepares_files_as_predict_does_to_the_last_bit(
    channels: int, geometry: str
) -> None:
    card = ModelCard(
        **{"name": "net", "classes": ["a", "b"], "data_digest": "", "version": ""},
        **{"image_shape": [60, 62, channels], "stored_size": [64, 64]},
        **{"geometry": geometry, "background": 200},
    )
    found = network_input_of_files(tf.constant(list(FILES.values())), card).numpy()
    for pixels, (name, content) in zip(found, FILES.items(), strict=True):
        np.testing.assert_array_equal(pixels, decode_image(content, card), err_msg=name)


@pytest.mark.parametrize("size", [(7, 9), (64, 64), (40, 301), (128, 200)])
def test_a_graph_resizes_as_pillow_does_to_the_last_bit(size: tuple[int, int]) -> None:
    card = ModelCard(name="net", classes=["a"], image_shape=[31, 33, 3], data_digest="", version="")
    pixels = np.random.default_rng(2).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = Image.fromarray(pixels).resize((33, 31), Image.Resampling.BILINEAR)
    found = network_input(tf.constant(pixels[None]), card)[0].numpy()
    np.testing.assert_array_equal(found, np.asarray(expected))


def test_of_a_tall_image_no_pixel_is_more_than_a_grey_level_off() -> None:
    """Pillow reduces the rows of such images first from some version on, and rounds in between."""
    card = ModelCard(name="net", classes=["a"], image_shape=[20, 20, 1], data_digest="", version="")
    pixels = np.random.default_rng(2).integers(0, 256, (240, 40), dtype=np.uint8)
    expected = Image.fromarray(pixels).resize((20, 20), Image.Resampling.BILINEAR)
    found = network_input(tf.constant(pixels[None, ..., None]), card)[0, ..., 0].numpy()
    np.testing.assert_allclose(found, np.asarray(expected, np.float32), atol=1)


@pytest.mark.integration
def test_in_eight_bits_the_accuracy_is_said_beside_keras(
    run: Path,
    shared_project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(shared_project)
    out = tmp_path / "net.tflite"
    assert cli.main(["export", str(run), "--to", "litert-int8", "--out", str(out)]) == 0
    said = re.search(
        r"accuracy ([\d.]+)% beside Keras' ([\d.]+)%, the same class as Keras for ([\d.]+)% on 100",
        capfd.readouterr().err,
    )
    assert said is not None
    quantised, exact, same = map(float, said.groups())
    assert exact > 50, "it has learned something that quantising could lose"
    assert quantised > exact - 5
    assert same > 90


def test_onnx_has_one_input_and_the_card(
    run: Path, shared_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    monkeypatch.chdir(shared_project)
    out = tmp_path / "net.onnx"
    assert cli.main(["export", str(run), "--to", "onnx", "--out", str(out), "-q"]) == 0
    model = onnx.load(str(out))
    assert len(model.graph.input) == 1
    (card,) = [prop.value for prop in model.metadata_props if prop.key == "convforge.card"]
    assert json.loads(card) == load_predictor(run).card.model_dump()


@pytest.mark.integration
def test_a_model_alone_is_compared_on_its_example_and_not_quantised_without_images(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copytree(run / "model", tmp_path / "model")
    out = str(tmp_path / "net")
    assert cli.main(["export", str(model), "--to", "savedmodel", "--out", out]) == 0
    assert "like Keras on 3 images " in capfd.readouterr().err
    assert cli.main(["export", str(model), "--to", "litert-int8", "--out", f"{out}.tflite"]) == 2
    assert "needs images to calibrate by: give --images" in capfd.readouterr().err
    mine = tmp_path / "mine"
    taken = mine / f"{load_predictor(model).card.name}-savedmodel"
    taken.mkdir(parents=True)
    (taken / "thesis.txt").write_text("work")
    assert cli.main(["export", str(model), "--to", "savedmodel", "--out", str(mine)]) == 2
    assert f"--out={taken} is a folder that holds something else" in capfd.readouterr().err
    assert (taken / "thesis.txt").is_file()
    assert cli.main(["export", str(model), "--to", "litert", "--out", f"{mine}/net.onnx"]) == 2
    assert "give a name that ends in .tflite, or a folder that is there" in capfd.readouterr().err
    (model / "example.png").unlink()
    assert cli.main(["export", str(model), "--to", "savedmodel", "--out", out]) == 2
    assert "has no example.png to compare on: give --images" in capfd.readouterr().err


def test_a_format_whose_packages_are_missing_says_what_to_install(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FORMATS["onnx"], "needs", ("no_such_package",), raising=False)
    assert cli.main(["export", str(run), "--to", "onnx"]) == 2
    assert "no_such_package is not installed: pip install 'convforge[export]'" in (
        capfd.readouterr().err
    )


def pooling(**arguments: Any) -> keras.Model:
    image = keras.Input((7, 8, 2))
    return keras.Model(image, MaxPooling2D(**arguments)(image))


@pytest.mark.parametrize(
    "arguments",
    [
        {"pool_size": 3, "strides": 2, "padding": 1},
        {"pool_size": 2, "strides": 1, "padding": ((1, 0), (0, 1))},
        {"pool_size": 5, "strides": 3, "padding": 2},
        {"pool_size": 3, "strides": 2},
        {"pool_size": 3, "strides": 1, "padding": "same"},
    ],
)
def test_pooling_that_mirrors_its_border_has_the_same_maxima(arguments: dict[str, Any]) -> None:
    model = pooling(**arguments)
    maps = np.random.default_rng(1).normal(size=(2, 7, 8, 2)).astype(np.float32) - 3
    np.testing.assert_array_equal(quantizable(model)(maps), model(maps))


def test_a_border_wider_than_half_of_the_window_is_refused() -> None:
    with pytest.raises(InputError, match="more than half of pool_size"):
        quantizable(pooling(pool_size=3, strides=2, padding=2))
