"""A table of file names with classes or with numbers to predict."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from image_files import data_settings, picture, write_folder, write_zip
from pyarrow import parquet

from convforge.augment.settings import Augmentation
from convforge.errors import InputError
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.preparation.prepare import prepare
from convforge.pipeline.data.reading.stream import Stream
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.stages.preprocess import describe
from convforge.serving.decode import Decoding, ImageFiles

QUIET = Progress(Verbosity.QUIET)
NAMES = [f"photos/{number}.png" for number in range(20)]
TARGETS = {name: (float(number), -0.5 * number) for number, name in enumerate(NAMES)}
Rows = list[dict[str, Any]]


def _rows() -> Rows:
    """Each file with a class, a split and two numbers."""
    return [
        {
            "file": name,
            "class": "ab"[number % 2],
            "split": ("train", "train", "validation", "test")[number % 4],
            "angle": TARGETS[name][0],
            "tilt": TARGETS[name][1],
        }
        for number, name in enumerate(NAMES)
    ]


def _folder(tmp_path: Path) -> Path:
    """Where table and files lie; the output must lie elsewhere."""
    folder = tmp_path / "given"
    folder.mkdir(exist_ok=True)
    return folder


def write_csv(path: Path, rows: Rows) -> Path:
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def write_parquet(path: Path, rows: Rows) -> Path:
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def _prepare(tmp_path: Path, table: Path, **changes: Any) -> Manifest:
    write_folder(table.parent, {name: picture(number) for number, name in enumerate(NAMES)})
    keys = {
        "format": "table",
        "images": None,
        "file_column": "file",
        "class_column": "class",
        "target_columns": [],
        "split_column": None,
    }
    settings = data_settings(**{**keys, **changes})
    return prepare(settings, table, tmp_path / "out", QUIET)


NUMBERS: dict[str, Any] = {"class_column": None, "target_columns": ["angle", "tilt"]}


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_its_classes_and_splits_reach_the_examples(
    tmp_path: Path, write: Callable[[Path, Rows], Path]
) -> None:
    path = _folder(tmp_path) / ("t.csv" if write is write_csv else "t.parquet")
    manifest = _prepare(tmp_path, write(path, _rows()), split_column="split")
    assert manifest.classes == ["a", "b"]
    assert {name: split.class_counts for name, split in manifest.splits.items()} == {
        "train": [5, 5],
        "validation": [5, 0],
        "test": [0, 5],
    }


def test_its_numbers_are_streamed_beside_their_images(tmp_path: Path) -> None:
    manifest = _prepare(tmp_path, write_csv(_folder(tmp_path) / "t.csv", _rows()), **NUMBERS)
    assert manifest.classes == []
    stream = Stream(tmp_path / "out", manifest, batch_size=4)
    given = {
        ImageFiles().decode(picture(number), Decoding(3)).tobytes(): TARGETS[name]
        for number, name in enumerate(NAMES)
    }
    read = {}
    for split in manifest.splits:
        for images, targets in stream.sequential(split):
            assert targets.dtype == "float32"
            assert targets.shape == (len(images), 2)
            pixels = images.numpy().astype(np.uint8)
            rows = zip(pixels, targets.numpy(), strict=True)
            read |= {image.tobytes(): tuple(row) for image, row in rows}
    assert read == given
    batches = stream.training(seed=0, augmentation=Augmentation(), shuffle_bytes=1 << 20)
    images, targets = next(iter(batches))
    for image, row in zip(images.numpy().astype(np.uint8), targets.numpy(), strict=True):
        assert given[image.tobytes()] == tuple(row)


def test_the_line_on_data_of_numbers_names_these_and_no_classes(tmp_path: Path) -> None:
    manifest = _prepare(tmp_path, write_csv(_folder(tmp_path) / "t.csv", _rows()), **NUMBERS)
    expected = "pictures: numbers to predict: angle, tilt, 8×8×3 pixels, "
    assert describe(manifest).startswith(expected)


def test_the_manifest_says_how_the_training_splits_numbers_are_spread(tmp_path: Path) -> None:
    table = write_csv(_folder(tmp_path) / "t.csv", _rows())
    manifest = _prepare(tmp_path, table, split_column="split", **NUMBERS)
    angles = [row["angle"] for row in _rows() if row["split"] == "train"]
    angle, tilt = manifest.targets
    assert (angle.name, tilt.name) == ("angle", "tilt")
    assert (angle.min, angle.max) == (min(angles), max(angles))
    assert angle.mean == pytest.approx(np.mean(angles))
    assert tilt.std == pytest.approx(0.5 * np.std(angles))


@pytest.mark.parametrize("value", ["", "nan", "inf", "12 degrees"])
def test_a_number_that_is_none_is_reported_with_its_file(tmp_path: Path, value: str) -> None:
    rows = _rows()
    rows[3]["tilt"] = value
    manifest = _prepare(tmp_path, write_csv(_folder(tmp_path) / "t.csv", rows), **NUMBERS)
    (bad,) = manifest.bad_items
    assert bad.name == NAMES[3]
    assert bad.reason.startswith("tilt=")
    assert sum(split.examples for split in manifest.splits.values()) == 19


def test_a_number_missing_in_parquet_is_reported_too(tmp_path: Path) -> None:
    rows = [{**row, "tilt": None if row["angle"] == 3 else row["tilt"]} for row in _rows()]
    manifest = _prepare(tmp_path, write_parquet(_folder(tmp_path) / "t.parquet", rows), **NUMBERS)
    assert [item.name for item in manifest.bad_items] == [NAMES[3]]
    assert math.isfinite(manifest.targets[1].mean)


def test_the_files_may_lie_in_an_archive(tmp_path: Path) -> None:
    files = {name: picture(number) for number, name in enumerate(NAMES)}
    write_zip(_folder(tmp_path) / "photos.zip", files)
    manifest = _prepare(
        tmp_path, write_csv(_folder(tmp_path) / "t.csv", _rows()), images="photos.zip"
    )
    assert sum(split.examples for split in manifest.splits.values()) == 20


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.class_column='kind' is no column.*file, class"):
        _prepare(tmp_path, write_csv(_folder(tmp_path) / "t.csv", _rows()), class_column="kind")


@pytest.mark.parametrize(("separator", "called"), [(";", "semicolons"), ("\t", "tabs")])
def test_another_separator_than_the_comma_is_named(
    tmp_path: Path, separator: str, called: str
) -> None:
    """As spreadsheets write where the comma stands in numbers."""
    table = write_csv(_folder(tmp_path) / "t.csv", _rows())
    table.write_text(table.read_text().replace(",", separator))
    with pytest.raises(InputError, match=f"columns are separated by {called}, write commas"):
        _prepare(tmp_path, table)


def test_a_table_without_a_header_line_is_one_plain_error(tmp_path: Path) -> None:
    (_folder(tmp_path) / "t.csv").write_text("")
    with pytest.raises(InputError, match=r"no column of .*t\.csv: it has no header line"):
        _prepare(tmp_path, _folder(tmp_path) / "t.csv")


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_table_that_is_none_is_one_plain_error(tmp_path: Path, name: str) -> None:
    (_folder(tmp_path) / name).write_bytes(bytes(range(256)) * 20)
    with pytest.raises(InputError, match="is not a readable"):
        _prepare(tmp_path, _folder(tmp_path) / name)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"class_column": None}, "class_column"),
        ({"target_columns": ["angle"]}, "class_column"),
        ({**NUMBERS, "num_classes": 3}, "num_classes"),
        ({**NUMBERS, "target_columns": ["angle", "angle"]}, "target_columns"),
    ],
)
def test_classes_and_numbers_exclude_each_other(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        _prepare(tmp_path, _folder(tmp_path) / "t.csv", **changes)


def _reasons(manifest: Manifest) -> dict[str, str]:
    return {item.name: item.reason for item in manifest.bad_items}


def test_a_listed_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    rows = [*_rows(), {**_rows()[0], "file": "photos/gone.png"}]
    manifest = _prepare(tmp_path, write_csv(_folder(tmp_path) / "t.csv", rows))
    assert _reasons(manifest) == {"photos/gone.png": "in the table, but not there"}
    assert manifest.counts.found == 21


def test_files_that_are_not_listed_are_counted(tmp_path: Path) -> None:
    manifest = _prepare(tmp_path, write_csv(_folder(tmp_path) / "t.csv", _rows()[:-3]))
    # Three images, and the table itself.
    assert manifest.passed_over == {"not in the table": 4}
    assert manifest.counts.found == 17


def test_a_file_that_is_listed_twice_counts_once_and_not_with_two_answers(tmp_path: Path) -> None:
    rows = _rows()
    other = {**rows[4], "class": "b" if rows[4]["class"] == "a" else "a"}
    manifest = _prepare(tmp_path, write_csv(_folder(tmp_path) / "t.csv", [*rows, rows[2], other]))
    assert _reasons(manifest) == {rows[4]["file"]: "listed more than once, with different answers"}
    assert manifest.counts.used == 19


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"class": " "}, "class is empty"),
        ({"split": "holdout"}, "split='holdout' is not train, validation or test"),
        ({"file": "../secret.png"}, "its path leaves the folder"),
        ({"file": "/etc/secret.png"}, "its path leaves the folder"),
    ],
)
def test_a_row_that_cannot_be_used_is_reported_with_its_file(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    rows = _rows()
    rows[3] |= change
    table = write_csv(_folder(tmp_path) / "t.csv", rows)
    manifest = _prepare(tmp_path, table, split_column="split")
    assert reason in _reasons(manifest).values()
    assert manifest.counts.used == 19


def test_windows_separators_and_dots_in_a_table_are_understood(tmp_path: Path) -> None:
    rows = _rows()
    rows[3]["file"] = rows[3]["file"].replace("/", "\\")
    rows[4]["file"] = f"./{rows[4]['file']}"
    manifest = _prepare(tmp_path, write_csv(_folder(tmp_path) / "t.csv", rows))
    assert manifest.bad_items == []
    assert manifest.counts.used == 20


def test_a_table_of_other_files_is_one_plain_error(tmp_path: Path) -> None:
    rows = [{**row, "file": f"elsewhere/{row['file']}"} for row in _rows()]
    with pytest.raises(InputError, match=r"lists no file that is in .*'elsewhere/photos/0\.png'"):
        _prepare(tmp_path, write_csv(_folder(tmp_path) / "t.csv", rows))


def test_numbers_beyond_float32_are_reported(tmp_path: Path) -> None:
    rows = _rows()
    rows[3]["tilt"] = 1e39
    manifest = _prepare(tmp_path, write_csv(_folder(tmp_path) / "t.csv", rows), **NUMBERS)
    assert _reasons(manifest) == {NAMES[3]: "tilt='1e+39' is not finite"}
