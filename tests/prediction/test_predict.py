"""`convforge predict` on files, folders and archives, in each format, by a model however named."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convforge.pipeline import cli
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.stages.train import train

QUIET = Progress(Verbosity.QUIET)


@pytest.fixture(scope="module")
def root(
    compose: Callable[..., Any], digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Where a tracked run lies in `run/`, its store beside it, good enough to tell digits."""
    root = tmp_path_factory.mktemp("predicts")
    settings = compose("model=softmax_linear", "augment=none", "trainer.epochs=12")
    train(settings, digits, root / "run", root, QUIET)
    return root


@pytest.fixture(scope="module")
def images(digits_archive: Path, root: Path) -> Path:
    """A folder: two digits, a text, and what an operating system leaves."""
    folder = root / "images"
    (folder / "sub").mkdir(parents=True)
    with zipfile.ZipFile(digits_archive) as archive:
        for digit, name in (("3", "three.png"), ("7", "sub/seven.png")):
            member = max(n for n in archive.namelist() if n[0] == digit)
            (folder / name).write_bytes(archive.read(member))
    (folder / "notes.txt").write_text("no image")
    (folder / ".DS_Store").write_bytes(b"x")
    return folder


@pytest.fixture(scope="module")
def archives(images: Path) -> list[Path]:
    """The same as a zip and a tar."""
    return [
        Path(shutil.make_archive(str(images.parent / "pack"), kind, images))
        for kind in ("zip", "gztar")
    ]


def predicted(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, list[str]]:
    """Exit status, standard output, and what was told."""
    try:
        status = cli.main(["predict", *map(str, arguments)])
    except SystemExit as end:
        status = int(end.code or 0)
    out, err = capsys.readouterr()
    return status, out, err.splitlines()


def test_a_folder_is_read_through_and_what_is_no_image_is_told(
    root: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, told = predicted(capsys, root / "run", images, "--format", "jsonl")
    assert status == 1
    answers = {row["image"]: row["class"] for row in map(json.loads, out.splitlines())}
    assert answers == {f"{images}/three.png": "3", f"{images}/sub/seven.png": "7"}
    assert f"warning: {images}/notes.txt: not an image" in told
    assert "warning: 1 file could not be read" in told
    assert not any(".DS_Store" in line for line in told)


def test_archives_are_read_in_place(
    root: Path, archives: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = predicted(capsys, root / "run", *archives, "--format", "jsonl")
    assert status == 1
    answers = {row["image"]: row["class"] for row in map(json.loads, out.splitlines())}
    assert answers == {
        f"{archive}/{name}": digit
        for archive in archives
        for name, digit in (("three.png", "3"), ("sub/seven.png", "7"))
    }


def test_csv_has_a_column_for_each_class_that_is_named(
    root: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = (images / "three.png", images / "sub" / "seven.png")
    status, out, _ = predicted(capsys, root / "run", *paths, "--format", "csv", "--top", 2)
    assert status == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == ["image", "class", "probability", "class_2", "probability_2"]
    assert [(row["image"], row["class"]) for row in rows] == [
        (str(paths[0]), "3"), (str(paths[1]), "7")
    ]  # fmt: skip
    for row in rows:
        assert 1 >= float(row["probability"]) >= float(row["probability_2"]) >= 0


def test_more_images_than_are_predicted_together_come_in_their_order(
    root: Path, digits_archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, told = predicted(capsys, root / "run", digits_archive, "--format", "csv")
    assert status == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 400
    right = sum(row["image"].removeprefix(f"{digits_archive}/")[0] == row["class"] for row in rows)
    assert right > 350
    assert any(line.startswith("predict: 400 images") for line in told)


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["empty"], "empty: holds no files"),
        (["texts"], "none of 2 files is an image that can be read"),
        (["damaged.zip"], "damaged.zip"),
        (["x.png", "y.png"], "none of 2 files is an image that can be read"),
    ],
)
def test_where_nothing_can_be_read_it_is_a_mistake(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    paths: list[str],
    said: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    for name in ("a", "b"):
        (tmp_path / "texts" / name).write_text("text")
    (tmp_path / "damaged.zip").write_bytes(b"PK no more")
    status, out, told = predicted(capsys, root / "run", *(tmp_path / path for path in paths))
    assert (status, out) == (2, "")
    assert told[-1].startswith("error: ")
    assert said in told[-1]
    assert not any("Traceback" in line for line in told)


@pytest.mark.parametrize(
    "name", ["id", "runs", "run's", "models", "alias", "version", "file", "other name"]
)
def test_the_model_is_found_however_it_is_named(
    root: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    """Where nobody has a project, MLFLOW_TRACKING_URI says where models are."""
    import mlflow

    state = json.loads((root / "run" / "run.json").read_text())
    uri, run_id = state["tracking_uri"], state["run_id"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = mlflow.MlflowClient(uri, uri)
    if name in ("alias", "version"):
        registered = f"digits_{name}"
        client.create_registered_model(registered)
        version = client.create_model_version(
            registered, f"models:/{state['model_id']}", run_id, model_id=state["model_id"]
        )
        client.set_registered_model_alias(registered, "champion", version.version)
    shutil.copytree(root / "run" / "model", tmp_path / "other")
    (tmp_path / "other" / "model.keras").rename(tmp_path / "other" / "mine.keras")
    reference = {
        "id": run_id,
        "runs": f"runs:/{run_id}/softmax_linear",
        "run's": f"runs:/{run_id}/model",
        "models": f"models:/{state['model_id']}",
        "alias": "models:/digits_alias@champion",
        "version": "models:/digits_version/1",
        "file": root / "run" / "model" / "model.keras",
        "other name": tmp_path / "other" / "mine.keras",
    }[name]
    monkeypatch.chdir(tmp_path)
    status, out, told = predicted(capsys, reference, images / "three.png", "--format", "jsonl")
    assert status == 0, told
    assert json.loads(out)["class"] == "3"
    assert told[0] == f"{reference}: weights of epoch 12, the last"


def test_a_run_that_has_another_in_its_folder_is_meant_itself(
    root: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outer = tmp_path / "outer"
    for run in (outer, outer / "later"):
        shutil.copytree(root / "run", run)
    status, out, _ = predicted(capsys, outer, images / "three.png", "--format", "jsonl")
    assert (status, json.loads(out)["class"]) == (0, "3")


@pytest.mark.parametrize(
    "reference", ["0" * 32, "runs:/" + "0" * 32, "models:/nobody@champion", "models:/nobody/3"]
)
def test_a_model_that_mlflow_has_not_is_one_error_line(
    root: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reference: str,
) -> None:
    uri = json.loads((root / "run" / "run.json").read_text())["tracking_uri"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    status, out, told = predicted(capsys, reference, images / "three.png")
    assert (status, out) == (2, "")
    (line,) = told
    assert line.startswith(f"error: {reference} is not in {uri}: ")


def test_a_keras_file_without_its_card_is_refused(
    root: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(root / "run" / "model" / "model.keras", tmp_path / "alone.keras")
    status, _, told = predicted(capsys, tmp_path / "alone.keras", images / "three.png")
    assert status == 2
    assert "alone.keras has no card.json beside it" in told[-1]


def test_links_and_devices_in_an_archive_are_told_and_passed_by(
    root: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tarfile.open(tmp_path / "odd.tar", "w") as archive:
        archive.add(images / "three.png", "three.png")
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    status, out, told = predicted(capsys, root / "run", tmp_path / "odd.tar", "--format", "jsonl")
    assert status == 1
    assert [json.loads(line)["class"] for line in out.splitlines()] == ["3"]
    assert any("odd.tar/link.png: " in line for line in told)
