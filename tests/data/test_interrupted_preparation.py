"""Killed, full, locked, or on several processes: the result is the same, whole, or not there."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from image_files import (
    classes_of_pictures,
    data_settings,
    picture,
    write_folder,
    write_tar,
    write_zip,
)

from convforge.errors import InputError, UnfinishedError
from convforge.pipeline.data.manifest import Manifest, is_prepared
from convforge.pipeline.data.preparation import prepare as preparation
from convforge.pipeline.data.preparation.prepare import prepare
from convforge.pipeline.data.preparation.shard_plan import ShardPlan
from convforge.pipeline.data.preparation.shard_writer import write_shard
from convforge.pipeline.filesystem import atomic_folder as work_folder
from convforge.pipeline.progress import Progress, Verbosity

QUIET = Progress(Verbosity.QUIET)
FILES = classes_of_pictures(20)
OPTIONS: dict[str, Any] = {"shard_examples": 5}


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _leftovers(folder: Path) -> list[str]:
    """What lies beside the output, but for locks."""
    names = (path.name for path in folder.iterdir())
    return sorted(name for name in names if not name.endswith(".lock") and name != "out")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    archive = write_zip(folder / "pictures.zip", FILES)
    prepare(data_settings(**OPTIONS), archive, folder / "out", QUIET)
    return _content(folder / "out")


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz", "folder"])
def test_any_number_of_processes_makes_the_same_bytes(
    tmp_path: Path, whole: dict[str, bytes], form: str
) -> None:
    if form == "folder":
        source = write_folder(tmp_path / "pictures.zip", FILES)
    elif form == "zip":
        source = write_zip(tmp_path / "pictures.zip", FILES)
    else:
        source = write_tar(tmp_path / f"pictures.{form}", FILES, "w:gz" if "gz" in form else "w")
    prepare(data_settings(**OPTIONS), source, tmp_path / "out", QUIET, processes=2)
    made = _content(tmp_path / "out")
    if form in ("zip", "folder"):
        assert made == whole
    shards = {name for name in whole if name.endswith(".tfrecord")}
    assert {name: made[name] for name in shards} == {name: whole[name] for name in shards}


def test_a_shard_follows_from_its_job_alone(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """Made by themselves, in any order, as other machines would."""
    archive = write_zip(tmp_path / "pictures.zip", FILES)
    settings = data_settings(**OPTIONS)
    source = preparation.open_source(settings, archive)
    (tmp_path / "work").mkdir()
    (tmp_path / "made").mkdir()
    run = preparation._Preparation(settings, source, tmp_path / "work", tmp_path / "out", QUIET)
    run._scan()
    with preparation.worker_pool(1) as pool:
        run._inspect(pool)
    run._assign()
    plan: ShardPlan = run._plan()
    for spec in reversed(plan.specs()):
        write_shard(plan.job(spec), lambda: False, folder=tmp_path / "made")
    made = {path.name: path.read_bytes() for path in (tmp_path / "made").glob("*.tfrecord")}
    assert made == {name: content for name, content in whole.items() if name.endswith(".tfrecord")}


_KILLED = """
import os, sys
from functools import partial
from pathlib import Path
from convforge.pipeline.data.preparation import prepare as preparation
from convforge.pipeline.data.preparation import shard_writer as shards
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.data import FolderData
where, count, kill = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
folder = Path(sys.argv[4])
made = 0

def counting(function):
    def counted(*args, **named):
        global made
        made += 1
        if made == count:
            os.kill(os.getpid(), kill)
        return function(*args, **named)
    return counted

if where == "inspect":
    preparation.inspect_items = counting(preparation.inspect_items)
    preparation._EXAMINED_AT_ONCE = 4
elif where == "shard":
    preparation.write_shard = counting(preparation.write_shard)
elif where == "record":
    shards._write_record = counting(shards._write_record)
elif where == "manifest":
    preparation.Manifest.write = counting(preparation.Manifest.write)
elif where == "flush":
    from convforge.pipeline.filesystem import atomic_folder as work_folder
    work_folder.flush = counting(work_folder.flush)
settings = FolderData.model_validate_json(sys.argv[5])
preparation.prepare(settings, folder / "pictures.zip", folder / "out", Progress(Verbosity.QUIET))
"""


def _killed(folder: Path, where: str, count: int, kill: int) -> None:
    settings = data_settings(**OPTIONS).model_dump_json()
    command = [sys.executable, "-c", _KILLED, where, str(count), str(kill), str(folder), settings]
    done = subprocess.run(command, env={**os.environ}, stderr=subprocess.PIPE, text=True)
    assert done.returncode == -kill, done.stderr


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("inspect", 1),
        ("inspect", 7),
        ("shard", 1),
        ("shard", 8),
        ("record", 5),
        ("manifest", 1),
        ("flush", 3),
    ],
)
def test_a_killed_run_leaves_nothing_or_all_and_is_continued(
    tmp_path: Path,
    whole: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    count: int,
) -> None:
    write_zip(tmp_path / "pictures.zip", FILES)
    _killed(tmp_path, where, count, signal.SIGKILL)
    assert not (tmp_path / "out").exists()
    made = []
    monkeypatch.setattr(
        preparation, "write_shard", lambda *a, **n: made.append(a[0].file) or write_shard(*a, **n)
    )
    prepare(data_settings(**OPTIONS), tmp_path / "pictures.zip", tmp_path / "out", QUIET)
    assert _content(tmp_path / "out") == whole
    assert _leftovers(tmp_path) == ["pictures.zip"]
    shards = sum(name.endswith(".tfrecord") for name in whole)
    finished = {"inspect": 0, "shard": count - 1, "record": count - 1}.get(where, shards)
    assert len(made) == shards - finished, "what was finished is not made again"


def test_a_killed_run_leaves_the_earlier_result(tmp_path: Path, whole: dict[str, bytes]) -> None:
    archive = write_zip(tmp_path / "pictures.zip", {**FILES, "a/more.png": picture(77)})
    prepare(data_settings(**OPTIONS), archive, tmp_path / "out", QUIET)
    before = _content(tmp_path / "out")
    write_zip(archive, FILES)
    _killed(tmp_path, "shard", 3, signal.SIGKILL)
    assert _content(tmp_path / "out") == before
    prepare(data_settings(**OPTIONS), archive, tmp_path / "out", QUIET)
    assert _content(tmp_path / "out") == whole


def test_work_on_other_images_or_with_another_config_is_not_continued(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "pictures.zip", FILES)
    for change in ({"a/0.png": picture(4711)}, {}):
        _killed(tmp_path, "shard", 6, signal.SIGKILL)
        write_zip(archive, {**FILES, **change})
        fresh = prepare(data_settings(**OPTIONS), archive, tmp_path / "fresh", QUIET)
        other = {**OPTIONS, "shard_examples": 6} if not change else OPTIONS
        manifest = prepare(data_settings(**other), archive, tmp_path / "out", QUIET)
        assert manifest.digest == fresh.digest
        shutil.rmtree(tmp_path / "out")


def test_a_damaged_index_is_made_again(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """As a power cut may leave it."""
    archive = write_zip(tmp_path / "pictures.zip", FILES)
    _killed(tmp_path, "shard", 4, signal.SIGKILL)
    (index,) = (tmp_path / ".out.partial").glob("*.sqlite")
    index.write_bytes(b"no database" * 1000)
    prepare(data_settings(**OPTIONS), archive, tmp_path / "out", QUIET)
    assert _content(tmp_path / "out") == whole


def test_a_shard_that_was_cut_is_made_again(tmp_path: Path, whole: dict[str, bytes]) -> None:
    archive = write_zip(tmp_path / "pictures.zip", FILES)
    _killed(tmp_path, "shard", 4, signal.SIGKILL)
    shard = sorted((tmp_path / ".out.partial").glob("*.tfrecord"))[0]
    shard.write_bytes(shard.read_bytes()[:100])
    prepare(data_settings(**OPTIONS), archive, tmp_path / "out", QUIET)
    assert _content(tmp_path / "out") == whole


@pytest.fixture
def file_size_limit() -> Iterator[Any]:
    """Sets how large a file may become: the kernel then refuses to write, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [700, 10_000, 40_000])
def test_without_room_the_run_ends_plainly_and_is_continued(
    tmp_path: Path, whole: dict[str, bytes], file_size_limit: Any, size: int
) -> None:
    """In a shard, in the index, in a larger index."""
    archive = write_zip(tmp_path / "pictures.zip", FILES)
    settings = data_settings(**OPTIONS)
    file_size_limit(size)
    with pytest.raises(UnfinishedError, match=r"no room left for .*out .*which continues"):
        prepare(settings, archive, tmp_path / "out", QUIET)
    file_size_limit(resource.RLIM_INFINITY)
    assert not (tmp_path / "out").exists()
    prepare(settings, archive, tmp_path / "out", QUIET)
    assert _content(tmp_path / "out") == whole


def _mounted(folder: Path, size: str) -> bool:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        return subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        return False


def test_on_a_disk_that_fills_up_the_run_ends_plainly_and_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real one, on which others write as well, so that its room is gone sooner than counted."""
    disk = tmp_path / "disk"
    if not _mounted(disk, "4m"):
        pytest.skip("mounting a small disk needs root")
    try:
        images = {f"{'ab'[n % 2]}/{n}.png": picture(n, 96, 96) for n in range(80)}
        archive = write_zip(tmp_path / "x.zip", images)
        settings = data_settings(size=[96, 96], shard_examples=8)
        (disk / "other").write_bytes(bytes(3 << 20))
        with monkeypatch.context() as patched:
            plenty = shutil.disk_usage(disk)._replace(free=1 << 40)
            patched.setattr(shutil, "disk_usage", lambda path: plenty)
            with pytest.raises(UnfinishedError, match="no room left"):
                prepare(settings, archive, disk / "out", QUIET)
        assert not (disk / "out").exists()
        assert list((disk / ".out.partial").glob("*.tfrecord")), "what was finished is kept"
        (disk / "other").unlink()
        assert prepare(settings, archive, disk / "out", QUIET).counts.used == 80
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_too_small_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_zip(tmp_path / "pictures.zip", FILES)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UnfinishedError, match=r"out needs [\d.]+ kB and there are 1\.0 kB free"):
        prepare(data_settings(**OPTIONS), archive, tmp_path / "out", QUIET)


def test_an_output_within_a_file_is_one_plain_error(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "pictures.zip", FILES)
    with pytest.raises(InputError, match=r"x/y cannot be written: .*pictures\.zip.* not a folder"):
        prepare(data_settings(**OPTIONS), archive, archive / "x" / "y", QUIET)


def test_a_second_writer_of_one_output_is_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "pictures.zip", FILES)
    out = (tmp_path / "out").resolve()
    with work_folder.locked(out, wait=False), pytest.raises(InputError, match="another process"):
        prepare(data_settings(**OPTIONS), archive, out, QUIET)
    prepare(data_settings(**OPTIONS), archive, out, QUIET)


def test_a_killed_parents_workers_end(tmp_path: Path) -> None:
    """Nobody else would end them."""
    code = """
import os, sys, time
from convforge.pipeline.data.preparation.worker_pool import worker_pool
def job(seconds, stopped):
    print(os.getpid(), flush=True)
    time.sleep(seconds)
if __name__ == "__main__":
    with worker_pool(2) as pool:
        for _ in pool.run(job, [600, 600]):
            pass
"""
    (tmp_path / "jobs.py").write_text(code)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "jobs.py")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        children = [int(parent.stdout.readline()) for _ in range(2)]
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 600
        while any(Path(f"/proc/{child}").exists() for child in children):
            # Not how long it takes, but that it ends.
            assert time.monotonic() < deadline, "a worker outlived its parent"
            time.sleep(0.05)


def test_a_killed_worker_is_one_plain_error(tmp_path: Path) -> None:
    with (
        preparation.worker_pool(2) as pool,
        pytest.raises(UnfinishedError, match="worker process was"),
    ):
        list(pool.run(_kill_worker, [0, 1]))


def _kill_worker(job: int, stopped: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_error_in_a_worker_reaches_the_caller_and_ends_the_others(tmp_path: Path) -> None:
    """The second job waits until it is told to stop: without that this test would not end."""
    with pytest.raises(ZeroDivisionError), preparation.worker_pool(2) as pool:
        list(pool.run(_fail_or_wait, [0, 1]))


def _fail_or_wait(job: int, stopped: Any) -> float:
    while job and not stopped():
        time.sleep(0.01)
    return 1 / job


def test_what_is_there_is_taken_where_that_is_enough(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "pictures.zip", FILES)
    first = prepare(data_settings(**OPTIONS), archive, tmp_path / "out", QUIET, once=True)
    manifest = tmp_path / "out" / "manifest.json"
    changed = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**changed, "name": "kept"}))
    again = prepare(data_settings(**OPTIONS), archive, tmp_path / "out", QUIET, once=True)
    assert (first.name, again.name) == ("pictures", "kept")
    assert is_prepared(tmp_path / "out")
    assert Manifest.read(tmp_path / "out") == again
