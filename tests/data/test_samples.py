"""Reading a few examples from shards, held against TensorFlow's own reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from image_files import (
    classes_of_pictures,
    data_settings,
    encoded,
    picture,
    write_folder,
    write_zip,
)
from PIL import Image

from convforge.errors import InputError
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.preparation.prepare import prepare
from convforge.pipeline.data.reading.samples import read_chunks, sample_classes, sample_targets
from convforge.pipeline.progress import Progress, Verbosity

QUIET = Progress(Verbosity.QUIET)


def _prepare(tmp_path: Path, files: dict[str, bytes], **changes: object) -> tuple[Path, Manifest]:
    archive = write_zip(tmp_path / "pictures.zip", files)
    return tmp_path / "out", prepare(data_settings(**changes), archive, tmp_path / "out", QUIET)


def _by_tensorflow(folder: Path, manifest: Manifest, split: str) -> list[tuple[bytes, int]]:
    files = [str(folder / shard.file) for shard in manifest.splits[split].shards]
    examples = []
    for record in tf.data.TFRecordDataset(files):
        feature = tf.train.Example.FromString(record.numpy()).features.feature
        labels = list(feature["labels"].int64_list.value)
        size = len(feature["images"].bytes_list.value[0]) // len(labels)
        pixels = feature["images"].bytes_list.value[0]
        examples += [(pixels[i * size : (i + 1) * size], label) for i, label in enumerate(labels)]
    return examples


def test_every_example_is_read_as_tensorflow_reads_it(tmp_path: Path) -> None:
    data, manifest = _prepare(tmp_path, classes_of_pictures(10), shard_examples=4)
    for split in manifest.splits:
        read = [
            (image.tobytes(), label)
            for chunk in read_chunks(data, manifest, split)
            for image, label in zip(chunk.images, chunk.labels.tolist(), strict=True)
        ]
        assert read == _by_tensorflow(data, manifest, split)
        assert len(read) == manifest.splits[split].examples


def test_the_first_images_of_every_class_are_taken(tmp_path: Path) -> None:
    data, manifest = _prepare(tmp_path, classes_of_pictures(10), shard_examples=4)
    taken = sample_classes(data, manifest, per_class=3, keep=np.ndarray.tobytes)
    examples = _by_tensorflow(data, manifest, "train")
    for label, images in enumerate(taken):
        assert images == [pixels for pixels, of in examples if of == label][:3]


def test_a_class_with_fewer_images_gives_all_it_has(tmp_path: Path) -> None:
    files = classes_of_pictures(10) | {"rare/1.png": picture(77)}
    data, manifest = _prepare(tmp_path, files, split={"validation": 0, "test": 0})
    taken = sample_classes(data, manifest, per_class=5, keep=np.shape)
    assert [len(images) for images in taken] == [5, 5, 5, 1]
    assert manifest.classes[3] == "rare"


def test_reading_ends_when_every_class_has_enough_or_at_the_limit(tmp_path: Path) -> None:
    """The shards after the one that is needed may as well not be there."""
    data, manifest = _prepare(tmp_path, classes_of_pictures(10), shard_examples=5)
    first, *others = manifest.splits["train"].shards
    for shard in others:
        (data / shard.file).unlink()
    examples = _by_tensorflow(data, _only(manifest, first), "train")
    assert {label for _, label in examples} == {0, 1, 2}, "the first shard has every class"
    taken = sample_classes(data, manifest, per_class=1, keep=np.shape)
    assert [len(kept) for kept in taken] == [1, 1, 1]
    limited = sample_classes(data, manifest, per_class=9, keep=np.shape, most_bytes=1)
    assert sum(map(len, limited)) == first.examples


def _only(manifest: Manifest, shard: object) -> Manifest:
    train = manifest.splits["train"].model_copy(update={"shards": [shard]})
    return manifest.model_copy(update={"splits": {**manifest.splits, "train": train}})


def test_numbers_come_with_their_images(tmp_path: Path) -> None:
    """The brightness of each image is its target."""
    files = {f"{value}.png": encoded(Image.new("RGB", (8, 8), (value,) * 3)) for value in range(50)}
    folder = write_folder(tmp_path / "images", files)
    rows = "".join(f"{value}.png,{value},{-value}\n" for value in range(50))
    (folder / "table.csv").write_text(f"file,up,down\n{rows}")
    settings = data_settings(
        format="table",
        images=None,
        file_column="file",
        class_column=None,
        target_columns=["up", "down"],
        split_column=None,
        path="table.csv",
    )
    manifest = prepare(settings, folder / "table.csv", tmp_path / "out", QUIET)
    pairs = sample_targets(tmp_path / "out", manifest, number=25, keep=lambda image: image[0, 0, 0])
    assert len(pairs) == 25
    assert all(targets == [kept, -float(kept)] for kept, targets in pairs)
    assert len({kept for kept, _ in pairs}) == 25


@pytest.mark.parametrize("damage", ["missing", "cut", "other bytes"])
def test_a_damaged_shard_is_told_by_its_name(tmp_path: Path, damage: str) -> None:
    data, manifest = _prepare(tmp_path, classes_of_pictures(10))
    shard = data / manifest.splits["train"].shards[0].file
    content = shard.read_bytes()
    shard.unlink()
    if damage == "cut":
        shard.write_bytes(content[:1000])
    elif damage == "other bytes":
        shard.write_bytes(content[:12] + b"\xff" * len(content[12:]))
    with pytest.raises(InputError, match=rf"{shard.name} is damaged, prepare the data again"):
        sample_classes(data, manifest, per_class=1, keep=np.shape)
