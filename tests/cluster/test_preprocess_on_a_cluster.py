"""`convforge preprocess --cluster ray`: the shards that one machine would make."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from own_network import run_alone, unavailable

from convforge.errors import InputError
from convforge.pipeline import cli
from convforge.pipeline.data.preparation.ray_worker_pool import Common
from convforge.pipeline.filesystem.atomic_folder import KEY
from convforge.pipeline.ray_cluster import RayCluster

_WHY_NOT = unavailable()
HERE = Path(__file__).parent
# About 80 shards.
OVERRIDES = ("data.shard_examples=50", "data.split.test=1000")


def _content(folder: Path) -> dict[str, bytes]:
    """Of all files but the card, which says when and from where it was made."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.slow
@pytest.mark.skipif(_WHY_NOT is not None, reason=str(_WHY_NOT))
def test_a_cluster_makes_the_same_bytes_whatever_is_killed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = Path(__file__).parents[2] / "data" / "mnist-5k.zip"
    with zipfile.ZipFile(digits) as archive:
        archive.extractall(project / "pictures.d")
    (project / "pictures.zip").write_bytes(digits.read_bytes())
    # Compressed as a whole: one machine reads it for all.
    with tarfile.open(project / "pictures.tgz", "w:gz") as archive:
        archive.add(project / "pictures.d", arcname="")
    command = [sys.executable, str(HERE / "prepare_on_nodes.py"), str(project), *OVERRIDES]
    done = run_alone(command, project, timeout=540, PYTHONPATH=":".join(sys.path))
    assert done.returncode == 0, done.stderr

    for name in ("zip", "tgz", "d"):
        here = ["preprocess", "-q", "--workers", "1", "--out", str(project / f"here-{name}")]
        assert cli.main([*here, f"data.path={project}/pictures.{name}", *OVERRIDES]) == 0
    whole = _content(project / "here-zip")
    shards = sum(name.endswith(".tfrecord") for name in whole)
    assert shards > 50
    for made, expected in (
        ("zip", "zip"), ("tgz", "tgz"), ("d", "d"), ("worker", "zip"), ("driver", "zip"),
    ):  # fmt: skip
        assert _content(project / f"out-{made}") == _content(project / f"here-{expected}"), made
    assert not list(project.glob(".*.partial"))
    print(
        f"\n{shards} shards of 3 sources on 2 nodes: {done.stdout.splitlines()[-1]}, 0 differences"
    )


@pytest.mark.slow
@pytest.mark.skipif(_WHY_NOT is not None, reason=str(_WHY_NOT))
def test_ray_on_this_machine_alone_makes_the_same_bytes(project: Path) -> None:
    splits = ["data.split.test=100", "data.split.validation=50"]
    words = ["preprocess", *splits, "data.shard_examples=20", "--out"]
    here, there = project / "here", project / "there"
    assert cli.main([*words, str(here), "--workers", "1"]) == 0
    command = [
        sys.executable,
        "-m",
        "convforge.pipeline.cli",
        *words,
        str(there),
        "--cluster",
        "ray",
    ]
    done = run_alone(command, project, timeout=200, RAY_ADDRESS="")
    assert done.returncode == 0, done.stderr
    assert _content(there) == _content(here)


def test_without_ray_it_says_what_to_install(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.main(["preprocess", "--cluster", "ray", "data.split.test=100"]) == 2
    said = capfd.readouterr().err.splitlines()
    assert said == ["error: Ray is not installed: pip install 'convforge[cluster]'"]


@pytest.mark.parametrize("text", ["dask", "ray:", "rays", ""])
def test_another_cluster_is_refused(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["preprocess", "--cluster", text])
    assert ended.value.code == 2
    assert "give ray, ray:auto or ray:HOST:PORT" in capfd.readouterr().err


def test_the_address_follows_the_engine() -> None:
    assert RayCluster.parse("ray") == RayCluster(None)
    assert RayCluster.parse("ray:auto") == RayCluster("auto")


def test_a_machine_with_other_files_or_versions_is_refused(tmp_path: Path) -> None:
    """Where storage is not shared, images that are missing would pass as damaged ones."""
    folder, source = tmp_path / "work", tmp_path / "images.zip"
    folder.mkdir()
    (folder / KEY).write_text("ours")
    source.write_bytes(b"images")
    common = Common.here(folder, [source], "Pillow 13")
    common.check("Pillow 13")

    with pytest.raises(InputError, match="has Pillow 12, not Pillow 13"):
        common.check("Pillow 12")
    (folder / KEY).write_text("another's")
    with pytest.raises(InputError, match=rf"does not see {folder} as this machine does"):
        common.check("Pillow 13")
    (folder / KEY).unlink()
    with pytest.raises(InputError, match=rf"does not see {folder}"):
        common.check("Pillow 13")
    (folder / KEY).write_text("ours")
    source.write_bytes(b"other images")
    with pytest.raises(InputError, match=rf"does not see {source}"):
        common.check("Pillow 13")
    source.unlink()
    with pytest.raises(InputError, match=rf"does not see {source}"):
        common.check("Pillow 13")
