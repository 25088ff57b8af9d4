"""`dvc repro` in a temporary clone: what runs, what is written, what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import zipfile

import mlflow
import pytest
from clone import Clone

ALL = ["compose", "preprocess", "train", "evaluate"]


def runs(clone: Clone) -> list[mlflow.entities.Run]:
    client = mlflow.MlflowClient(f"sqlite:///{clone.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("convforge")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], order_by=["start_time DESC"]))


def test_a_fresh_clone_ends_with_metrics_model_pictures_and_one_finished_run(clone: Clone) -> None:
    build = clone.folder / "build"
    metrics = json.loads((build / "evaluate" / "metrics.json").read_text())
    assert metrics["test_images"] == 1000
    for file in ("train/model/model.keras", "train/history.csv", "evaluate/data/card.md"):
        assert (build / file).is_file()
    pictures = {path.name for path in (build / "evaluate" / "pictures").iterdir()}
    assert pictures == {"learning_curves.png", "first_layer_kernels.png", "augmented_images.png"}
    (run,) = runs(clone)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test_accuracy"] == metrics["test_accuracy"]
    assert run.data.tags["mlflow.source.git.commit"]


def test_the_summary_names_accuracy_run_pictures_and_model(clone: Clone) -> None:
    text = clone.run("convforge", "results").stdout
    (run,) = runs(clone)
    for expected in ("test accuracy", run.info.run_id, "build/evaluate", "build/train/model"):
        assert expected in text


def test_generated_files_are_not_gits(clone: Clone) -> None:
    assert clone.run("git", "status", "--porcelain").stdout == ""
    tracked = clone.run("git", "ls-files", "build", "data", "mlflow.db", "outputs").stdout
    assert tracked == ""


@pytest.mark.usefixtures("pristine")
@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        pytest.param("README.md", "#", "##", [], id="readme"),
        pytest.param(
            "conf/optimizer/momentum_sgd.yaml", "name:", "# why\nname:", ["compose"], id="comment"
        ),
        pytest.param(
            "conf/tracking/mlflow.yaml",
            "run_name: null",
            "run_name: mine",
            ["compose"],
            id="tracking",
        ),
        pytest.param(
            "conf/optimizer/momentum_sgd.yaml",
            "momentum: 0.9",
            "momentum: 0.8",
            ["compose", "train", "evaluate"],
            id="momentum",
        ),
        pytest.param(
            "conf/config.yaml",
            "model: maxout_cnn",
            "model: softmax_linear",
            ["compose", "train", "evaluate"],
            id="group",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "conf/data/mnist5k.yaml", "validation: 400", "validation: 300", ALL, id="split"
        ),
        pytest.param(
            "src/convforge/pipeline/stages/evaluate.py",
            '"""Ev',
            '"""  Ev',
            ["evaluate"],
            id="evaluate code",
        ),
    ],
)
def test_an_edit_runs_the_stages_that_depend_on_it_and_no_other(
    clone: Clone, file: str, old: str, new: str, expected: list[str]
) -> None:
    clone.edit(file, old, new)
    assert clone.repro() == expected
    again = clone.run("dvc", "repro")
    assert "Data and pipelines are up to date" in again.stdout + again.stderr


@pytest.mark.usefixtures("pristine")
def test_a_run_killed_between_train_and_evaluate_is_completed_by_the_same_command(
    clone: Clone,
) -> None:
    before = len(runs(clone))
    clone.edit("conf/optimizer/momentum_sgd.yaml", "learning_rate: ", "learning_rate: 1.0e-3 # ")
    process = subprocess.Popen(
        ["dvc", "repro"],
        cwd=clone.folder,
        env=dict(clone.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Running stage 'evaluate'"):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert clone.repro() == ["evaluate"]
    after = runs(clone)
    assert len(after) == before + 1
    assert after[0].info.status == "FINISHED"
    assert "test_accuracy" in after[0].data.metrics


@pytest.mark.usefixtures("pristine")
def test_own_images_take_the_place_of_the_bundled_ones(clone: Clone) -> None:
    with zipfile.ZipFile(clone.folder / "data" / "mnist-5k.zip") as digits:
        chosen = [name for name in digits.namelist() if name[0] in "37"]
        contents = {name: digits.read(name) for name in chosen}
    for file in (clone.folder / "data").iterdir():
        file.unlink()
    for name, content in contents.items():
        target = clone.folder / "data" / {"3": "three", "7": "seven"}[name[0]] / name[2:]
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)
    clone.run("dvc", "add", "-q", "data")
    clone.edit("conf/config.yaml", "data: mnist5k", "data: folder")
    assert clone.repro() == ALL
    manifest = json.loads((clone.folder / "build" / "data" / "manifest.json").read_text())
    assert manifest["classes"] == ["seven", "three"]
    assert manifest["image_shape"] == [64, 64, 3]


@pytest.mark.usefixtures("pristine")
def test_missing_data_and_an_empty_archive_are_one_clear_line(clone: Clone) -> None:
    archive = clone.folder / "data" / "mnist-5k.zip"
    archive.unlink()
    zipfile.ZipFile(archive, "w").close()
    clone.run("dvc", "add", "-q", "data")
    empty = clone.run("dvc", "repro", check=False)
    assert "mnist-5k.zip holds no usable images at all" in empty.stderr
    assert "Traceback" not in empty.stderr + empty.stdout
    (clone.folder / "data").rename(clone.folder.parent / "gone")
    missing = clone.run("dvc", "repro", check=False)
    assert "missing data 'source': data" in missing.stderr
    assert "Traceback" not in missing.stderr + missing.stdout
