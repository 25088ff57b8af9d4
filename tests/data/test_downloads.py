"""Downloads from a real server on this machine: whole, broken, continued, wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from file_server import Behaviour, serving

from convforge.errors import InputError
from convforge.pipeline import cli
from convforge.pipeline.data.preparation.sources import downloads
from convforge.pipeline.data.preparation.sources.downloads import (
    DATA_SETS,
    PublicDataSet,
    RemoteFile,
    fetch,
)
from convforge.pipeline.progress import Progress

CONTENT = np.random.default_rng(0).bytes(300_000)
LABELS = b"a second file"


def _remote(name: str, content: bytes) -> RemoteFile:
    return RemoteFile(name, len(content), hashlib.sha256(content).hexdigest())


def _data_set(**changes: Any) -> PublicDataSet:
    files = (_remote("images.gz", CONTENT), _remote("labels.gz", LABELS))
    made = PublicDataSet("Test: noise", "http://example.org", "none", (), files, "folder")
    return dataclasses.replace(made, **changes)


def _server(**faults: Any) -> Behaviour:
    return Behaviour({"images.gz": CONTENT, "labels.gz": LABELS}, **faults)


def _fetch(out: Path, *hosts: str, data_set: PublicDataSet | None = None, **options: Any) -> Path:
    data_set = data_set or _data_set(hosts=hosts)
    options = {"timeout": 5.0, "pause": 0.0, **options}
    return fetch(data_set, out, Progress(), **options)


def _is_complete(out: Path) -> bool:
    names = {"images.gz", "labels.gz", "README.md"}
    return (
        {path.name for path in out.iterdir()} == names
        and (out / "images.gz").read_bytes() == CONTENT
        and (out / "labels.gz").read_bytes() == LABELS
    )


def _ranges(behaviour: Behaviour, name: str = "images.gz") -> list[str | None]:
    return [asked for path, asked in behaviour.requests if path.endswith(name)]


def test_a_data_set_arrives_whole_with_a_note_of_its_origin(tmp_path: Path) -> None:
    with serving(_server()) as host:
        assert _fetch(tmp_path / "new" / "set", host) == tmp_path / "new" / "set"
    assert _is_complete(tmp_path / "new" / "set")
    readme = (tmp_path / "new" / "set" / "README.md").read_text()
    assert "http://example.org" in readme
    assert hashlib.sha256(CONTENT).hexdigest() in readme


def test_the_answer_names_the_file_that_a_config_opens(tmp_path: Path) -> None:
    with serving(_server()) as host:
        data_set = _data_set(hosts=(host,), opened="images.gz")
        assert _fetch(tmp_path, data_set=data_set) == tmp_path / "images.gz"


def test_a_second_time_it_says_so_and_asks_the_server_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(_server()) as host:
        _fetch(tmp_path, host)
    capsys.readouterr()
    behaviour = _server()
    with serving(behaviour) as host:
        _fetch(tmp_path, host)
    assert behaviour.requests == []
    assert capsys.readouterr().err.splitlines() == [
        "images.gz: already there, SHA-256 right",
        "labels.gz: already there, SHA-256 right",
    ]


def test_a_readme_of_the_users_stays(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with serving(_server()) as host:
        _fetch(tmp_path, host)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_file_of_that_name_that_is_another_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "images.gz").write_bytes(b"a user's own")
    with serving(_server()) as host, pytest.raises(InputError, match="is there, but is not the"):
        _fetch(tmp_path, host)
    assert (tmp_path / "images.gz").read_bytes() == b"a user's own"


def test_a_connection_cut_half_way_is_taken_up_where_it_broke(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    behaviour = _server(cuts=[150_000])
    with serving(behaviour) as host:
        _fetch(tmp_path, host)
    assert _is_complete(tmp_path)
    assert _ranges(behaviour) == [None, "bytes=150000-"]
    said = capsys.readouterr().err
    assert "images.gz: the connection broke off; trying again" in said
    assert "images.gz: continuing at 50%" in said


def test_another_day_continues_what_the_last_one_left(tmp_path: Path) -> None:
    broken = _server(cuts=[100_000, 0, 0])
    with serving(broken) as host, pytest.raises(InputError) as error:
        _fetch(tmp_path, host)
    assert str(error.value) == (
        f"cannot download images.gz: {host}/images.gz: the connection broke off; "
        "33% is kept, and the same command continues there"
    )
    assert (tmp_path / "images.gz.partial").read_bytes() == CONTENT[:100_000]
    behaviour = _server()
    with serving(behaviour) as host:
        _fetch(tmp_path, host)
    assert _ranges(behaviour) == ["bytes=100000-"]
    assert _is_complete(tmp_path)


def test_a_download_that_was_complete_but_not_yet_named_needs_no_server(tmp_path: Path) -> None:
    (tmp_path / "images.gz.partial").write_bytes(CONTENT)
    behaviour = _server()
    with serving(behaviour) as host:
        _fetch(tmp_path, host)
    assert _ranges(behaviour) == []
    assert _is_complete(tmp_path)


def test_a_server_without_ranges_sends_all_again(tmp_path: Path) -> None:
    behaviour = _server(cuts=[150_000], ranges=False)
    with serving(behaviour) as host:
        _fetch(tmp_path, host)
    assert _ranges(behaviour) == [None, "bytes=150000-"]
    assert _is_complete(tmp_path)


def test_a_server_that_sends_another_part_is_asked_for_all(tmp_path: Path) -> None:
    (tmp_path / "images.gz.partial").write_bytes(CONTENT[:1000])
    behaviour = _server(shift=5)
    with serving(behaviour) as host:
        _fetch(tmp_path, host)
    assert _ranges(behaviour) == ["bytes=1000-", None]
    assert _is_complete(tmp_path)


def test_a_server_that_gives_no_length_is_read_to_the_end(tmp_path: Path) -> None:
    with serving(_server(chunked=True)) as host:
        _fetch(tmp_path, host)
    assert _is_complete(tmp_path)


@pytest.mark.parametrize(
    "left", [b"\0" * 1000, CONTENT + b"more"], ids=["of another file", "too long"]
)
def test_a_spoilt_part_costs_a_second_download_and_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], left: bytes
) -> None:
    """Also what happens when the file on the server has changed since the first part."""
    (tmp_path / "images.gz.partial").write_bytes(left)
    with serving(_server()) as host:
        _fetch(tmp_path, host)
    assert _is_complete(tmp_path)
    assert "starting again" in capsys.readouterr().err


def test_a_file_with_the_wrong_checksum_is_refused_and_not_kept(tmp_path: Path) -> None:
    wrong = bytes(len(CONTENT))
    behaviour = Behaviour({"images.gz": wrong})
    with serving(behaviour) as host, pytest.raises(InputError) as error:
        _fetch(tmp_path, host)
    assert str(error.value) == (
        f"cannot download images.gz: {host}/images.gz: not the official file, since its SHA-256 "
        f"is {hashlib.sha256(wrong).hexdigest()}, not {hashlib.sha256(CONTENT).hexdigest()}"
    )
    assert list(tmp_path.iterdir()) == []
    assert _ranges(behaviour) == [None]


@pytest.mark.parametrize("arrived", [0, 1000, 200_000])
def test_a_file_of_another_size_is_refused_before_it_is_downloaded(
    tmp_path: Path, arrived: int
) -> None:
    """Such as the page on which a hotel's network asks for a login."""
    partial = tmp_path / "images.gz.partial"
    partial.write_bytes(CONTENT[:arrived])
    page = Behaviour({"images.gz": b"<html>" * 1000})
    with serving(page) as host, pytest.raises(InputError, match="not the official file, since it"):
        _fetch(tmp_path, host)
    assert partial.read_bytes() == CONTENT[:arrived]


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (500, 3), (503, 3), (429, 3)])
def test_an_error_of_the_server_is_told_and_tried_again_where_that_may_help(
    tmp_path: Path, status: int, requests: int
) -> None:
    behaviour = _server(statuses=[status] * 5)
    with serving(behaviour) as host, pytest.raises(InputError) as error:
        _fetch(tmp_path, host)
    assert re.fullmatch(
        rf"cannot download images.gz: {host}/images.gz: the server answers {status} [A-Z][^;\n]+",
        str(error.value),
    )
    assert len(behaviour.requests) == requests


def test_a_passing_error_passes(tmp_path: Path) -> None:
    with serving(_server(statuses=[503, 500])) as host:
        _fetch(tmp_path, host)
    assert _is_complete(tmp_path)


def _refusing() -> str:
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_refused_connection_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"images.gz: connection refused$"):
        _fetch(tmp_path, _refusing())


def test_without_a_network_that_is_what_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    with pytest.raises(InputError) as error:
        _fetch(tmp_path / "set", "https://data.invalid/a", "http://mirror.invalid")
    assert str(error.value) == (
        "no network to download images.gz: the host is not found (Name or service not known): "
        "data.invalid, mirror.invalid"
    )
    assert not (tmp_path / "set").exists()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("after", [0, 1000])
def test_a_server_that_hangs_is_given_up_after_the_timeout(tmp_path: Path, after: int) -> None:
    with (
        serving(_server(hangs_after=after)) as host,
        pytest.raises(InputError, match=r"no answer within 0\.2 s"),
    ):
        _fetch(tmp_path, host, timeout=0.2, attempts=1)
    assert not (tmp_path / "images.gz").exists()


def test_a_server_that_trickles_is_given_up_as_well(tmp_path: Path) -> None:
    with (
        serving(_server(drip=0.05)) as host,
        pytest.raises(InputError, match=r"\d+ bytes in 0\.3 s only"),
    ):
        _fetch(tmp_path, host, timeout=0.3, attempts=1)


def test_what_is_no_web_server_is_told(tmp_path: Path) -> None:
    with (
        serving(_server(garbage=True)) as host,
        pytest.raises(InputError, match=r"no web server's answer \(SSH-2\.0"),
    ):
        _fetch(tmp_path, host)


def test_a_redirection_is_followed_with_the_range(tmp_path: Path) -> None:
    (tmp_path / "images.gz.partial").write_bytes(CONTENT[:1000])
    behaviour = _server()
    with serving(behaviour) as there, serving(_server(redirect=there)) as host:
        _fetch(tmp_path, host)
    assert _ranges(behaviour) == ["bytes=1000-"]
    assert _is_complete(tmp_path)


def test_the_next_host_goes_on_where_the_first_broke(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = _server(cuts=[150_000] + [0] * 9), _server()
    with serving(first) as host, serving(second) as other:
        _fetch(tmp_path, host, other)
    assert _ranges(second) == ["bytes=150000-"]
    assert _is_complete(tmp_path)
    assert "images.gz: the connection broke off; trying the next host" in capsys.readouterr().err


def test_a_host_with_a_wrong_file_does_not_hinder_the_next(tmp_path: Path) -> None:
    with serving(Behaviour({"images.gz": bytes(len(CONTENT))})) as host, serving(_server()) as good:
        _fetch(tmp_path, host, good)
    assert _is_complete(tmp_path)


def test_every_host_that_failed_is_named_with_its_reason(tmp_path: Path) -> None:
    refusing = _refusing()
    with serving(Behaviour({})) as host, pytest.raises(InputError) as error:
        _fetch(tmp_path, host, refusing)
    assert str(error.value) == (
        f"cannot download images.gz: {host}/images.gz: the server answers 404 Not Found; "
        f"{refusing}/images.gz: connection refused"
    )


@pytest.mark.parametrize("ending", ["", "/", "/images.gz"])
def test_a_mirror_takes_the_place_of_the_hosts(tmp_path: Path, ending: str) -> None:
    with serving(_server()) as mirror:
        _fetch(tmp_path, _refusing(), data_set=_data_set(), mirror=mirror + ending)
    assert _is_complete(tmp_path)


@pytest.mark.parametrize(
    "mirror", ["example.org/x", "file:///etc", "https://", "ftp://a/b", "http://a b/", ""]
)
def test_a_mirror_that_is_no_address_is_refused(tmp_path: Path, mirror: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"--url={mirror} is not an address")):
        _fetch(tmp_path, mirror=mirror, data_set=_data_set())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "images.gz.partial").symlink_to("/dev/full")
    with serving(_server()) as host, pytest.raises(InputError, match=r"^no room left for "):
        _fetch(tmp_path, host)


def test_too_small_a_disk_is_told_before_anything_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage)
    behaviour = _server()
    with serving(behaviour) as host, pytest.raises(InputError) as error:
        _fetch(tmp_path, host)
    assert f"no room for {tmp_path}/images.gz: 0.3 MB are needed, 0.1 MB are free" in str(
        error.value
    )
    assert behaviour.requests == []


def test_a_file_where_the_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("")
    for out in (tmp_path / "set", tmp_path / "set" / "below"):
        with pytest.raises(InputError, match=r"is a file|Not a directory"):
            _fetch(out, _refusing())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"cannot write .*Permission denied"):
        _fetch(tmp_path / "set", _refusing())


def test_two_at_the_same_time_bring_one_file(tmp_path: Path) -> None:
    behaviour = _server()
    failures: list[BaseException] = []

    def bring(host: str) -> None:
        try:
            _fetch(tmp_path, host)
        except BaseException as error:
            failures.append(error)

    with serving(behaviour) as host:
        threads = [threading.Thread(target=bring, args=(host,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert _is_complete(tmp_path)
    assert _ranges(behaviour) == [None]


def test_the_official_files_are_what_the_formats_say() -> None:
    """The catalogue is consistent: real names, SHA-256 in full, hosts without a final slash."""
    assert list(DATA_SETS) == ["cifar10", "cifar100", "mnist", "fashion_mnist"]
    checksums = [file.sha256 for made in DATA_SETS.values() for file in made.files]
    assert len(set(checksums)) == len(checksums) == 10
    assert all(re.fullmatch(r"[0-9a-f]{64}", checksum) for checksum in checksums)
    for made in DATA_SETS.values():
        assert all(re.fullmatch(r"https?://\S+[^/]", host) for host in made.hosts)
        assert made.opened is None or made.opened in {file.name for file in made.files}


@pytest.mark.parametrize("name", DATA_SETS)
def test_the_config_that_is_named_reads_what_was_downloaded(
    shared_project: Path, name: str
) -> None:
    from convforge.pipeline.composition import compose_config, settings_of

    made = DATA_SETS[name]
    settings = settings_of(compose_config(shared_project, [f"data={made.config}"]))
    path = Path("data-sets", name, made.opened or "")
    assert Path(settings.data.path) == path


@pytest.fixture
def small_catalogue(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a small data set in the place of CIFAR-10."""

    def install(host: str) -> None:
        small = _data_set(hosts=(host,), opened="images.gz", config="cifar10")
        monkeypatch.setitem(DATA_SETS, "cifar10", small)

    return install


def test_the_command_fills_a_folder_of_the_project_and_says_what_is_next(
    project: Path,
    small_catalogue: Callable[[str], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    with serving(_server()) as host:
        small_catalogue(host)
        assert cli.main(["fetch", "cifar10"]) == 0
    assert _is_complete(project / "data-sets" / "cifar10")
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert re.fullmatch(r"fetch images.gz: 300 kB, [\d,]+ kB/s", lines[0])
    assert lines[-1] == "next: convforge train data=cifar10"


def test_the_command_takes_another_folder_and_a_mirror(
    project: Path,
    tmp_path: Path,
    small_catalogue: Callable[[str], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    small_catalogue(_refusing())
    out = tmp_path / "my data"
    with serving(_server()) as mirror:
        assert cli.main(["fetch", "cifar10", "--out", str(out), "--url", mirror]) == 0
    assert _is_complete(out)
    assert capfd.readouterr().err.splitlines()[-1].endswith(f"'data.path={out}/images.gz'")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fetch imagenet", "there is no data set 'imagenet' to fetch: give cifar10, cifar100,"),
        ("fetch mnist --url nowhere", "--url=nowhere is not an address"),
        ("fetch mnist --timeout 0", "--timeout=0 is not allowed"),
        ("fetch mnist --timeout nan", "--timeout=nan is not allowed"),
        ("fetch mnist --out conf/config.yaml", "conf/config.yaml is a file"),
    ],
)
def test_a_mistake_is_one_error_line(
    project: Path, capfd: pytest.CaptureFixture[str], line: str, expected: str
) -> None:
    assert cli.main(line.split()) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: ")
    assert expected in err


def test_a_quiet_fetch_says_nothing(
    project: Path,
    small_catalogue: Callable[[str], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    with serving(_server()) as host:
        small_catalogue(host)
        assert cli.main(["fetch", "-q", "cifar10"]) == 0
    assert capfd.readouterr() == ("", "")
