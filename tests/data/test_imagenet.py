"""ImageNet's layout, with the lists that say the validation images' classes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import SYNSETS, write_imagenet
from image_files import data_settings, write_folder
from scipy.io import savemat

from convforge.errors import InputError
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.preparation.prepare import prepare
from convforge.pipeline.progress import Progress, Verbosity

QUIET = Progress(Verbosity.QUIET)
CLASSES = [
    f"{synset} {n}" for synset, n in zip(SYNSETS, ("tench", "goldfish", "kit fox"), strict=True)
]


def _prepare(tmp_path: Path, source: Path, **changes: Any) -> Manifest:
    keys: dict[str, Any] = {
        "format": "imagenet",
        "ground_truth": None,
        "class_names": None,
        "size": [16, 16],
        "geometry": "center_crop",
        "split": {"validation": 3, "test": 3},
        "max_bad_share": 0.01,
    }
    return prepare(data_settings(**{**keys, **changes}), source, tmp_path / "out", QUIET)


def _validation(manifest: Manifest) -> list[int]:
    return manifest.splits["validation"].class_counts


def test_classes_carry_synset_and_name_and_the_list_labels_the_validation_images(
    tmp_path: Path,
) -> None:
    manifest = _prepare(tmp_path, write_imagenet(tmp_path / "imagenet", validation=7))
    assert manifest.classes == CLASSES
    assert _validation(manifest) == [3, 2, 2]
    assert manifest.splits["train"].examples == 24 - 3
    assert manifest.bad_items == []


def test_folders_around_it_and_an_archive_make_no_difference(tmp_path: Path) -> None:
    write_imagenet(tmp_path / "given" / "ILSVRC" / "Data" / "CLS-LOC")
    for name in ("LOC_val_solution.csv", "LOC_synset_mapping.txt"):
        (tmp_path / "given" / "ILSVRC" / "Data" / "CLS-LOC" / name).rename(
            tmp_path / "given" / name
        )
    whole = _prepare(tmp_path, tmp_path / "given")
    archive = shutil.make_archive(
        str(tmp_path / "packed" / "x"), "tar", tmp_path / "given" / "ILSVRC"
    )
    for name in ("LOC_val_solution.csv", "LOC_synset_mapping.txt"):
        shutil.copy(tmp_path / "given" / name, tmp_path / "packed" / name)
    packed = _prepare(tmp_path, Path(archive))
    assert whole.classes == packed.classes == CLASSES
    assert whole.digest == packed.digest


def test_validation_images_in_class_folders_need_no_list(tmp_path: Path) -> None:
    source = write_imagenet(tmp_path / "imagenet")
    (source / "LOC_val_solution.csv").unlink()
    for number, path in enumerate(sorted((source / "val").iterdir())):
        folder = source / "val" / SYNSETS[number % 3]
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    assert _validation(_prepare(tmp_path, source)) == [2, 2, 2]


def _with_kit(source: Path, lines: list[str]) -> Path:
    (source / "LOC_val_solution.csv").unlink()
    (source / "LOC_synset_mapping.txt").unlink()
    (source / "ILSVRC2012_validation_ground_truth.txt").write_text("\n".join(lines) + "\n")
    return source


def test_the_development_kits_numbers_mean_what_its_list_says(tmp_path: Path) -> None:
    """Not the order of the synsets: the kit fox is its number 1."""
    source = _with_kit(write_imagenet(tmp_path / "imagenet"), ["1", "1", "1", "1", "3", "2"])
    numbered = zip(SYNSETS, (2, 3, 1), ("tench", "goldfish", "kit_fox"), strict=True)
    lines = [f"{synset} {number} {name}" for synset, number, name in numbered]
    (source / "map_clsloc.txt").write_text("\n".join(lines) + "\n")
    manifest = _prepare(tmp_path, source)
    assert manifest.classes == CLASSES
    assert _validation(manifest) == [1, 1, 4]


def test_the_development_kits_own_file_is_read(tmp_path: Path) -> None:
    source = _with_kit(write_imagenet(tmp_path / "imagenet"), ["1", "1", "1", "1", "3", "2"])
    rows = zip((2, 3, 1), SYNSETS, ("tench, Tinca", "goldfish", "kit fox"), strict=True)
    types = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object)]
    savemat(source / "meta.mat", {"synsets": np.array(list(rows), types)})
    manifest = _prepare(tmp_path, source)
    assert manifest.classes == CLASSES
    assert _validation(manifest) == [1, 1, 4]


def test_numbers_without_their_meaning_are_refused(tmp_path: Path) -> None:
    """A guess would label 50,000 images wrong without a word."""
    source = _with_kit(write_imagenet(tmp_path / "imagenet"), ["1", "1", "1", "1", "3", "2"])
    with pytest.raises(InputError, match=r"'1' is no synset; a number needs meta\.mat"):
        _prepare(tmp_path, source)


def test_a_list_of_another_length_is_refused(tmp_path: Path) -> None:
    source = _with_kit(write_imagenet(tmp_path / "imagenet"), ["n01440764"] * 5)
    with pytest.raises(InputError, match="5 lines for 6 images"):
        _prepare(tmp_path, source)


def test_flat_validation_images_without_a_list_are_refused_with_the_way_out(tmp_path: Path) -> None:
    source = write_imagenet(tmp_path / "imagenet")
    (source / "LOC_val_solution.csv").unlink()
    with pytest.raises(InputError, match=r"val/ holds images.*data\.ground_truth"):
        _prepare(tmp_path, source)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({f"{synset}/0.JPEG": b"" for synset in SYNSETS}, "are read with data=folder"),
        ({f"{synset}.tar": b"" for synset in SYNSETS}, "must be unpacked first"),
    ],
    ids=["class folders", "tars of the classes"],
)
def test_another_layout_is_one_plain_error_with_the_way_out(
    tmp_path: Path, files: dict[str, bytes], expected: str
) -> None:
    """And not a million bad items."""
    source = write_folder(tmp_path / "imagenet", files)
    with pytest.raises(InputError, match=rf"no train/SYNSET/ and no val/: .*{expected}"):
        _prepare(tmp_path, source)


def test_a_list_that_the_config_names_and_that_is_not_there_is_named(tmp_path: Path) -> None:
    source = write_imagenet(tmp_path / "imagenet")
    for key in ("ground_truth", "class_names"):
        with pytest.raises(InputError, match=rf"data\.{key}=.*none\.txt is not there"):
            _prepare(tmp_path, source, **{key: "none.txt"})


def test_an_image_that_the_list_does_not_name_is_reported(tmp_path: Path) -> None:
    source = write_imagenet(tmp_path / "imagenet")
    path = source / "LOC_val_solution.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    manifest = _prepare(tmp_path, source, max_bad_share=0.1)
    assert [item.reason for item in manifest.bad_items] == ["not in LOC_val_solution.csv"]


def test_test_images_without_labels_are_counted_and_strays_reported(tmp_path: Path) -> None:
    source = write_imagenet(tmp_path / "imagenet")
    image = next((source / "val").iterdir())
    (source / "test").mkdir()
    for number in range(3):
        shutil.copy(image, source / "test" / f"{number}.JPEG")
    shutil.copy(image, source / "stray.JPEG")
    manifest = _prepare(tmp_path, source, max_bad_share=0.1)
    assert manifest.passed_over == {"test images, which have no public labels": 3}
    assert [item.name for item in manifest.bad_items] == ["stray.JPEG"]


def test_without_names_a_class_is_its_synset(tmp_path: Path) -> None:
    source = write_imagenet(tmp_path / "imagenet")
    (source / "LOC_synset_mapping.txt").unlink()
    assert _prepare(tmp_path, source).classes == list(SYNSETS)
