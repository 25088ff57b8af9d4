"""Contact sheets: what the images of a prepared data set look like, class by class.

Drawn with Pillow alone: importing Matplotlib takes longer than all sheets of a small data set.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.reading.samples import sample_classes, sample_targets
from convforge.pipeline.pluralize import pluralize
from convforge.pipeline.printable import one_line
from convforge.pipeline.report.style import BACKGROUND, FAINT, INK, font, shortened

# Up to this many classes have a sheet each; more would be too many files for anybody to open.
_MOST_SHEETS = 20
_SHEET_COLUMNS, _SHEET_ROWS = 10, 8
# The overview has a row for each class, on pages that a screen shows without much scrolling.
_OVERVIEW_COLUMNS, _OVERVIEW_ROWS, _MOST_PAGES = 12, 25, 40
_OVERVIEW_SIDE = 64
# Of so many images those on a sheet of a target are taken.
_MOST_RANKED = 800
_CAPTION_WIDTH = 64

# Pixels. Small images are enlarged by a whole number, so that their pixels can be seen.
_LARGEST, _ENLARGED_TO = 96, 64
_GAP, _BLOCK_GAP, _MARGIN, _LABEL_WIDTH, _NARROWEST = 4, 28, 12, 190, 600
# Neither black nor white, so that the edges of both show.
_MOUNT = (214, 220, 228)
_TITLE_SIZE, _TEXT_SIZE, _MOST_LETTERS = 18, 12, 200


def draw_contact_sheets(
    data: Path, manifest: Manifest, out: Path, *, most_bytes: int | None = None
) -> list[Path]:
    """Draw sheets of training images as PNG into the folder `out`.

    `overview.png` has a row for each class (`overview_2.png` and so on where there are many), and
    up to 20 classes have a sheet each, `contact_sheet_CLASS.png`. Where the data bring numbers
    instead of classes, each of these has a sheet, `contact_sheet_TARGET.png`, on which the images
    stand in its order.

    Args:
        data: folder of the prepared data.
        manifest: its manifest.
        out: folder for the pictures; it is made.
        most_bytes: how much of the shards to read at most, see `sample_classes`.

    Returns:
        The files written, overview first.
    """
    out.mkdir(parents=True, exist_ok=True)
    if manifest.targets:
        return _draw_target_sheets(data, manifest, out)
    few = len(manifest.classes) <= _MOST_SHEETS
    side = _LARGEST if few else _OVERVIEW_SIDE
    tiles = sample_classes(
        data,
        manifest,
        per_class=_SHEET_COLUMNS * _SHEET_ROWS if few else _OVERVIEW_COLUMNS,
        keep=lambda image: thumbnail(image, side),
        most_bytes=most_bytes,
    )
    pictures = _draw_overview(manifest, tiles, out)
    if few:
        for number, name in enumerate(sheet_names(manifest.classes)):
            sheet = _class_sheet(manifest, number, tiles[number])
            pictures.append(_save(sheet, out / name))
    return pictures


def thumbnail(image: NDArray[np.uint8], side: int) -> Image.Image:
    """`image` `(height, width, channels)` in a square of `side` pixels.

    Larger ones are made smaller; smaller ones are enlarged by a whole number, up to 64 pixels.

    Example:
        >>> thumbnail(np.zeros((28, 28, 1), np.uint8), 96).size
        (56, 56)
        >>> thumbnail(np.zeros((240, 480, 3), np.uint8), 96).size
        (96, 48)
    """
    picture = Image.fromarray(image.squeeze(axis=2) if image.shape[2] == 1 else image)
    longer = max(picture.size)
    if longer > side:
        picture.thumbnail((side, side), Image.Resampling.BOX)
    elif (times := min(side, _ENLARGED_TO) // longer) > 1:
        size = (picture.width * times, picture.height * times)
        picture = picture.resize(size, Image.Resampling.NEAREST)
    return picture.convert("RGB")


def sheet_names(classes: Sequence[str]) -> list[str]:
    """A file name for the sheet of every class, different also where case is not told apart.

    Example:
        >>> sheet_names(["cat", "T-shirt/top"])
        ['contact_sheet_cat.png', 'contact_sheet_T-shirt_top.png']
        >>> sheet_names(["a/b", "A b"])
        ['contact_sheet_0_a_b.png', 'contact_sheet_1_A_b.png']
    """
    plain = [_file_name_part(name) for name in classes]
    if len({part.casefold() for part in plain if part}) < len(classes):
        width = len(str(len(classes) - 1))
        plain = [f"{number:0{width}}_{part}".rstrip("_") for number, part in enumerate(plain)]
    return [f"contact_sheet_{part}.png" for part in plain]


def _file_name_part(name: str) -> str:
    part = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).strip("._")
    # Names of files have 255 bytes at most; that of MLflow's artifact comes on top.
    return part.encode()[:80].decode(errors="ignore")


def _draw_overview(
    manifest: Manifest, tiles: Sequence[Sequence[Image.Image]], out: Path
) -> list[Path]:
    table = _Overview.of(manifest, tiles)
    pages = ceil(len(tiles) / table.classes_a_page)
    drawn = min(pages, _MOST_PAGES)
    pictures = []
    for page in range(drawn):
        start = page * table.classes_a_page
        classes = range(start, min(start + table.classes_a_page, len(tiles)))
        title = manifest.name if pages == 1 else f"{manifest.name}, page {page + 1} of {pages}"
        if page == drawn - 1 and pages > drawn:
            more = pluralize(len(tiles) - classes.stop, "more class is", "more classes are")
            title += f" ({more} not drawn)"
        name = "overview.png" if page == 0 else f"overview_{page + 1}.png"
        pictures.append(_save(_overview_page(manifest, title, classes, tiles, table), out / name))
    return pictures


@dataclass(frozen=True)
class _Overview:
    """How the classes lie on a page: down in rows, and side by side where each has few images."""

    cell: tuple[int, int]
    columns: int
    label_width: int

    @classmethod
    def of(cls, manifest: Manifest, tiles: Sequence[Sequence[Image.Image]]) -> _Overview:
        shown = [row[:_OVERVIEW_COLUMNS] for row in tiles]
        width, height = _cell(shown)
        lines = [*manifest.classes, *(_numbers(manifest, row) for row in range(len(tiles)))]
        longest = max(
            font(_TEXT_SIZE + 1).getlength(one_line(line[:_MOST_LETTERS])) for line in lines
        )
        return cls(
            cell=(width, max(height, 2 * _TEXT_SIZE + 10)),
            columns=max(1, *map(len, shown)),
            label_width=min(ceil(longest) + 2 * _GAP, _LABEL_WIDTH),
        )

    @property
    def block_width(self) -> int:
        return self.label_width + self.columns * (self.cell[0] + _GAP) + _BLOCK_GAP

    @property
    def classes_a_page(self) -> int:
        page = _LABEL_WIDTH + _OVERVIEW_COLUMNS * (self.cell[0] + _GAP) + _BLOCK_GAP
        return _OVERVIEW_ROWS * (page // self.block_width)

    @property
    def row_height(self) -> int:
        return self.cell[1] + _GAP


def _overview_page(
    manifest: Manifest,
    title: str,
    classes: range,
    tiles: Sequence[Sequence[Image.Image]],
    table: _Overview,
) -> Image.Image:
    blocks = ceil(len(classes) / _OVERVIEW_ROWS)
    rows = min(len(classes), _OVERVIEW_ROWS)
    width = 2 * _MARGIN + max(blocks * table.block_width - _BLOCK_GAP, _NARROWEST)
    top = _MARGIN + _TITLE_SIZE + _TEXT_SIZE + 4 * _GAP
    sheet, draw = _canvas(width, top + rows * table.row_height + _MARGIN)
    shape = "×".join(map(str, manifest.image_shape))
    splits = " / ".join(manifest.splits)
    classes_there = pluralize(len(manifest.classes), "class", "classes")
    note = f"{shape} pixels, {classes_there}, each with its number and "
    _head(draw, width, title, f"{note}its {splits} images; training images shown")
    for place, number in enumerate(classes):
        x = _MARGIN + place // _OVERVIEW_ROWS * table.block_width
        y = top + place % _OVERVIEW_ROWS * table.row_height
        room = table.label_width - _GAP
        _write(draw, (x, y + 2), manifest.classes[number], _TEXT_SIZE + 1, INK, room)
        numbers = (x, y + _TEXT_SIZE + 8)
        _write(draw, numbers, _numbers(manifest, number), _TEXT_SIZE - 1, FAINT, room)
        shown = tiles[number][:_OVERVIEW_COLUMNS]
        x += table.label_width
        if not shown:
            _write(draw, (x, y + 2), "none", _TEXT_SIZE - 1, FAINT, table.cell[0])
        _paste(sheet, shown, table.cell, (x, y), _OVERVIEW_COLUMNS)
    return sheet


def _numbers(manifest: Manifest, number: int) -> str:
    return f"{number}: {' / '.join(f'{count:,}' for count in manifest.class_counts(number))}"


def _class_sheet(manifest: Manifest, number: int, tiles: Sequence[Image.Image]) -> Image.Image:
    cell = _cell([tiles])
    lines = ceil(len(tiles) / _SHEET_COLUMNS)
    top = _MARGIN + _TITLE_SIZE + _TEXT_SIZE + 5 * _GAP
    width = 2 * _MARGIN + max(_SHEET_COLUMNS * (cell[0] + _GAP), _NARROWEST)
    sheet, draw = _canvas(width, top + lines * (cell[1] + _GAP) + _MARGIN)
    counts = zip(manifest.class_counts(number), manifest.splits, strict=True)
    note = ", ".join(f"{count:,} {split}" for count, split in counts)
    shown = pluralize(len(tiles), "training image")
    note = f"class {number} of {manifest.name}: {note}; {shown} shown"
    _head(draw, width, manifest.classes[number], note)
    _paste(sheet, tiles, cell, (_MARGIN, top), _SHEET_COLUMNS)
    return sheet


def _draw_target_sheets(data: Path, manifest: Manifest, out: Path) -> list[Path]:
    samples = sample_targets(
        data, manifest, number=_MOST_RANKED, keep=lambda image: thumbnail(image, _LARGEST)
    )
    names = sheet_names([target.name for target in manifest.targets])
    return [
        _save(_target_sheet(manifest, number, samples), out / name)
        for number, name in enumerate(names[:_MOST_SHEETS])
    ]


def _target_sheet(
    manifest: Manifest, number: int, samples: Sequence[tuple[Image.Image, Sequence[float]]]
) -> Image.Image:
    """From the least to the greatest value, at equal steps of rank."""
    ranked = sorted(samples, key=lambda sample: sample[1][number])
    places = np.linspace(0, len(ranked) - 1, min(len(ranked), _SHEET_COLUMNS * _SHEET_ROWS))
    shown = [ranked[place] for place in places.round().astype(int)]
    width, height = _cell([[tile for tile, _ in shown]])
    cell = (max(width, _CAPTION_WIDTH), height + _TEXT_SIZE + _GAP)
    lines = ceil(len(shown) / _SHEET_COLUMNS)
    top = _MARGIN + _TITLE_SIZE + _TEXT_SIZE + 5 * _GAP
    sheet_width = 2 * _MARGIN + max(_SHEET_COLUMNS * (cell[0] + _GAP), _NARROWEST)
    sheet, draw = _canvas(sheet_width, top + lines * (cell[1] + _GAP) + _MARGIN)
    target = manifest.targets[number]
    note = (
        f"{manifest.name}: {pluralize(manifest.splits['train'].examples, 'training image')}, "
        f"{target.min:.4g} to {target.max:.4g}; {len(shown)} shown in order"
    )
    _head(draw, sheet_width, target.name, note)
    _paste(sheet, [tile for tile, _ in shown], cell, (_MARGIN, top), _SHEET_COLUMNS)
    for place, (tile, values) in enumerate(shown):
        x = _MARGIN + place % _SHEET_COLUMNS * (cell[0] + _GAP)
        y = top + place // _SHEET_COLUMNS * (cell[1] + _GAP) + tile.height + 1
        _write(draw, (x, y), f"{values[number]:.4g}", _TEXT_SIZE - 1, FAINT, cell[0])
    return sheet


def _cell(rows: Sequence[Sequence[Image.Image]]) -> tuple[int, int]:
    """Width and height that every tile fits in."""
    sizes = [tile.size for row in rows for tile in row] or [(_ENLARGED_TO, _ENLARGED_TO)]
    return max(width for width, _ in sizes), max(height for _, height in sizes)


def _canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    return sheet, ImageDraw.Draw(sheet)


def _head(draw: ImageDraw.ImageDraw, width: int, title: str, note: str) -> None:
    room = width - 2 * _MARGIN
    _write(draw, (_MARGIN, _MARGIN), title, _TITLE_SIZE, INK, room)
    _write(draw, (_MARGIN, _MARGIN + _TITLE_SIZE + 2 * _GAP), note, _TEXT_SIZE, FAINT, room)


def _paste(
    sheet: Image.Image,
    tiles: Sequence[Image.Image],
    cell: tuple[int, int],
    corner: tuple[int, int],
    columns: int,
) -> None:
    for place, tile in enumerate(tiles):
        x = corner[0] + place % columns * (cell[0] + _GAP)
        y = corner[1] + place // columns * (cell[1] + _GAP)
        sheet.paste(_MOUNT, (x - 1, y - 1, x + tile.width + 1, y + tile.height + 1))
        sheet.paste(tile, (x, y))


def _write(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    text: str,
    size: int,
    colour: str,
    room: int,
) -> None:
    """`text` on one line, cut to `room` pixels."""
    draw.text(corner, shortened(text, size, room), colour, font(size))


def _save(sheet: Image.Image, path: Path) -> Path:
    # Level 1 takes a quarter of the time of the default, for a fifth more bytes.
    sheet.save(path, compress_level=1)
    return path
