"""Shards are read back as TensorFlow reads them, and nothing damaged is taken for data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from image_files import classes_of_pictures, data_settings, write_zip

from convforge.augment.settings import Augmentation
from convforge.errors import InputError
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.preparation import shard_writer as shards
from convforge.pipeline.data.preparation.prepare import prepare
from convforge.pipeline.data.reading.shard_reader import ShardReader
from convforge.pipeline.data.reading.stream import Stream, translate_damage_errors
from convforge.pipeline.data.tfrecord import Chunk, encode, parse, parse_numbers, pixels_at
from convforge.pipeline.progress import Progress, Verbosity

FILES = classes_of_pictures(20)


@pytest.fixture(params=["pixels", "encoded"])
def prepared(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Manifest]:
    """Several records in several shards."""
    monkeypatch.setattr(shards, "_CHUNK_BYTES", 1000)
    archive = write_zip(tmp_path / "pictures.zip", FILES)
    settings = data_settings(shard_examples=16, store=request.param)
    return tmp_path / "out", prepare(settings, archive, tmp_path / "out", Progress(Verbosity.QUIET))


@pytest.mark.parametrize("pixels", [0, 1, 100, 127, 128, 16_000, 20_000, 3_000_000])
@pytest.mark.parametrize("examples", [1, 50, 300])
@pytest.mark.parametrize("targets", [0, 2])
def test_pixels_are_found_where_they_are_written(pixels: int, examples: int, targets: int) -> None:
    """Whatever the number of bytes that lengths take in the record."""
    images = np.arange(pixels, dtype=np.uint8)
    labels: Any = np.arange(examples)
    if targets:
        labels = np.linspace(-1, 1, examples * targets, dtype=np.float32).reshape(-1, targets)
    indices = np.arange(examples) * 1000
    record = b"".join(bytes(part) for part in encode(Chunk([[images]], labels, indices)))
    start = pixels_at(len(record), pixels)
    assert record[start : start + pixels] == images.tobytes()
    read_labels, read_indices = parse_numbers(record[start + pixels :], targets)
    np.testing.assert_array_equal(read_labels, labels)
    np.testing.assert_array_equal(read_indices, indices)
    whole = parse(record, targets)
    assert whole.images == [[images.tobytes()]]
    feature = tf.train.Example.FromString(record).features.feature
    assert list(feature["images"].bytes_list.value) == [images.tobytes()]
    assert list(feature["indices"].int64_list.value) == indices.tolist()


def test_what_the_reader_and_the_stream_read_is_the_same(prepared: tuple[Path, Manifest]) -> None:
    folder, manifest = prepared
    reader = ShardReader(folder, manifest)
    stream = Stream(folder, manifest, batch_size=7)
    for split, entry in manifest.splits.items():
        read = [
            (image.tobytes(), int(label))
            for shard in entry.shards
            for number in range(len(reader.records[shard.file]))
            for image, label, _ in zip(*reader.read(shard.file, number), strict=True)
        ]
        streamed = [
            (image.astype(np.uint8).tobytes(), int(label))
            for images, labels in stream.sequential(split)
            for image, label in zip(images.numpy(), labels.numpy(), strict=True)
        ]
        assert streamed == read
        assert len(read) == entry.examples


def test_records_can_be_read_in_any_order(prepared: tuple[Path, Manifest]) -> None:
    folder, manifest = prepared
    (first, *_) = manifest.splits["train"].shards
    forward, backward = ShardReader(folder, manifest), ShardReader(folder, manifest)
    numbers = range(len(forward.records[first.file]))
    assert len(numbers) > 1
    ahead = [forward.read(first.file, number).images.tobytes() for number in numbers]
    back = [backward.read(first.file, number).images.tobytes() for number in reversed(numbers)]
    assert ahead == back[::-1]


def test_pixels_lie_where_tensorflow_takes_them_without_a_copy(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "pictures.zip", FILES)
    manifest = prepare(data_settings(), archive, tmp_path / "out", Progress(Verbosity.QUIET))
    reader = ShardReader(tmp_path / "out", manifest)
    for shard in manifest.splits["train"].shards:
        assert reader.read(shard.file, 0).images.ctypes.data % 64 == 0


def _spoil(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "bit":
        content[len(content) // 2] ^= 4
    elif how == "cut":
        del content[-5:]
    elif how == "longer":
        content += b"more"
    path.unlink()
    if how != "missing":
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["bit", "cut", "longer", "missing", "another's"])
def test_a_damaged_shard_ends_the_reading_with_its_name(
    prepared: tuple[Path, Manifest], how: str
) -> None:
    """One of another data set has right checksums of its own, and is found by ours."""
    folder, manifest = prepared
    one, other, *_ = manifest.splits["train"].shards
    if how == "another's":
        (folder / one.file).write_bytes((folder / other.file).read_bytes())
    else:
        _spoil(folder / one.file, how)
    with pytest.raises(InputError, match=rf"{one.file} is damaged, prepare the data again"):
        _read_all(folder, manifest)


def _read_all(folder: Path, manifest: Manifest) -> None:
    stream = Stream(folder, manifest, batch_size=7)
    with translate_damage_errors():
        for _ in stream.training(seed=0, augmentation=Augmentation(), shuffle_bytes=1 << 20).take(
            20
        ):
            pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"train-00000-of-00003.tfrecord": 3}'])
def test_damaged_places_of_records_are_one_plain_error(
    prepared: tuple[Path, Manifest], content: str
) -> None:
    folder, manifest = prepared
    (folder / "records.json").write_text(content)
    with pytest.raises(InputError, match=r"records\.json is damaged"):
        _read_all(folder, manifest)


def test_another_error_in_the_stream_keeps_its_traceback() -> None:
    with pytest.raises(tf.errors.OpError), translate_damage_errors():
        tf.io.read_file("/no/such/file").numpy()


def test_the_places_of_records_are_those_in_the_shards(prepared: tuple[Path, Manifest]) -> None:
    folder, _ = prepared
    for file, records in json.loads((folder / "records.json").read_text()).items():
        content = (folder / file).read_bytes()
        end = 0
        for _, offset, length, checksum in records:
            assert offset == end + 12
            assert int.from_bytes(content[end : end + 8], "little") == length
            end = offset + length + 4
            assert int.from_bytes(content[end - 4 : end], "little") == checksum
        assert end == len(content)
