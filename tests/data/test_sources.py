"""Folders and archives give the same files, whatever holds them."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_files import classes_of_pictures, write_folder, write_tar, write_zip

from convforge.data.sources import is_litter, open_source
from convforge.errors import InputError

FILES = classes_of_pictures(2)


def _forms(folder: Path) -> dict[str, Path]:
    return {
        "zip": write_zip(folder / "x.zip", FILES),
        "ZIP": write_zip(folder / "y.ZIP", FILES),
        "tar": write_tar(folder / "x.tar", FILES, "w"),
        "tar.gz": write_tar(folder / "x.tar.gz", FILES, "w:gz"),
        "tgz": write_tar(folder / "x.tgz", FILES, "w:gz"),
        "folder": write_folder(folder / "x", FILES),
    }


@pytest.mark.parametrize("form", ["zip", "ZIP", "tar", "tar.gz", "tgz", "folder"])
def test_every_form_yields_the_same_names_and_bytes(tmp_path: Path, form: str) -> None:
    source = open_source(_forms(tmp_path)[form])
    assert dict(source.files()) == FILES
    assert list(source.files()) == list(source.files()), "a source can be read again"


def test_links_in_a_tar_are_not_followed(tmp_path: Path) -> None:
    import tarfile

    path = write_tar(tmp_path / "x.tar", FILES, "w")
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("a/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    assert dict(open_source(path).files()) == FILES


def test_a_member_that_fails_its_checksum_is_empty_and_the_others_whole(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", FILES)
    content = bytearray(path.read_bytes())
    damaged = content.find(FILES["b/0.png"]) + 60
    content[damaged] ^= 0xFF
    path.write_bytes(content)
    read = dict(open_source(path).files())
    assert read == {**FILES, "b/0.png": b""}


@pytest.mark.parametrize("form", ["zip", "tar.gz", "tar"])
def test_an_archive_that_is_none_is_one_plain_error(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"x.{form}"
    path.write_bytes(b"no archive at all" * 100)
    with pytest.raises(InputError, match=r"data\.path=.*is not a readable"):
        list(open_source(path).files())


@pytest.mark.parametrize("form", ["zip", "tar.gz", "tar"])
def test_an_archive_that_ends_early_is_one_plain_error(tmp_path: Path, form: str) -> None:
    path = _forms(tmp_path)[form]
    # In the middle of a file's bytes, also where a tar pads every file to whole blocks.
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 600])
    with pytest.raises(InputError, match=r"data\.path=.*is not a readable"):
        list(open_source(path).files())


def test_an_encrypted_zip_is_a_plain_error_or_reported_files(tmp_path: Path) -> None:
    """The bit that says so is set by hand: Python writes no encrypted archives."""
    path = write_zip(tmp_path / "x.zip", FILES)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(signature)
        while start >= 0:
            content[start + offset] |= 1
            start = content.find(signature, start + 4)
    path.write_bytes(content)
    try:
        contents = set(dict(open_source(path).files()).values())
    except InputError:
        contents = {b""}
    assert contents == {b""}


def test_a_kind_of_file_that_is_no_source_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.rar").write_bytes(b"Rar!")
    with pytest.raises(InputError, match=r"x\.rar is not a folder, \.zip, \.tar or \.tar\.gz"):
        open_source(tmp_path / "x.rar")


def test_data_that_is_not_there_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.zip does not exist.*dvc pull data\.dvc"):
        open_source(tmp_path / "nothing.zip")


@pytest.mark.parametrize(
    "name",
    [
        "a/.DS_Store",
        "a/Thumbs.db",
        "a/desktop.ini",
        "__MACOSX/a/._0.png",
        "a/._0.png",
        ".DS_Store",
        "__MACOSX/a/0.png",
    ],
)
def test_what_operating_systems_leave_is_litter(name: str) -> None:
    assert is_litter(name)


@pytest.mark.parametrize("name", ["a/0.png", "a/notes.txt", ".hidden/0.png", "macosx/0.png"])
def test_everything_else_is_not_passed_over_in_silence(name: str) -> None:
    assert not is_litter(name)
