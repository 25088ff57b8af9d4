"""Folders and archives give the same files, whatever holds them, and report what is no file."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from image_files import classes_of_pictures, picture, write_folder, write_tar, write_zip

from convforge.errors import BadItemError, InputError
from convforge.pipeline.data.preparation.containers import Container, Member
from convforge.pipeline.data.preparation.sources.files import is_litter, open_container

FILES = classes_of_pictures(2)
FORMS = ["zip", "ZIP", "deflated", "tar", "tar.gz", "tgz", "folder"]


def _form(folder: Path, form: str) -> Path:
    if form in ("zip", "ZIP"):
        return write_zip(folder / f"x.{form}", FILES)
    if form == "deflated":
        with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in FILES.items():
                archive.writestr(name, content)
        return folder / "x.zip"
    if form == "folder":
        return write_folder(folder / "x", FILES)
    return write_tar(folder / f"x.{form}", FILES, "w" if form == "tar" else "w:gz")


def _members(container: Container) -> list[Member]:
    return list(container.members(lambda share: None))


def _read(container: Container) -> dict[str, bytes | str]:
    """The content of every file, or why there is none."""
    found: dict[str, bytes | str] = {}
    with container.reader() as read:
        for member in _members(container):
            if member.problem is not None:
                found[member.name] = member.problem
            elif not member.is_folder:
                try:
                    found[member.name] = read(member.locator, member.size)
                except BadItemError as error:
                    found[member.name] = str(error)
    return found


@pytest.mark.parametrize("form", FORMS)
def test_every_form_yields_the_same_names_and_bytes(tmp_path: Path, form: str) -> None:
    container = open_container(_form(tmp_path, form))
    assert _read(container) == FILES
    assert _members(container) == _members(container), "always in the same order"


@pytest.mark.parametrize("form", FORMS)
def test_only_a_compressed_tar_must_be_read_forward(tmp_path: Path, form: str) -> None:
    container = open_container(_form(tmp_path, form))
    assert container.forward_only == (form in ("tar.gz", "tgz"))
    with container.reader() as read:
        for member in reversed(_members(container)):
            if not member.is_folder and not container.forward_only:
                assert read(member.locator, member.size) == FILES[member.name]


def _add_member(path: Path, name: str, kind: bytes, target: str = "") -> None:
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        archive.addfile(member)


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.FIFOTYPE, "not a plain file"),
        (tarfile.CHRTYPE, "not a plain file"),
    ],
)
def test_what_is_no_file_in_a_tar_is_reported(tmp_path: Path, kind: bytes, problem: str) -> None:
    path = write_tar(tmp_path / "x.tar", FILES, "w")
    _add_member(path, "a/odd.png", kind, "/etc/hostname")
    assert _read(open_container(path)) == {**FILES, "a/odd.png": problem}


@pytest.mark.parametrize(
    "name",
    [
        *("../out.png", "a/../../out.png", "/out.png", "/etc/x/out.png", "//etc/x/out.png"),
        *("C:/out.png", "../x/", "/etc/x/"),
    ],
)
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_a_path_that_leaves_the_archive_is_reported(tmp_path: Path, name: str, form: str) -> None:
    if form == "zip":
        path = write_zip(tmp_path / "x.zip", {name: picture(1)})
    else:
        path = tmp_path / "x.tar"
        with tarfile.open(path, "w") as archive:
            member = tarfile.TarInfo(name)
            archive.addfile(member, io.BytesIO())
    ((_, problem),) = _read(open_container(path)).items()
    assert problem == "its path leaves the archive"


def test_a_backslash_does_not_hide_that_a_path_leaves_a_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"\\etc\\x\\out.png": picture(1)})
    assert _read(open_container(path)) == {"/etc/x/out.png": "its path leaves the archive"}


def test_windows_separators_in_a_zip_are_understood(tmp_path: Path) -> None:
    windows = {name.replace("/", "\\"): content for name, content in FILES.items()}
    assert _read(open_container(write_zip(tmp_path / "x.zip", windows))) == FILES


def test_a_link_in_a_zip_is_reported(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        member = zipfile.ZipInfo("a/link.png")
        member.create_system, member.external_attr = 3, 0o120777 << 16
        archive.writestr(member, "/etc/hostname")
    assert _read(open_container(tmp_path / "x.zip")) == {"a/link.png": "a link"}


def test_an_encrypted_zip_is_reported_file_by_file(tmp_path: Path) -> None:
    """The bit that says so is set by hand: Python writes no encrypted archives."""
    path = write_zip(tmp_path / "x.zip", FILES)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(signature)
        while start >= 0:
            content[start + offset] |= 1
            start = content.find(signature, start + 4)
    path.write_bytes(content)
    assert _read(open_container(path)) == dict.fromkeys(FILES, "encrypted")


def test_a_compression_that_is_not_read_is_reported(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a/0.png", picture(0))
    ((_, problem),) = _read(open_container(tmp_path / "x.zip")).items()
    assert str(problem).startswith("compressed by a method that is not read")


def test_a_member_that_fails_its_checksum_is_reported_and_the_others_whole(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", FILES)
    content = bytearray(path.read_bytes())
    content[content.find(FILES["b/0.png"]) + 60] ^= 0xFF
    path.write_bytes(content)
    assert _read(open_container(path)) == {**FILES, "b/0.png": "damaged in its archive"}


def test_a_zip_that_unpacks_to_more_than_it_says_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/bomb.png", bytes(50_000_000))
    content = bytearray((tmp_path / "x.zip").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", content, content.find(signature) + offset, 1000)
    (tmp_path / "x.zip").write_bytes(content)
    tracemalloc.start()
    try:
        found = _read(open_container(tmp_path / "x.zip"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == {"a/bomb.png": "damaged in its archive"}
    assert peak < 5_000_000, "the 50 MB were not unpacked to find that out"


@pytest.mark.parametrize("form", ["zip", "tar.gz", "tar"])
def test_an_archive_that_is_none_is_one_plain_error(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"x.{form}"
    path.write_bytes(b"no archive at all" * 100)
    with pytest.raises(InputError, match=r"data\.path=.*is not a readable"):
        _members(open_container(path))


@pytest.mark.parametrize("form", ["zip", "tar.gz", "tar"])
def test_an_archive_that_ends_early_is_one_plain_error(tmp_path: Path, form: str) -> None:
    path = _form(tmp_path, form)
    # In the middle of a file's bytes, also where a tar pads every file to whole blocks.
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 600])
    with pytest.raises(InputError, match=r"data\.path=.*is not a readable"):
        _members(open_container(path))


@pytest.mark.parametrize("member", [1, 2, 5])
def test_a_damaged_header_is_not_taken_for_the_end_of_a_tar(tmp_path: Path, member: int) -> None:
    """Tarfile itself stops there without a word, and all that follows would be missing."""
    path = _form(tmp_path, "tar")
    with tarfile.open(path) as archive:
        offset = archive.getmembers()[member].offset
    content = bytearray(path.read_bytes())
    content[offset + 3] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(InputError, match="a damaged header"):
        _members(open_container(path))


def test_a_compressed_tar_with_a_wrong_checksum_is_one_plain_error(tmp_path: Path) -> None:
    path = _form(tmp_path, "tar.gz")
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="CRC"):
        _members(open_container(path))


def test_a_header_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    """The name of a member may say that it is as long as it likes."""
    member = tarfile.TarInfo("x")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    (tmp_path / "x.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(InputError, match="a header of"):
        _members(open_container(tmp_path / "x.tar"))


LEAVES = "a link that leaves the folder: data.links=follow reads what it leads to"


def test_links_out_of_a_folder_are_reported_with_the_way_to_follow_them(tmp_path: Path) -> None:
    """A stranger's data set must not read what lies elsewhere on the disk."""
    (tmp_path / "private.png").write_bytes(picture(99))
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "0.png").write_bytes(picture(98))
    folder = write_folder(tmp_path / "x", FILES)
    (folder / "a" / "absolute.png").symlink_to(tmp_path / "private.png")
    (folder / "a" / "relative.png").symlink_to("../../private.png")
    (folder / "a" / "up").symlink_to("../..")
    (folder / "d").symlink_to(tmp_path / "private")
    # As a text the target lies inside; it does not where it leads to.
    (folder / "b" / "by.png").symlink_to("../d/0.png")
    expected = dict.fromkeys(("a/absolute.png", "a/relative.png", "a/up", "b/by.png", "d"), LEAVES)
    assert _read(open_container(folder)) == {**FILES, **expected}


def test_links_within_a_folder_are_read_and_the_folder_itself_may_be_one(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "x", FILES)
    (folder / "a" / "again.png").symlink_to("../b/1.png")
    (folder / "d").symlink_to("b")
    (folder / "a" / "loop").symlink_to("../a")
    (folder / "b" / "top").symlink_to("..")
    (tmp_path / "link").symlink_to(folder)
    back = "a link back to a folder above"
    expected = {
        **FILES,
        "a/again.png": FILES["b/1.png"],
        **{f"d/{n}.png": FILES[f"b/{n}.png"] for n in range(2)},
        **dict.fromkeys(("a/loop", "b/top", "d/top"), back),
    }
    assert _read(open_container(tmp_path / "link")) == expected


def test_links_are_followed_where_asked_and_those_to_nothing_reported(tmp_path: Path) -> None:
    """DVC links data sets into place, file by file, and people link whole folders."""
    store = write_folder(tmp_path / "store", FILES)
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "a").symlink_to(store / "a")
    (linked / "b").mkdir()
    (linked / "b" / "0.png").symlink_to(store / "b" / "0.png")
    (linked / "b" / "1.png").symlink_to(store / "b" / "gone.png")
    (linked / "b" / "loop").symlink_to(linked)
    expected = {name: FILES[name] for name in ("a/0.png", "a/1.png", "b/0.png")}
    assert _read(open_container(linked, follow_links=True)) == {
        **expected,
        "b/1.png": "a link to nothing",
        "b/loop": "a link back to a folder above",
    }


def test_a_pipe_on_disk_is_reported_and_not_waited_for(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "x", FILES)
    os.mkfifo(folder / "a" / "pipe.png")
    assert _read(open_container(folder))["a/pipe.png"] == "neither a file nor a folder"


def test_a_file_that_cannot_be_read_is_reported_with_the_reason(tmp_path: Path) -> None:
    container = open_container(write_folder(tmp_path / "x", FILES))
    members = [member for member in _members(container) if not member.is_folder]
    (tmp_path / "x" / "a" / "0.png").unlink()
    (tmp_path / "x" / "a" / "1.png").write_bytes(b"another")
    with container.reader() as read:
        with pytest.raises(BadItemError, match="cannot be read: No such file"):
            read(members[0].locator, members[0].size)
        with pytest.raises(BadItemError, match="changed while it was read"):
            read(members[1].locator, members[1].size)


@pytest.mark.skipif(os.geteuid() == 0, reason="everything is readable to root")
def test_a_file_or_folder_without_permission_is_reported(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "x", FILES)
    (folder / "a" / "0.png").chmod(0)
    (folder / "b").chmod(0)
    try:
        read = _read(open_container(folder))
    finally:
        (folder / "b").chmod(0o700)
    assert "Permission denied" in str(read["a/0.png"])
    assert "Permission denied" in str(read["b"])


def test_names_that_are_no_text_are_shown_and_read(tmp_path: Path) -> None:
    (tmp_path / "x" / "a").mkdir(parents=True)
    with open(os.fsencode(tmp_path / "x" / "a") + b"/caf\xe9.png", "wb") as file:  # noqa: PTH123
        file.write(b"content")
    assert _read(open_container(tmp_path / "x")) == {"a/caf\\xe9.png": b"content"}


def test_a_kind_of_file_that_holds_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.rar").write_bytes(b"Rar!")
    with pytest.raises(InputError, match=r"x\.rar is not a folder, \.zip, \.tar or \.tar\.gz"):
        open_container(tmp_path / "x.rar")


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
