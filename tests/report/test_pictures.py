"""What the pictures of a run show: each is drawn, and its pixels are looked at."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convforge.pipeline.report.confusion import draw_confusion
from convforge.pipeline.report.curves import draw_curves
from convforge.pipeline.report.kernels import draw_kernels
from convforge.pipeline.report.scatter import draw_scatter
from convforge.pipeline.report.style import WIDTH, font, shortened

HOSTILE = ("$5$", "", "two\nlines", "\x1b[31m", "猫", "name " * 60)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def orange(picture: np.ndarray) -> int:
    """How many pixels are of the errors' hue."""
    red, green, blue = picture.transpose(2, 0, 1)
    return int(((red - blue > 25) & (red > green)).sum())


def kernel_runs(path: Path) -> list[tuple[bool, int]]:
    """Along a line through the first row of kernels: is it kernel or paper, and how long."""
    grey = pixels(path)[..., 0]
    first = int(np.flatnonzero((grey == 0).mean(axis=1) > 0.2)[0])
    inked = grey[first + 3] != 255
    edges = np.flatnonzero(np.diff(inked)) + 1
    return [(bool(part[0]), len(part)) for part in np.split(inked, edges)]


def test_the_kernels_of_a_maxout_unit_stand_together(tmp_path: Path) -> None:
    """All weights alike, so that every kernel is black: gaps alone tell units apart."""
    kernels = np.full((5, 5, 1, 12), -1.0, np.float32)
    draw_kernels(kernels, tmp_path / "pairs.png", name="conv1", pieces=2)
    draw_kernels(kernels, tmp_path / "plain.png", name="conv1")
    gaps = {
        name: [length for inked, length in kernel_runs(tmp_path / f"{name}.png")[1:-1] if not inked]
        for name in ("pairs", "plain")
    }
    assert len(set(gaps["plain"])) == 1
    inside, between = gaps["pairs"][0::2], gaps["pairs"][1::2]
    assert len(set(inside)) == len(set(between)) == 1
    assert between[0] >= 4 * inside[0]


def test_a_units_kernels_share_their_scale_and_plain_ones_have_each_their_own(
    tmp_path: Path,
) -> None:
    kernels = np.zeros((3, 3, 1, 2), np.float32)
    kernels[..., 0], kernels[..., 1] = -1.0, -0.1
    shades = {}
    for pieces in (1, 2):
        path = tmp_path / f"{pieces}.png"
        draw_kernels(kernels, path, name="conv1", pieces=pieces)
        shades[pieces] = set(np.unique(pixels(path)[60:100, ..., 0]))
    assert 115 in shades[2], "a tenth of the unit's largest weight is nearly mid-grey"
    assert 115 not in shades[1]


def test_kernels_of_three_channels_are_in_colour(tmp_path: Path) -> None:
    kernels = np.zeros((3, 3, 3, 1), np.float32)
    kernels[:, :, 0] = 1.0
    draw_kernels(kernels, tmp_path / "red.png", name="conv1")
    reds = (pixels(tmp_path / "red.png") == (255, 127, 127)).all(axis=2)
    assert reds.sum() > 1000


@pytest.mark.parametrize("classes", [2, 30, 1000])
def test_one_error_among_many_images_is_seen(tmp_path: Path, classes: int) -> None:
    names = [f"class {number}" for number in range(classes)]
    matrix = np.diag(np.full(classes, 100))
    draw_confusion(matrix, names, tmp_path / "right.png")
    matrix[1, 1], matrix[1, 0] = 99, 1
    draw_confusion(matrix, names, tmp_path / "wrong.png")
    before, after = (orange(pixels(tmp_path / f"{name}.png")) for name in ("right", "wrong"))
    assert before == 0
    # Of many classes the list of pairs has a bar besides.
    assert after > (4 if classes <= 30 else 1000)


@pytest.mark.parametrize("copies", [1, 10])
def test_names_of_classes_may_be_anything(tmp_path: Path, copies: int) -> None:
    names = HOSTILE * copies
    matrix = np.ones((len(names), len(names)), np.int64)
    matrix[0] = 0  # A class of which there are no images.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion(matrix, names, tmp_path / "confusion.png")
        draw_scatter(np.ones((3, 6)), np.zeros((3, 6)), HOSTILE, tmp_path / "scatter.png")
    for name in ("confusion", "scatter"):
        assert pixels(tmp_path / f"{name}.png").shape[1] == WIDTH


@pytest.mark.parametrize("name", HOSTILE)
def test_a_shortened_name_fits_its_room_on_one_line(name: str) -> None:
    text = shortened(name, 12, 80)
    assert font(12).getlength(text) <= 80
    assert text.isprintable()


def history(path: Path, columns: Mapping[str, Sequence[float]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *columns])
        epochs = range(1, len(columns["loss"]) + 1)
        writer.writerows(zip(epochs, *columns.values(), strict=True))
    return path


@pytest.mark.parametrize(
    "columns",
    [
        {"loss": [0.5], "accuracy": [0.9], "val_loss": [0.6], "val_accuracy": [0.8]},
        {"loss": [0.5], "mae": [3.0]},
        {
            "loss": [2.0, 0.0],
            "accuracy": [0.1, 1.0],
            "val_loss": [2.0, 1e-9],
            "val_accuracy": [1, 1],
        },
        {"loss": [0.0, 0.0], "accuracy": [1.0, 1.0]},
        {"loss": [1.0] * 300, "mae": [5.0] * 300, "val_loss": [1.0] * 300, "val_mae": [9.0] * 300},
    ],
    ids=["one epoch", "one epoch of numbers", "zeros", "zeros alone", "nothing learned"],
)
def test_curves_of_every_length_are_drawn(
    tmp_path: Path, columns: Mapping[str, Sequence[float]]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_curves(history(tmp_path / "history.csv", columns), tmp_path / "curves.png")
    picture = pixels(tmp_path / "curves.png")
    assert picture.shape[1] == WIDTH
    assert (orange(picture) > 0) == ("val_loss" in columns)
