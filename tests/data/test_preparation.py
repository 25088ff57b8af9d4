"""From image files to a prepared data set: complete, exact, and honest about what it left out."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from image_files import (
    classes_of_pictures,
    data_settings,
    encoded,
    picture,
    write_folder,
    write_tar,
    write_zip,
)
from PIL import Image
from rich.console import Console

from convforge.errors import InputError
from convforge.pipeline.data.manifest import Manifest
from convforge.pipeline.data.preparation.prepare import prepare
from convforge.pipeline.data.reading.shard_reader import ShardReader
from convforge.pipeline.filesystem.fingerprint import file_fingerprint
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.run import Settings
from convforge.pipeline.stages import preprocess
from convforge.serving.decode import Decoding, ImageFiles

QUIET = Progress(Verbosity.QUIET)
FILES = classes_of_pictures(10)


def _prepare(tmp_path: Path, files: dict[str, bytes], **changes: Any) -> Manifest:
    tmp_path.mkdir(exist_ok=True)
    archive = write_zip(tmp_path / "pictures.zip", files)
    return prepare(data_settings(**changes), archive, tmp_path / "out", QUIET)


def _examples(folder: Path, split: str) -> Iterator[tuple[np.ndarray, int, int]]:
    """Pixels, label and index, parsed by TensorFlow's own reader."""
    manifest = Manifest.read(folder)
    files = [str(folder / shard.file) for shard in manifest.splits[split].shards]
    for record in tf.data.TFRecordDataset(files):
        feature = tf.train.Example.FromString(record.numpy()).features.feature
        labels = list(feature["labels"].int64_list.value)
        indices = list(feature["indices"].int64_list.value)
        pixels = np.frombuffer(feature["images"].bytes_list.value[0], np.uint8)
        images = pixels.reshape(len(labels), *manifest.image_shape)
        yield from zip(images, labels, indices, strict=True)


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_tensorflow_reads_back_every_pixel_and_label(tmp_path: Path) -> None:
    manifest = _prepare(tmp_path, FILES)
    read = {
        (image.tobytes(), manifest.classes[label])
        for split in manifest.splits
        for image, label, _ in _examples(tmp_path / "out", split)
    }
    given = {(ImageFiles().decode(FILES[n], Decoding(3)).tobytes(), n.split("/")[0]) for n in FILES}
    assert read == given
    assert len(read) == 30


def test_the_index_of_an_example_is_its_place_in_the_split(tmp_path: Path) -> None:
    manifest = _prepare(tmp_path, FILES, shard_examples=4)
    for split, entry in manifest.splits.items():
        indices = [index for _, _, index in _examples(tmp_path / "out", split)]
        assert indices == list(range(entry.examples))


def test_a_record_of_megabytes_is_cut_into_chunks_without_loss(tmp_path: Path) -> None:
    """A chunk holds 4 MiB: two images of 1200×1200."""
    files = {f"{label}/{n}.png": picture(n, 1200, 1200, 1) for label in "ab" for n in range(4)}
    archive = write_zip(tmp_path / "large.zip", files)
    settings = data_settings(
        channels=1, size=[1200, 1200], split={"validation": 0, "test": 2}, shard_examples=100
    )
    manifest = prepare(settings, archive, tmp_path / "out", QUIET)
    shard = str(tmp_path / "out" / manifest.splits["train"].shards[0].file)
    assert len(list(tf.data.TFRecordDataset(shard))) > 1
    read = sorted(image.tobytes()[:64] for image, _, _ in _examples(tmp_path / "out", "train"))
    assert len(read) == 6


def test_the_manifest_counts_what_is_in_the_shards(tmp_path: Path) -> None:
    import google_crc32c

    manifest = _prepare(tmp_path, FILES, shard_examples=4)
    for split, entry in manifest.splits.items():
        labels = [label for _, label, _ in _examples(tmp_path / "out", split)]
        assert entry.examples == len(labels) == sum(shard.examples for shard in entry.shards)
        assert entry.class_counts == np.bincount(labels, minlength=3).tolist()
        for shard in entry.shards:
            content = (tmp_path / "out" / shard.file).read_bytes()
            assert f"{google_crc32c.value(content):08x}" == shard.crc32c
    assert [shard.examples for shard in manifest.splits["train"].shards] == [4, 4, 4, 4, 4, 1]
    assert manifest.classes == ["a", "b", "c"]
    assert manifest.image_shape == [8, 8, 3]


def test_statistics_are_those_of_the_training_pixels(tmp_path: Path) -> None:
    manifest = _prepare(tmp_path, FILES)
    images = np.stack([image for image, _, _ in _examples(tmp_path / "out", "train")])
    pixels = images.reshape(-1, 3).astype(np.float64)
    statistics = manifest.statistics
    np.testing.assert_allclose(statistics.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.std, pixels.std(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.covariance, np.cov(pixels.T, bias=True), rtol=1e-10)


def test_statistics_of_constant_images_are_exactly_zero_and_never_negative(tmp_path: Path) -> None:
    files = {
        f"{label}/{number}.png": encoded(Image.new("RGB", (8, 8), (77, 77, 77)))
        for label in "ab"
        for number in range(3)
    }
    statistics = _prepare(tmp_path, files, split={"validation": 0, "test": 0}).statistics
    assert statistics.mean == [77, 77, 77]
    assert statistics.std == [0, 0, 0]


def test_every_form_of_the_same_files_gives_the_same_digest_and_shards(tmp_path: Path) -> None:
    forms = [
        write_zip(tmp_path / "p.zip", FILES),
        write_tar(tmp_path / "p.tar", dict(reversed(FILES.items())), "w"),
        write_tar(tmp_path / "p.tar.gz", FILES, "w:gz"),
        write_folder(tmp_path / "p", FILES),
    ]
    manifests = [
        prepare(data_settings(), form, tmp_path / f"from-{form.name}", QUIET) for form in forms
    ]
    assert len({manifest.digest for manifest in manifests}) == 1
    assert all(manifest.splits == manifests[0].splits for manifest in manifests)


def test_the_digest_changes_with_a_pixel_a_label_and_a_split(tmp_path: Path) -> None:
    digests = {
        _prepare(tmp_path, FILES).digest,
        _prepare(tmp_path, {**FILES, "a/0.png": picture(777)}).digest,
        _prepare(tmp_path, {name.replace("a/", "z/"): FILES[name] for name in FILES}).digest,
        _prepare(tmp_path, FILES, split={"validation": 6, "test": 6}).digest,
    }
    assert len(digests) == 4


def test_the_digest_is_of_the_data_and_not_of_the_archives_name(tmp_path: Path) -> None:
    first = _prepare(tmp_path, FILES, name="one", shard_examples=3).digest
    assert _prepare(tmp_path, FILES, name="other", shard_examples=30).digest == first


def test_a_repetition_writes_identical_bytes(tmp_path: Path) -> None:
    _prepare(tmp_path, FILES)
    first = _content(tmp_path / "out")
    _prepare(tmp_path, FILES)
    assert _content(tmp_path / "out") == first


def test_bad_files_are_left_out_named_in_the_manifest_and_warned_about(tmp_path: Path) -> None:
    bad = {
        "a/truncated.png": picture(5, 8, 8)[:120],
        "b/text.png": b"not a picture at all",
        "b/empty.png": b"",
        "c/large.png": picture(6, 9, 8),
        "stray.png": picture(7),
    }
    console = Console(file=(tmp_path / "said").open("w"), width=200)
    archive = write_zip(tmp_path / "pictures.zip", {**FILES, **bad})
    manifest = prepare(data_settings(), archive, tmp_path / "out", Progress(console=console))
    console.file.close()
    reasons = {item.name: item.reason for item in manifest.bad_items}
    assert set(reasons) == set(bad)
    assert reasons["b/text.png"] == "not an image"
    assert "empty" in reasons["b/empty.png"]
    assert "9×8" in reasons["c/large.png"]
    assert "8×8" in reasons["c/large.png"]
    assert "class folder" in reasons["stray.png"]
    assert Manifest.read(tmp_path / "out") == manifest
    said = (tmp_path / "said").read_text()
    for name in bad:
        assert f"left out {name}" in said
    assert sum(split.examples for split in manifest.splits.values()) == 30


def test_without_bad_files_the_same_data_come_out(tmp_path: Path) -> None:
    clean = _prepare(tmp_path, FILES)
    spoiled = _prepare(tmp_path, {"a/bad.png": b"text", **FILES})
    assert spoiled.digest == clean.digest


def test_litter_is_counted_and_not_reported_as_bad(tmp_path: Path) -> None:
    litter = {"a/.DS_Store": b"x", "__MACOSX/a/._0.png": b"x", "b/Thumbs.db": b"x"}
    manifest = _prepare(tmp_path, {**FILES, **litter})
    assert manifest.passed_over == {"put there by an operating system": 3}
    assert manifest.bad_items == []


def test_on_bad_error_refuses_and_names_the_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1 bad item and data\.on_bad=error: a/x\.png: not an"):
        _prepare(tmp_path, {**FILES, "a/x.png": b"text"}, on_bad="error")
    assert not (tmp_path / "out").exists()


def test_more_bad_files_than_allowed_are_refused_with_their_share(tmp_path: Path) -> None:
    bad = {f"a/bad{number}.png": b"text" for number in range(10)}
    with pytest.raises(InputError, match=r"25\.0% of the items are bad.*data\.max_bad_share=0\.2"):
        _prepare(tmp_path, {**FILES, **bad}, max_bad_share=0.2)
    assert _prepare(tmp_path, {**FILES, **bad}, max_bad_share=0.25).bad_items


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, r"holds no usable images at all"),
        ({"a/.DS_Store": b"x"}, r"holds no usable images at all"),
        ({"a/0.png": b"text", "b/0.png": b""}, r"no usable images: a/0\.png: not an image"),
        ({"0.png": picture(0)}, r"no usable images: 0\.png: in no class folder"),
        (classes_of_pictures(9, "a"), r"holds one class only: 'a'"),
    ],
    ids=["empty", "litter", "all bad", "no folders", "one class"],
)
def test_an_archive_that_cannot_be_learned_from_is_one_plain_error(
    tmp_path: Path, files: dict[str, bytes], expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        _prepare(tmp_path, files)
    assert not (tmp_path / "out").exists()


def test_another_number_of_classes_than_the_config_says_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds 3 classes, not data\.num_classes=10: a, b, c"):
        _prepare(tmp_path, FILES, num_classes=10)


@pytest.mark.parametrize(
    ("files", "split"),
    [
        ({f"test/{name}": FILES[name] for name in FILES}, {"validation": 0.1, "test": 0.2}),
        (FILES, {"validation": 0.999999, "test": 0.999999}),
    ],
    ids=["test folders alone", "fractions"],
)
def test_data_with_nothing_to_train_on_are_one_plain_error(
    tmp_path: Path, files: dict[str, bytes], split: dict[str, float]
) -> None:
    with pytest.raises(InputError, match="train"):
        _prepare(tmp_path, files, split=split)


def test_images_of_any_size_are_resized_where_the_config_says_so(tmp_path: Path) -> None:
    files = {f"{label}/{n}.png": picture(n, 5 + n, 12) for label in "ab" for n in range(4)}
    split = {"validation": 0, "test": 0}
    manifest = _prepare(tmp_path, files, geometry="resize", size=[6, 10], split=split)
    assert manifest.image_shape == [6, 10, 3]
    assert manifest.splits["train"].examples == 8


def test_without_a_size_the_first_image_sets_it(tmp_path: Path) -> None:
    files = {**FILES, "a/x.png": picture(99, 9, 9)}
    manifest = _prepare(tmp_path, files, size=None)
    assert manifest.image_shape == [8, 8, 3]
    assert [item.name for item in manifest.bad_items] == ["a/x.png"]


def test_grey_images_are_prepared_as_grey(tmp_path: Path) -> None:
    manifest = _prepare(tmp_path, FILES, channels=1)
    assert manifest.image_shape == [8, 8, 1]
    assert len(manifest.statistics.covariance) == 1


def test_two_files_of_one_name_are_both_kept(tmp_path: Path) -> None:
    """A zip may hold a name twice; neither image may silently stand for both."""
    archive = write_zip(tmp_path / "pictures.zip", FILES)
    with zipfile.ZipFile(archive, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("a/0.png", picture(4242))
    manifest = prepare(data_settings(), archive, tmp_path / "out", QUIET)
    read = {
        image.tobytes()
        for split in manifest.splits
        for image, _, _ in _examples(tmp_path / "out", split)
    }
    assert len(read) == 31 - len(manifest.bad_items)


def test_files_of_an_earlier_data_set_do_not_stay(tmp_path: Path) -> None:
    _prepare(tmp_path, FILES, shard_examples=2)
    manifest = _prepare(tmp_path, FILES, shard_examples=30)
    shards = {shard.file for split in manifest.splits.values() for shard in split.shards}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "manifest.json",
        "records.json",
        *shards,
    }


def test_a_prepared_folder_can_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    _prepare(tmp_path, FILES)
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_manifest_of_another_version_is_refused(tmp_path: Path) -> None:
    _prepare(tmp_path, FILES)
    path = tmp_path / "out" / "manifest.json"
    content = json.loads(path.read_text())
    for damaged in ("{", json.dumps({**content, "format_version": 99}), json.dumps({})):
        path.write_text(damaged)
        with pytest.raises(InputError, match="not written by this version"):
            Manifest.read(tmp_path / "out")
    path.unlink()
    with pytest.raises(InputError, match="holds no prepared data"):
        Manifest.read(tmp_path / "out")


def test_the_real_digits_are_prepared_without_a_bad_file(digits: Path) -> None:
    manifest = Manifest.read(digits)
    assert manifest.bad_items == []
    assert {name: split.examples for name, split in manifest.splits.items()} == {
        "train": 250,
        "validation": 50,
        "test": 100,
    }
    assert manifest.splits["test"].class_counts == [10] * 10
    assert manifest.classes == list("0123456789")
    images = np.stack([image for image, _, _ in _examples(digits, "train")])
    assert images.min() == 0
    assert images.max() == 255
    assert manifest.statistics.mean[0] == pytest.approx(images.mean(), rel=1e-12)


def test_data_that_an_earlier_version_prepared_in_another_form_are_not_taken(
    digits: Path,
    shared_project: Path,
    compose: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They could not be read, and the advice to prepare them again would find them again."""
    assert preprocess.prepared(compose().data, shared_project, QUIET) == digits
    monkeypatch.setattr(preprocess, "FORMAT", preprocess.FORMAT + 1)
    assert preprocess.prepared(compose().data, shared_project, QUIET) != digits


@pytest.mark.parametrize("target", ["photos", ".", "photos/inside", "letters"])
def test_it_replaces_nothing_but_what_it_made_itself(tmp_path: Path, target: str) -> None:
    photos = write_folder(tmp_path / "photos", FILES)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to a friend.txt").write_text("dear")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="give another folder"):
        prepare(data_settings(), photos, tmp_path / target, QUIET)
    assert sorted(tmp_path.rglob("*")) == before


def test_every_item_is_used_or_reported(tmp_path: Path) -> None:
    """Images in = images out + images reported, each with a name and a reason."""
    files = {
        **{f"train/{name}": content for name, content in FILES.items()},
        **{f"test/{name}": picture(500 + n) for n, name in enumerate(FILES)},
        "test/a/copy.png": FILES["a/3.png"],
        "train/a/cut.png": picture(5, 40, 40)[:200],
        "train/a/.DS_Store": b"x",
        "train/b/notes.txt": b"text",
        "train/b/deep/er.png": picture(900),
        "stray.png": picture(901),
    }
    manifest = _prepare(tmp_path, files, split={"validation": 3, "test": 0})
    counts = manifest.counts
    assert (counts.found, counts.bad, counts.dropped) == (len(files) - 1, 4, 1)
    assert counts.used == sum(split.examples for split in manifest.splits.values())
    assert counts.found == counts.used + counts.bad + counts.dropped
    assert [item.name for item in manifest.bad_items] == [
        "train/a/cut.png",
        "train/b/notes.txt",
        "train/b/deep/er.png",
        "stray.png",
    ]
    assert all(item.reason for item in manifest.bad_items)
    (duplicate,) = manifest.duplicates
    assert (duplicate.name, duplicate.same_as) == ("train/a/3.png", "test/test/a/copy.png")
    assert sum(manifest.passed_over.values()) == 1


def test_damage_that_only_decoding_shows_leaves_the_other_examples_where_they_are(
    tmp_path: Path,
) -> None:
    """Their indices too, from which augmentation is drawn."""
    large = {f"{'ab'[n % 2]}/{n}.png": picture(n, 64, 64) for n in range(24)}
    options: dict[str, Any] = {"size": [64, 64], "split": {"validation": 0, "test": 0}}
    _prepare(tmp_path, large, **options)
    before = [(image.tobytes(), index) for image, _, index in _examples(tmp_path / "out", "train")]
    content = bytearray(large["b/3.png"])
    content[len(content) // 2] ^= 0xFF
    manifest = _prepare(tmp_path, {**large, "b/3.png": bytes(content)}, **options)
    after = [(image.tobytes(), index) for image, _, index in _examples(tmp_path / "out", "train")]
    assert [item.name for item in manifest.bad_items] == ["b/3.png"]
    assert manifest.splits["train"].examples == len(after) == 23
    # The damaged file has another hash, so it may be missing at another place.
    assert {image for image, _ in after} < {image for image, _ in before}
    assert len({index for _, index in after}) == 23


@pytest.mark.parametrize("form", ["zip", "tar.gz", "folder"])
def test_a_shard_of_which_nothing_is_left_is_not_there(tmp_path: Path, form: str) -> None:
    """One of the four shards of one image each holds a damaged one."""
    files = {f"{label}/{n}.png": picture(n, 64, 64) for label in "ab" for n in range(2)}
    content = bytearray(files["b/1.png"])
    content[len(content) // 2] ^= 0xFF
    files["b/1.png"] = bytes(content)
    write = {"zip": write_zip, "folder": write_folder}.get(form)
    source = (
        write(tmp_path / f"x.{form}", files)
        if write
        else write_tar(tmp_path / "x.tar.gz", files, "w:gz")
    )
    settings = data_settings(size=[64, 64], split={"validation": 0, "test": 0}, shard_examples=1)
    manifest = prepare(settings, source, tmp_path / "out", QUIET)
    shards = manifest.splits["train"].shards
    assert len(shards) == 3
    on_disk = {path.name for path in (tmp_path / "out").glob("*.tfrecord")}
    assert on_disk == {shard.file for shard in shards}


def test_more_bad_files_than_can_be_shown_are_listed_beside_the_output(tmp_path: Path) -> None:
    bad = {f"a/bad{number}.png": b"text" for number in range(10)}
    with pytest.raises(InputError, match=r"all are listed in .*out-bad-items\.csv"):
        _prepare(tmp_path, {**FILES, **bad}, on_bad="error")
    lines = (tmp_path / "out-bad-items.csv").read_text().splitlines()
    assert lines[0] == "name,reason"
    assert sorted(line.split(",")[0] for line in lines[1:]) == sorted(bad)
    _prepare(tmp_path, FILES)
    assert not (tmp_path / "out-bad-items.csv").exists()


@pytest.mark.parametrize(
    ("files", "finding"),
    [
        ({"d/0.png": picture(900)}, "1 class with one image: d"),
        (
            {f"A/{n}.png": picture(800 + n) for n in range(9)},
            "classes that differ by case only: A, a",
        ),
    ],
    ids=["one image", "case"],
)
def test_classes_that_cannot_be_learned_or_told_apart_are_said(
    tmp_path: Path, files: dict[str, bytes], finding: str
) -> None:
    assert finding in _prepare(tmp_path, {**FILES, **files}).findings
    with pytest.raises(InputError, match=f"data.on_bad=error: {finding}"):
        _prepare(tmp_path, {**FILES, **files}, on_bad="error")


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_an_empty_class_folder_is_said(tmp_path: Path, form: str) -> None:
    if form == "folder":
        source = write_folder(tmp_path / "x", FILES)
        (source / "empty").mkdir()
    else:
        source = write_zip(tmp_path / "x.zip", FILES)
        with zipfile.ZipFile(source, "a") as archive:
            archive.writestr("empty/", "")
    manifest = prepare(data_settings(), source, tmp_path / "out", QUIET)
    assert manifest.findings == ["the class folder empty/ holds no files"]
    assert manifest.classes == ["a", "b", "c"]


def test_a_class_whose_every_image_is_damaged_is_said(tmp_path: Path) -> None:
    cut = {f"d/{n}.png": picture(n, 8, 8)[:-30] for n in range(2)}
    manifest = _prepare(tmp_path, {**FILES, **cut})
    assert "1 class of no usable image: d" in manifest.findings
    assert manifest.splits["train"].class_counts[3] == 0


def test_copies_and_contradicting_labels_are_said(tmp_path: Path) -> None:
    files = {
        **{f"train/{name}": content for name, content in FILES.items()},
        **{f"{split}/a/0.png": picture(700) for split in ("test", "val")},
        "train/b/again.png": FILES["b/0.png"],
        "train/b/other.png": FILES["a/0.png"],
    }
    manifest = _prepare(tmp_path, files)
    assert any("1 validation image is a test image as well" in f for f in manifest.findings)
    assert any("1 image stands in more than one class" in f for f in manifest.findings)
    assert "2 images are copies of others in their split" in manifest.findings


@pytest.mark.parametrize(
    ("policy", "line"),
    [("drop_from_train", "1 test, 1 copy of held-out images dropped"), ("keep", "31 train")],
)
def test_training_images_that_are_held_out_as_well_are_said(
    tmp_path: Path, policy: str, line: str
) -> None:
    files = {f"train/{name}": content for name, content in FILES.items()}
    files |= {"train/a/z.png": picture(700), "test/a/0.png": picture(700)}
    split = {"validation": 0, "test": 0}
    manifest = _prepare(tmp_path, files, duplicates=policy, split=split)
    assert line in preprocess.describe(manifest)
    said = "1 training image is held out as well: train/a/z.png = test/test/a/0.png"
    assert (said in manifest.findings) == (policy == "keep")


def test_a_wrong_extension_is_said_and_the_image_used(tmp_path: Path) -> None:
    jpeg = encoded(Image.new("RGB", (8, 8), (9, 99, 199)), "JPEG")
    manifest = _prepare(tmp_path, {**FILES, "a/photo.png": jpeg})
    assert "1 file is JPEG by content and not by name, such as a/photo.png" in manifest.findings
    assert manifest.bad_items == []
    assert manifest.counts.used == 31


@pytest.mark.parametrize("store", ["pixels", "encoded"])
def test_images_that_are_all_but_black_are_said(tmp_path: Path, store: str) -> None:
    """As those of 12 bits are that stand in files of 16 bits."""
    dark = np.random.default_rng(1).integers(0, 4096, (8, 8), np.uint16)
    files = {**FILES, "b/dark.png": encoded(Image.fromarray(dark))}
    (said,) = _prepare(tmp_path, files, store=store, shard_examples=4).findings
    assert said.startswith(
        "1 image is black or nearly so, no level above 15 of 255, such as b/dark.png; "
    )
    assert _prepare(tmp_path, FILES, store=store).findings == []


def test_what_is_refused_by_its_name_does_not_change_what_other_folders_mean(
    tmp_path: Path,
) -> None:
    """An absolute path stands beside photos/, which would no more lie around the whole."""
    files = {f"photos/{name}": content for name, content in FILES.items()}
    manifest = _prepare(tmp_path, {**files, "/etc/x/a.png": picture(900), "../y/": b""})
    assert manifest.classes == ["a", "b", "c"]
    assert {item.name: item.reason for item in manifest.bad_items} == dict.fromkeys(
        ("/etc/x/a.png", "../y/"), "its path leaves the archive"
    )
    assert manifest.findings == []


def test_links_out_of_the_folder_are_followed_where_the_config_says_so(tmp_path: Path) -> None:
    write_folder(tmp_path / "disk", {"0.png": picture(900), "1.png": picture(901)})
    photos = write_folder(tmp_path / "photos", FILES)
    (photos / "d").symlink_to(tmp_path / "disk")
    settings = {links: data_settings(links=links) for links in ("inside", "follow")}
    inside = prepare(settings["inside"], photos, tmp_path / "out", QUIET)
    assert [item.name for item in inside.bad_items] == ["d"]
    assert "data.links=follow" in inside.bad_items[0].reason
    followed = prepare(settings["follow"], photos, tmp_path / "out", QUIET)
    assert followed.bad_items == []
    assert followed.classes == ["a", "b", "c", "d"]


def test_what_changes_behind_a_followed_link_is_another_source(tmp_path: Path) -> None:
    """Else the data of before would be taken for it."""
    disk = write_folder(tmp_path / "disk", {"0.png": picture(900)})
    photos = write_folder(tmp_path / "photos", FILES)
    (photos / "d").symlink_to(disk)
    (disk / "loop").symlink_to(photos)
    before = [file_fingerprint(photos, follow_links=follow) for follow in (False, True)]
    (disk / "0.png").write_bytes(picture(901) + b"more")
    after = [file_fingerprint(photos, follow_links=follow) for follow in (False, True)]
    assert before[0] == after[0], "what is not read does not count"
    assert before[1] != after[1]


def test_a_file_larger_than_any_image_of_so_many_pixels_is_reported_unread(tmp_path: Path) -> None:
    files = {**FILES, "a/huge.png": bytes(2_000_000)}
    manifest = _prepare(tmp_path, files, max_pixels=64)
    assert [item.name for item in manifest.bad_items] == ["a/huge.png"]
    assert "2000000 bytes, more than" in manifest.bad_items[0].reason


def test_sizes_before_resizing_are_told(tmp_path: Path) -> None:
    files = {f"{label}/{n}.png": picture(n, 5 + n, 12) for label in "ab" for n in range(5)}
    manifest = _prepare(tmp_path, files, geometry="resize", split={"validation": 0, "test": 0})
    assert (manifest.height.min, manifest.height.mean, manifest.height.max) == (5, 7, 9)
    assert (manifest.width.min, manifest.width.max) == (12, 12)


def test_principal_components_are_the_covariances_eigenvectors(tmp_path: Path) -> None:
    statistics = _prepare(tmp_path, FILES).statistics
    covariance = np.array(statistics.covariance)
    variances = [component.variance for component in statistics.principal_components]
    assert variances == sorted(variances, reverse=True)
    for component in statistics.principal_components:
        direction = np.array(component.direction)
        np.testing.assert_allclose(covariance @ direction, component.variance * direction)


@pytest.mark.parametrize("geometry", ["resize", "center_crop"])
def test_the_originals_are_stored_byte_for_byte_where_the_config_says_so(
    tmp_path: Path, geometry: str
) -> None:
    jpegs = {
        f"{label}/{n}.jpg": encoded(
            Image.open(io.BytesIO(picture(ord(label) + n, 20, 30))).resize((300, 200)), "JPEG"
        )
        for label in "aq"
        for n in range(6)
    }
    options: dict[str, Any] = {"size": [16, 16], "geometry": geometry, "shard_examples": 4}
    encoded_out = _prepare(tmp_path, jpegs, store="encoded", **options)
    stored = [
        content
        for split in encoded_out.splits.values()
        for shard in split.shards
        for record in tf.data.TFRecordDataset(str(tmp_path / "out" / shard.file))
        for content in tf.train.Example.FromString(record.numpy())
        .features.feature["images"]
        .bytes_list.value
    ]
    assert sorted(stored) == sorted(jpegs.values())


def test_stored_originals_and_stored_pixels_are_read_back_the_same(tmp_path: Path) -> None:
    """Also where they are not JPEG, or lie on their side, or have 4 channels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = Image.open(io.BytesIO(picture(1, 40, 60)))
    odd = {
        "a/turned.jpg": encoded(photo, "JPEG", exif=exif),
        "a/clear.png": encoded(photo.convert("RGBA")),
        "b/cmyk.jpg": encoded(photo.convert("CMYK"), "JPEG"),
        "b/grey.png": encoded(photo.convert("L")),
    }
    options: dict[str, Any] = {"size": [16, 24], "geometry": "resize"}
    read = {}
    for store in ("pixels", "encoded"):
        manifest = _prepare(tmp_path, {**FILES, **odd}, store=store, **options)
        reader = ShardReader(tmp_path / "out", manifest)
        read[store] = [
            (image.tobytes(), label, index)
            for split in manifest.splits.values()
            for shard in split.shards
            for number in range(len(reader.records[shard.file]))
            for image, label, index in zip(*reader.read(shard.file, number), strict=True)
        ]
        assert len(read[store]) == 34
    assert read["pixels"] == read["encoded"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat/small/{n}.png", "cat/large/{n}.png", "dog/small/{n}.png"], "lies deeper than CLASS"),
        (["{n}.png"], "in no class folder"),
        (["train/cat/{n}.png", "dog/{n}.png"], r"dog/ lies in no train/"),
    ],
    ids=["deeper", "flat", "mixed"],
)
def test_layouts_that_are_not_known_are_refused_and_never_taken_for_others(
    tmp_path: Path, names: list[str], expected: str
) -> None:
    files = {
        name.format(n=n): picture(100 * place + n)
        for place, name in enumerate(names)
        for n in range(5)
    }
    with pytest.raises(InputError, match=expected):
        _prepare(tmp_path, files)


def test_kaggles_unlabelled_test_images_are_reported(tmp_path: Path) -> None:
    files = {f"train/{name}": content for name, content in FILES.items()}
    manifest = _prepare(tmp_path, {**files, "test/0.png": picture(900)})
    assert [(item.name, item.reason) for item in manifest.bad_items] == [
        ("test/0.png", "in test/, but in no class folder")
    ]


def test_the_test_split_has_a_digest_of_its_own(tmp_path: Path) -> None:
    """Models of data sets that differ elsewhere are compared on it."""
    sizes = [
        {"validation": 3, "test": 6},
        {"validation": 2, "test": 6},
        {"validation": 3, "test": 5},
    ]
    first, other_training, other_test = (
        _prepare(tmp_path / str(number), FILES, split=split) for number, split in enumerate(sizes)
    )
    assert other_training.digest != first.digest
    assert other_training.split_digest("train") != first.split_digest("train")
    assert other_training.split_digest("test") == first.split_digest("test")
    assert other_test.split_digest("test") != first.split_digest("test")
