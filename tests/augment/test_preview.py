"""`convforge preview-augment`: the sheet of draws, and that training logs the same one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import all_methods
import numpy as np
import pytest
from PIL import Image

from convforge.augment import Augmentation, draw, numpy_ops
from convforge.augment.settings import Geometry
from convforge.pipeline import cli
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.report import run_report
from convforge.pipeline.report.augmentations import describe_draw, describe_settings
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages.train import train
from convforge.pipeline.tracking.journal import Journal

SMALL = ("data.split.validation=50", "data.split.test=100")


def _preview(*arguments: str) -> int:
    return cli.main(["preview-augment", "-q", *arguments, *SMALL])


@pytest.mark.integration
def test_the_sheet_is_what_a_training_run_logs(
    project: Path, compose: Callable[..., Settings], digits: Path
) -> None:
    assert _preview("augment=full", "--out", "sheet.png") == 0
    settings = compose("augment=full", "debug=one_step", "model=softmax_linear", "tracking=none")
    quiet = Progress(Verbosity.QUIET)
    train(settings, digits, project / "run", project, quiet, report=run_report)
    logged = project / "run" / "pictures" / "augmented_images.png"
    assert logged.read_bytes() == (project / "sheet.png").read_bytes()
    artifacts = [e.content for e in Journal(project / "run").events() if e.kind == "artifact"]
    assert any("augmented_images.png" in str(content) for content in artifacts)


def test_it_has_the_rows_and_columns_asked_for_and_needs_no_folder(project: Path) -> None:
    """A sheet of twice the rows and draws is larger by so many cells."""
    sizes = []
    for rows, columns in ((1, 2), (3, 2), (3, 5)):
        name = f"new/folder/{rows}x{columns}.png"
        assert _preview("--rows", str(rows), "--columns", str(columns), "--out", name) == 0
        with Image.open(project / name) as picture:
            sizes.append(picture.size)
    (narrow, low), (_, high), (wide, _) = sizes
    assert high > 1.5 * low
    # The lines above the images need some room of their own.
    assert wide > 1.3 * narrow


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--columns", "31"], "--columns=31 is not allowed"),
        (["augment.crop.scale=[0,1]"], "augment.crop.scale"),
    ],
)
def test_a_mistake_is_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert _preview(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def _one(augmentation: Augmentation, index: int) -> dict[str, np.ndarray]:
    drawn = draw(
        augmentation, seed=0, epoch=0, index=np.array([index]), image_size=(100, 200),
        output_size=(100, 200), ops=numpy_ops,
    )  # fmt: skip
    return {name: value[0] for name, value in drawn.items()}


def test_captions_give_pixels_degrees_and_grey_levels() -> None:
    parameters: dict[str, Any] = {
        "crop": np.array([0.25, 0.1, 0.5, 0.8]),
        "reflected": np.float32(1),
        "rotation": np.float32(-12.34),
        "shear": np.float32(3),
        "scale": np.float32(1.05),
        "translation": np.array([2.5, -7.0]),
        "colour": np.array([0.1, -0.2, 0.0]),
    }
    basis = np.array([[100.0, 10.0, 1.0], [100.0, -10.0, 1.0], [90.0, 0.0, -5.0]])
    assert describe_draw(parameters, all_methods.ALL, basis, (100, 200)) == [
        "crop 160×50 at 20, 25",
        "mirrored",
        "turn -12.3°",
        "shear +3.0°",
        "×1.05 shift +2.5 -7.0",
        "colour +8 +12 +9",
    ]
    grey = describe_draw(parameters, all_methods.ALL, basis[:1, :1], (100, 200))
    assert grey[-1] == "brightness +10"


def test_an_image_that_a_method_spared_is_not_said_to_be_turned() -> None:
    half = Augmentation(geometry=Geometry(probability=0.5, rotation=30.0))
    captions = [describe_draw(_one(half, n), half, None, (100, 200)) for n in range(40)]
    spared = [_one(half, n)["rotation"] == 0 for n in range(40)]
    assert 0 < sum(spared) < 40
    for caption, alone in zip(captions, spared, strict=True):
        assert (caption == ["unchanged"]) == alone


def test_the_title_names_what_is_on_by_its_keys_and_says_where_colour_is_brightness() -> None:
    lines = describe_settings(all_methods.ALL, channels=3)
    assert [line.split(":")[0] for line in lines[:4]] == [
        *("crop", "reflection", "colour", "geometry")
    ]
    assert "scale 0.5 to 1, ratio 0.75 to 1.3" in lines[0]
    assert not any("brightness" in line for line in lines)
    assert "brightness alone" in describe_settings(all_methods.ALL, channels=1)[2]
    assert describe_settings(Augmentation(), channels=3) == ["no augmentation: images as they are"]
