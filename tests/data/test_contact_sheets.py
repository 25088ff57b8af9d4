"""Contact sheets show the right images beside the right names."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prepared_data import prepared

from convforge.pipeline.data.reading.samples import sample_classes
from convforge.pipeline.report.contact_sheet import draw_contact_sheets, sheet_names, thumbnail
from convforge.pipeline.report.data_card import is_own


def _plain_colours(colours: list[tuple[int, int, int]], labels: list[int]) -> np.ndarray:
    return np.array([np.full((8, 8, 3), colours[label]) for label in labels], np.uint8)


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def _pixels_of(path: Path, colour: tuple[int, int, int]) -> int:
    pixels = np.asarray(Image.open(path))
    return int((pixels == colour).all(axis=2).sum())


def test_a_sheet_shows_its_class_and_no_other(tmp_path: Path) -> None:
    labels = [0, 1, 2] * 5
    images = _plain_colours([RED, GREEN, BLUE], labels)
    manifest = prepared(tmp_path / "data", images, np.array(labels), ["red", "green", "blue"])
    written = draw_contact_sheets(tmp_path / "data", manifest, tmp_path / "out")
    assert [path.name for path in written] == [
        "overview.png",
        "contact_sheet_red.png",
        "contact_sheet_green.png",
        "contact_sheet_blue.png",
    ]
    for shown, path in zip((RED, GREEN, BLUE), written[1:], strict=True):
        # 8×8 pixels are drawn as 64×64.
        for colour in (RED, GREEN, BLUE):
            assert _pixels_of(path, colour) == (5 * 64 * 64 if colour == shown else 0)
    assert all(_pixels_of(written[0], colour) == 5 * 64 * 64 for colour in (RED, GREEN, BLUE))


def test_the_overview_has_the_classes_in_order_from_top_to_bottom(tmp_path: Path) -> None:
    labels = [2, 0, 1] * 2
    images = _plain_colours([RED, GREEN, BLUE], labels)
    manifest = prepared(tmp_path / "data", images, np.array(labels), ["r", "g", "b"])
    overview, *_ = draw_contact_sheets(tmp_path / "data", manifest, tmp_path / "out")
    pixels = np.asarray(Image.open(overview))
    tops = [np.argwhere((pixels == colour).all(axis=2))[0][0] for colour in (RED, GREEN, BLUE)]
    assert tops == sorted(tops)
    assert len(set(tops)) == 3


def test_pixels_are_shown_as_they_are(tmp_path: Path) -> None:
    """Enlarged by a whole number, the image can be read back off the sheet."""
    noise = np.random.default_rng(0).integers(0, 255, (1, 28, 28, 1), np.uint8)
    other = np.zeros_like(noise)
    images = np.concatenate([noise, other])
    manifest = prepared(tmp_path / "data", images, np.array([0, 1]), ["noise", "other"])
    _, sheet, _ = draw_contact_sheets(tmp_path / "data", manifest, tmp_path / "out")
    pixels = np.asarray(Image.open(sheet))[:, :, 0]
    enlarged = noise[0, :, :, 0].repeat(2, axis=0).repeat(2, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (56, 56))
    assert (windows == enlarged).all(axis=(2, 3)).sum() == 1


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 500, 3), (2000, 4, 1), (300, 300, 3)])
def test_a_thumbnail_of_any_shape_fits_and_is_not_empty(shape: tuple[int, ...]) -> None:
    small = thumbnail(np.full(shape, 200, np.uint8), 96)
    assert max(small.size) <= 96
    assert min(small.size) >= 1
    assert small.getpixel((0, 0)) == (200, 200, 200)


@pytest.mark.parametrize(
    ("classes", "files"),
    [(20, 21), (21, 1), (300, 12), (1300, 40)],
    ids=["a sheet each", "one page", "twelve pages", "as many pages as there may be"],
)
def test_the_number_of_pictures_is_bounded(tmp_path: Path, classes: int, files: int) -> None:
    """With twelve images in every class a page has 25 rows."""
    labels = np.repeat(np.arange(classes), 12)
    images = np.zeros((len(labels), 2, 2, 1), np.uint8)
    names = [f"class {number}" for number in range(classes)]
    manifest = prepared(tmp_path / "data", images, labels, names)
    assert len(draw_contact_sheets(tmp_path / "data", manifest, tmp_path / "out")) == files


def test_classes_of_few_images_stand_side_by_side(tmp_path: Path) -> None:
    labels = np.arange(100)
    images = np.zeros((100, 8, 8, 1), np.uint8)
    names = [str(number) for number in range(100)]
    manifest = prepared(tmp_path / "data", images, labels, names)
    (page,) = draw_contact_sheets(tmp_path / "data", manifest, tmp_path / "out")
    width, height = Image.open(page).size
    assert width < 1200
    assert height < 2000


def test_a_class_without_training_images_has_its_place(tmp_path: Path) -> None:
    images = _plain_colours([RED, GREEN], [0, 1])
    manifest = prepared(tmp_path / "data", images, np.array([0, 1]), ["a", "b", "empty"])
    assert sample_classes(tmp_path / "data", manifest, per_class=9, keep=np.shape)[2] == []
    assert len(draw_contact_sheets(tmp_path / "data", manifest, tmp_path / "out")) == 4


@pytest.mark.parametrize(
    "classes",
    [
        ["cat", "dog"],
        ["Cat", "cat"],
        ["a/b", "a_b", "a b"],
        ["..", ".", ""],
        ["x" * 300, "x" * 299 + "y"],
        ["猫" * 100, "犬" * 100],
        [unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")],
        ["a\nb", "\x1b[31m"],
        ["1_a", "a", "A"],
        ["../../etc/passwd", "C:\\nul"],
    ],
)
def test_every_sheet_has_a_file_name_of_its_own_on_any_disk(classes: list[str]) -> None:
    names = sheet_names(classes)
    folded = {unicodedata.normalize("NFC", name).casefold() for name in names}
    assert len(folded) == len(classes)
    for name in names:
        assert is_own(name)
        assert len(name.encode()) <= 120
        assert not set(name) & set('/\\:*?"<>|\n\x1b')


def test_a_letter_with_its_accent_apart_stays_that_letter() -> None:
    """As macOS gives the names of folders."""
    assert sheet_names(["ete", "e\u0301te\u0301"])[1] == "contact_sheet_\u00e9t\u00e9.png"


def test_any_name_can_be_drawn(tmp_path: Path) -> None:
    classes = ["", "\n\t\x00", "العربية", "猫", "🐱", "W" * 5000, "a" + "\u0301" * 500]
    labels = np.arange(len(classes))
    images = np.zeros((len(classes), 8, 8, 3), np.uint8)
    manifest = prepared(tmp_path / "data", images, labels, classes)
    for path in draw_contact_sheets(tmp_path / "data", manifest, tmp_path / "out"):
        assert Image.open(path).width < 1200


def test_images_with_numbers_stand_in_their_order(tmp_path: Path) -> None:
    """Bright images have great numbers: along the sheet, brightness grows."""
    values = np.random.default_rng(0).permutation(60)
    images = np.broadcast_to((values * 4)[:, None, None, None], (60, 8, 8, 1)).astype(np.uint8)
    numbers = np.stack([values, -values], 1).astype(np.float32)
    manifest = prepared(tmp_path / "data", images, numbers, [], ("bright", "dark"))
    bright, dark = draw_contact_sheets(tmp_path / "data", manifest, tmp_path / "out")
    assert (bright.name, dark.name) == ("contact_sheet_bright.png", "contact_sheet_dark.png")
    for path, order in ((bright, np.arange(60)), (dark, np.arange(60)[::-1])):
        pixels = np.asarray(Image.open(path))[:, :, 0]
        seen = _tiles_in_reading_order(pixels)
        np.testing.assert_array_equal(seen, order * 4)


def _tiles_in_reading_order(pixels: np.ndarray) -> list[int]:
    """The grey values of all evenly coloured squares of 64 pixels."""
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (64, 64))
    even = windows[:, :, 0, 0] == windows[:, :, 63, 63]
    found = []
    for y, x in np.argwhere(even):
        window = windows[y, x]
        if window[0, 0] < 250 and (window == window[0, 0]).all():
            found.append((y, x, int(window[0, 0])))
    return [value for _, _, value in sorted(found)]
