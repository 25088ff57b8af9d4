"""NumPy archives, IDX files and CIFAR's binary version: the arrays people download."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import re
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import (
    Splits,
    cifar_files,
    idx,
    random_splits,
    write_cifar,
    write_idx,
    write_npz,
    write_tar,
)
from image_files import data_settings, write_folder, write_zip

from convforge.errors import InputError
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.preparation.index.item_index import Index
from convforge.pipeline.data.preparation.prepare import prepare
from convforge.pipeline.data.preparation.sources import open_source
from convforge.pipeline.data.reading.shard_reader import ShardReader
from convforge.pipeline.progress import Progress, Verbosity

QUIET = Progress(Verbosity.QUIET)
DIGITS = random_splits((28, 28))
PHOTOS = random_splits((32, 32, 3))
HUNDRED = random_splits((32, 32, 3), train=200, test=100, classes=100)

KEYS: dict[str, dict[str, Any]] = {
    "idx": {"format": "idx", "class_names": None, "channels": 1, "size": [28, 28]},
    "npz": {"format": "npz", "class_names": None, "channels": 1, "size": None},
    "cifar": {"format": "cifar", "labels": "fine", "channels": 3, "size": [32, 32]},
}
NO_SPLIT = {"split": {"validation": 0, "test": 0}}


def _prepare(tmp_path: Path, source: Path, form: str, **changes: Any) -> Manifest:
    settings = data_settings(**{**KEYS[form], **NO_SPLIT, **changes})
    return prepare(settings, source, tmp_path / "out", QUIET)


def _read(folder: Path, manifest: Manifest) -> dict[str, set[tuple[bytes, str]]]:
    reader = ShardReader(folder, manifest)
    return {
        name: {
            (image.tobytes(), manifest.classes[label])
            for shard in split.shards
            for number in range(len(reader.records[shard.file]))
            for image, label, _ in zip(*reader.read(shard.file, number), strict=True)
        }
        for name, split in manifest.splits.items()
    }


def _given(splits: Splits, name: Callable[[int], str] = str) -> dict[str, set[tuple[bytes, str]]]:
    found = {
        split: {(image.tobytes(), name(label)) for image, label in zip(*pair, strict=True)}
        for split, pair in splits.items()
    }
    return {"train": found["train"], "validation": set(), "test": found["test"]}


@pytest.mark.parametrize("zipped", [True, False])
def test_every_digit_of_idx_files_arrives_in_its_split(tmp_path: Path, zipped: bool) -> None:
    manifest = _prepare(tmp_path, write_idx(tmp_path / "mnist", DIGITS, zipped=zipped), "idx")
    assert manifest.classes == [str(n) for n in range(10)]
    assert manifest.source == "mnist", "the folder, and none of its files"
    assert _read(tmp_path / "out", manifest) == _given(DIGITS)


@pytest.mark.parametrize("compressed", [True, False])
def test_every_image_of_a_numpy_archive_arrives_in_its_split(
    tmp_path: Path, compressed: bool
) -> None:
    source = write_npz(tmp_path / "mnist.npz", DIGITS, compressed=compressed)
    manifest = _prepare(tmp_path, source, "npz")
    assert manifest.image_shape == [28, 28, 1]
    assert _read(tmp_path / "out", manifest) == _given(DIGITS)


def test_medmnists_names_are_understood(tmp_path: Path) -> None:
    (images, labels), (test_images, test_labels) = PHOTOS["train"], PHOTOS["test"]
    np.savez(
        tmp_path / "med.npz",
        train_images=images[:30],
        train_labels=labels[:30, None],
        val_images=images[30:],
        val_labels=labels[30:, None],
        test_images=test_images,
        test_labels=test_labels[:, None],
    )
    manifest = _prepare(tmp_path, tmp_path / "med.npz", "npz", channels=3)
    assert [split.examples for split in manifest.splits.values()] == [30, 10, 20]


@pytest.mark.parametrize("form", ["archive", "folder"])
def test_every_photograph_of_cifar10_arrives_in_its_split(tmp_path: Path, form: str) -> None:
    if form == "archive":
        source = write_cifar(tmp_path / "cifar-10-binary.tar.gz", PHOTOS)
    else:
        source = write_folder(tmp_path / "cifar-10-batches-bin", cifar_files(PHOTOS))
    manifest = _prepare(tmp_path, source, "cifar")
    assert manifest.classes == [f"class{n}" for n in range(10)]
    assert _read(tmp_path / "out", manifest) == _given(PHOTOS, "class{}".format)


@pytest.mark.parametrize("labels", ["fine", "coarse"])
def test_cifar100_has_the_labels_that_the_config_asks_for(tmp_path: Path, labels: str) -> None:
    source = write_cifar(tmp_path / "cifar-100-binary.tar.gz", HUNDRED, hundred=True)
    manifest = _prepare(tmp_path, source, "cifar", labels=labels)
    if labels == "fine":
        assert len(manifest.classes) == 100
        expected = _given(HUNDRED, "fine{:02d}".format)
    else:
        assert manifest.classes == [f"coarse{n:02d}" for n in range(20)]
        expected = _given(HUNDRED, lambda label: f"coarse{label // 5:02d}")
    assert _read(tmp_path / "out", manifest) == expected


def test_classes_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """By name, 10 would come before 2, and every label would be another."""
    splits = random_splits((8, 8), train=36, test=24, classes=12)
    manifest = _prepare(tmp_path, write_npz(tmp_path / "x.npz", splits), "npz")
    assert manifest.classes == [str(n) for n in range(12)]


def test_classes_are_called_as_the_config_says_and_labels_beyond_are_reported(
    tmp_path: Path,
) -> None:
    names = [f"cloth {n}" for n in range(9)]
    source = write_idx(tmp_path / "fashion", DIGITS)
    manifest = _prepare(tmp_path, source, "idx", class_names=names)
    assert manifest.classes == names
    assert manifest.counts.bad == 6
    assert manifest.bad_items[0].name == "train-images-idx3-ubyte.gz[9]"
    assert manifest.bad_items[0].reason == "label 9 is none of the 9 classes of data.class_names"


def test_arrays_are_resized_and_coloured_as_the_config_says(tmp_path: Path) -> None:
    source = write_npz(tmp_path / "x.npz", DIGITS)
    options = {"channels": 3, "size": [16, 20], "geometry": "resize"}
    assert _prepare(tmp_path, source, "npz", **options).image_shape == [16, 20, 3]


def test_copies_in_both_splits_are_dropped_from_training(tmp_path: Path) -> None:
    images = DIGITS["train"][0].copy()
    images[5] = DIGITS["test"][0][2]
    splits = {**DIGITS, "train": (images, DIGITS["train"][1])}
    manifest = _prepare(tmp_path, write_idx(tmp_path / "mnist", splits), "idx")
    assert manifest.counts.dropped == 1
    assert manifest.splits["train"].examples == 39


def test_cifars_python_version_is_refused_with_the_way_out(tmp_path: Path) -> None:
    content = pickle.dumps({"data": b""})
    files = dict.fromkeys(("data_batch_1", "test_batch", "batches.meta"), content)
    folder = write_folder(tmp_path / "cifar-10-batches-py", files)
    archive = write_tar(
        tmp_path / "cifar.tar.gz", {f"cifar-10-batches-py/{n}": c for n, c in files.items()}
    )
    for source in (folder, archive):
        for form in ("cifar", "folders"):
            keys = KEYS["cifar"] if form == "cifar" else {}
            with pytest.raises(InputError, match=r"pickles.*run code.*binary version"):
                prepare(data_settings(**keys), source, tmp_path / "out", QUIET)


def test_an_array_of_python_objects_is_refused_and_not_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "exploded",))

    labels = np.array([Bomb()] * 40, object)
    images = DIGITS["train"][0]
    for arrays in ({"x_train": images, "y_train": labels}, {"x_train": labels, "y_train": labels}):
        np.savez(tmp_path / "x.npz", allow_pickle=True, **arrays)
        with pytest.raises(InputError, match=r"Python objects, which are pickled and can run code"):
            _prepare(tmp_path, tmp_path / "x.npz", "npz")
    assert not (tmp_path / "exploded").exists()


def _npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **{"x_train": DIGITS["train"][0], "y_train": DIGITS["train"][1], **arrays})
    return path


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"x_train": np.zeros((40, 8, 8), np.float32)}, "float32 of shape .*give uint8 pixels"),
        ({"x_train": np.zeros((40, 8, 8, 2), np.uint8)}, "with 1, 3 or 4 channels last"),
        ({"x_train": np.zeros((40, 64), np.uint8)}, "give uint8 pixels"),
        ({"y_train": np.zeros(39, np.int64)}, "give 40 whole numbers"),
        ({"y_train": np.zeros((40, 10), np.uint8)}, "one for each image"),
        ({"y_train": np.zeros(40, np.float32)}, "whole numbers"),
        ({"x_train": np.asfortranarray(np.zeros((40, 8, 8), np.uint8))}, "Fortran order"),
        (
            {"x_test": np.zeros((4, 8, 8), np.uint8), "y_test": np.zeros(4, np.uint8)},
            "differ in shape",
        ),
    ],
)
def test_arrays_that_are_no_labelled_images_are_one_plain_error(
    tmp_path: Path, arrays: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        _prepare(tmp_path, _npz(tmp_path / "x.npz", **arrays), "npz")


def test_an_archive_without_the_names_says_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", pixels=np.zeros(3))
    with pytest.raises(InputError, match="no x_train and y_train, but pixels"):
        _prepare(tmp_path, tmp_path / "x.npz", "npz")


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7])
def test_a_damaged_numpy_archive_is_one_plain_error(tmp_path: Path, place: float) -> None:
    """Its checksum stands at the end: what comes before must not be used unseen."""
    source = write_npz(tmp_path / "x.npz", DIGITS)
    content = bytearray(source.read_bytes())
    content[int(len(content) * place)] ^= 0x55
    source.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.npz"):
        _prepare(tmp_path, source, "npz")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda content: content[:-100], "bytes, its header says"),
        (lambda content: content + b"more", "bytes, its header says"),
        (lambda content: b"\0\0\x09" + content[3:], "is no IDX file of bytes in 3 dimensions"),
        (lambda content: content[:6], "is not a readable IDX file"),
        (lambda content: b"", "is no IDX file"),
    ],
    ids=["short", "long", "type", "header", "empty"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_idx_file_is_one_plain_error(
    tmp_path: Path, spoil: Callable[[bytes], bytes], expected: str, zipped: bool
) -> None:
    folder = write_idx(tmp_path / "mnist", DIGITS, zipped=zipped)
    path = folder / f"train-images-idx3-ubyte{'.gz' if zipped else ''}"
    content = spoil(idx(DIGITS["train"][0]))
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(InputError, match=expected):
        _prepare(tmp_path, folder, "idx")


def test_an_idx_file_whose_compression_is_damaged_is_one_plain_error(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "mnist", DIGITS)
    path = folder / "train-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        _prepare(tmp_path, folder, "idx")


def test_a_missing_idx_file_is_named(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "mnist", DIGITS)
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match=r"one file such as t10k-labels-idx1-ubyte\.gz.*none"):
        _prepare(tmp_path, folder, "idx")


def test_another_number_of_labels_than_images_is_refused(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "mnist", DIGITS)
    labels = gzip.compress(idx(DIGITS["train"][1][:30]))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(labels)
    with pytest.raises(InputError, match="give 40 whole numbers"):
        _prepare(tmp_path, folder, "idx")


def test_a_negative_label_is_reported_as_what_it_is(tmp_path: Path) -> None:
    images, labels = DIGITS["train"]
    labels = np.array(labels, np.int64)
    labels[3] = -3
    path = write_npz(tmp_path / "x.npz", {**DIGITS, "train": (images, labels)})
    manifest = _prepare(tmp_path, path, "npz")
    assert [item.reason for item in manifest.bad_items] == ["label -3 is negative"]


_MEBIBYTES = 512
PREPARE_IN_BOUNDS = """
import json, resource, sys
from pathlib import Path
from convforge.errors import InputError
from convforge.pipeline.data.preparation.sources import open_source
sys.path.insert(0, sys.argv[1])
from image_files import data_settings

class Nothing:
    def add(self, entries):
        for entry in entries: pass

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    open_source(data_settings(**json.loads(sys.argv[3])), Path(sys.argv[2])).scan(
        Nothing(), lambda share: None)
except InputError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def _scan_in_a_process(path: Path, form: str) -> tuple[str, float]:
    """What scanning the source says, and by how many megabytes the process grew."""
    keys = json.dumps({**KEYS[form], **NO_SPLIT})
    command = [sys.executable, "-c", PREPARE_IN_BOUNDS, str(Path(__file__).parent), str(path), keys]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *said, kilobytes = done.stdout.splitlines()
    return "\n".join(said), int(kilobytes) / 1024


def _write_endless_labels(path: Path, shape: tuple[int, ...], dtype: str) -> Path:
    """An archive of a few megabytes: ten images, and labels that unpack to what they claim."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"shape": shape, "fortran_order": False, "descr": dtype}
    )
    write_npz(path, {"train": (np.zeros((10, 28, 28), np.uint8), np.zeros(10, np.uint8))})
    with zipfile.ZipFile(path) as archive:
        images = archive.read("x_train.npy")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("x_train.npy", images)
        with archive.open("y_train.npy", "w", force_zip64=True) as file:
            file.write(header.getvalue())
            for _ in range(_MEBIBYTES >> 4):
                file.write(bytes(1 << 24))
    return path


def test_labels_that_claim_far_more_than_the_images_are_refused_by_their_header(
    tmp_path: Path,
) -> None:
    numbers = _MEBIBYTES << 17
    path = _write_endless_labels(tmp_path / "x.npz", (numbers,), "<i8")
    assert path.stat().st_size < 4 << 20
    said, megabytes = _scan_in_a_process(path, "npz")
    assert said == (
        f"y_train is int64 of shape ({numbers},): give 10 whole numbers, one for each image"
    )
    assert megabytes < 100


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_an_idx_file_that_unpacks_to_far_more_takes_no_memory(tmp_path: Path, kind: str) -> None:
    folder = write_idx(tmp_path / "mnist", DIGITS)
    name = {"images": "train-images-idx3-ubyte.gz", "labels": "train-labels-idx1-ubyte.gz"}[kind]
    (file,) = folder.glob(f"*{name.split('-idx')[0]}*")
    content = gzip.decompress(file.read_bytes())
    with gzip.open(file, "wb", compresslevel=1) as bomb:
        bomb.write(content)
        for _ in range(_MEBIBYTES >> 5):
            bomb.write(bytes(1 << 24))
    said, megabytes = _scan_in_a_process(folder, "idx")
    assert re.search(r"has at least [\d,]+ bytes, its header says [\d,]+$", said)
    assert megabytes < 100


@pytest.mark.slow
@pytest.mark.parametrize("form", ["npz", "idx"])
def test_the_labels_of_a_large_array_are_never_in_memory_together(
    tmp_path: Path, form: str
) -> None:
    many = 300_000
    splits = random_splits((1, 1), train=many, test=20)
    write = {"npz": write_npz, "idx": write_idx}[form]
    source = open_source(data_settings(**KEYS[form]), write(tmp_path / f"digits.{form}", splits))
    index = Index(tmp_path / "index.sqlite")
    tracemalloc.start()
    try:
        with index.transaction():
            source.scan(index, lambda share: None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        index.close()
    assert peak < 5 * many, "eight bytes a label would be more"


def test_a_cut_cifar_batch_is_one_plain_error(tmp_path: Path) -> None:
    files = cifar_files(PHOTOS)
    files["data_batch_2.bin"] = files["data_batch_2.bin"][:-10]
    folder = write_folder(tmp_path / "cifar", files)
    with pytest.raises(InputError, match=r"data_batch_2\.bin.*no whole number of records"):
        _prepare(tmp_path, folder, "cifar")


def test_a_missing_cifar_batch_is_named(tmp_path: Path) -> None:
    files = cifar_files(PHOTOS)
    del files["data_batch_4.bin"]
    with pytest.raises(InputError, match=r"CIFAR-10, it lacks data_batch_4\.bin"):
        _prepare(tmp_path, write_folder(tmp_path / "cifar", files), "cifar")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (10, r"CIFAR-10, it lacks data_batch_1\.bin.*: `convforge fetch cifar10` downloads"),
        (100, r"CIFAR-100, it lacks train\.bin.*: `convforge fetch cifar100` downloads"),
        (20, r"CIFAR-100, it lacks train\.bin.*: `convforge fetch cifar100` downloads"),
    ],
)
def test_a_folder_without_cifars_files_is_told_those_of_the_config(
    tmp_path: Path, number: int, expected: str
) -> None:
    """Not those of the other version."""
    folder = write_folder(tmp_path / "elsewhere", {"notes.txt": b"nothing here"})
    name = f"cifar{100 if number > 10 else 10}_binary"
    with pytest.raises(InputError, match=expected):
        _prepare(tmp_path, folder, "cifar", name=name, num_classes=number)


def test_cifar10_has_no_coarse_labels(tmp_path: Path) -> None:
    source = write_cifar(tmp_path / "cifar.tar.gz", PHOTOS)
    with pytest.raises(InputError, match=r"data\.labels=coarse: CIFAR-10"):
        _prepare(tmp_path, source, "cifar", labels="coarse")


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        (lambda path: write_npz(path / "x.npz", DIGITS), "use data=npz"),
        (lambda path: write_idx(path / "mnist", DIGITS), "use data=mnist"),
        (lambda path: write_folder(path / "c", cifar_files(PHOTOS)), "use data=cifar10_binary"),
        (lambda path: write_cifar(path / "c.tar.gz", PHOTOS), "use data=cifar10_binary"),
        (
            lambda path: write_cifar(path / "c.tar.gz", HUNDRED, hundred=True),
            "use data=cifar100_binary",
        ),
    ],
    ids=["npz", "idx", "cifar folder", "cifar10", "cifar100"],
)
def test_class_folders_that_are_none_are_told_the_right_config(
    tmp_path: Path, source: Callable[[Path], Path], hint: str
) -> None:
    with pytest.raises(InputError, match=hint):
        prepare(data_settings(), source(tmp_path), tmp_path / "out", QUIET)


def test_a_folder_of_nothing_but_an_archive_is_told_to_name_that(tmp_path: Path) -> None:
    write_cifar(write_folder(tmp_path / "data", {"README.md": b""}) / "photos.tar.gz", PHOTOS)
    with pytest.raises(InputError, match=r"no class folders, but photos\.tar\.gz: name an archive"):
        prepare(data_settings(), tmp_path / "data", tmp_path / "out", QUIET)


def test_originals_cannot_be_stored_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="store"):
        data_settings(**KEYS["idx"], store="encoded")


def test_data_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.zip does not exist$"):
        open_source(data_settings(), tmp_path / "nothing.zip")
    images = data_settings(name="cifar10")
    with pytest.raises(InputError, match=r"fetch cifar10` downloads .* data=cifar10_binary"):
        open_source(images, tmp_path / "cifar10.tar.gz")


def test_data_that_dvc_tracks_are_to_be_pulled(tmp_path: Path) -> None:
    (tmp_path / "data.dvc").write_text("outs: []")
    with pytest.raises(InputError, match=r"does not exist: DVC knows it, `dvc pull data\.dvc`"):
        open_source(data_settings(), tmp_path / "data" / "photos.zip")


@pytest.mark.parametrize(("name", "form"), [("mnist", "idx"), ("fashion_mnist", "idx")])
def test_public_data_that_are_not_there_are_to_be_fetched(
    tmp_path: Path, name: str, form: str
) -> None:
    settings = data_settings(**KEYS[form], name=name)
    with pytest.raises(InputError, match=f"does not exist: `convforge fetch {name}` downloads"):
        open_source(settings, tmp_path / "data-sets" / name)
    with pytest.raises(InputError, match=f"holds none: `convforge fetch {name}` downloads"):
        open_source(settings, write_folder(tmp_path / "there", {"x.txt": b""}))


@pytest.mark.parametrize("form", ["idx", "npz", "cifar"])
def test_a_source_of_another_kind_is_one_plain_error(tmp_path: Path, form: str) -> None:
    archive = write_zip(tmp_path / "x.zip", {"a/0.png": b""})
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("b/0.png", "")
    (tmp_path / "folder").mkdir()
    for source in (archive, tmp_path / "folder"):
        with pytest.raises(InputError, match=r"data\.path="):
            _prepare(tmp_path, source, form)
