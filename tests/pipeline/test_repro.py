"""`dvc repro` and `dvc exp` in a clone: what runs, what is written, what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import zipfile

import mlflow
import pytest
from clone import STAGES, Clone, stages_run
from omegaconf import OmegaConf

pytestmark = pytest.mark.integration


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
    again = clone.run("dvc", "repro")
    assert "Data and pipelines are up to date" in again.stdout + again.stderr


def test_the_summary_names_accuracy_run_pictures_and_model(clone: Clone) -> None:
    text = clone.run("convforge", "results").stdout
    (run,) = runs(clone)
    for expected in ("test accuracy", run.info.run_id, "build/evaluate", "build/train/model"):
        assert expected in text


def test_generated_files_are_not_gits(clone: Clone) -> None:
    assert clone.run("git", "status", "--porcelain").stdout == ""
    tracked = clone.run("git", "ls-files", "build", "data", "mlflow.db", "outputs").stdout
    assert tracked.split() == ["build/history.csv", "build/metrics.json"], "DVC compares these"


SOURCE = "src/convforge/pipeline"
MOMENTUM = ("conf/optimizer/momentum_sgd.yaml", "momentum: 0.9", "momentum: 0.8")


@pytest.mark.usefixtures("edited")
@pytest.mark.parametrize(
    ("file", "expected"),
    [
        pytest.param("README.md", [], id="the readme"),
        pytest.param(f"{SOURCE}/report/curves.py", ["evaluate"], id="a picture"),
        pytest.param(f"{SOURCE}/report/data_card.py", ["evaluate"], id="the card"),
        pytest.param(f"{SOURCE}/stages/evaluate.py", ["evaluate"], id="the evaluation"),
        pytest.param(f"{SOURCE}/training/distribution/ray_train.py", [], id="the Ray code"),
        pytest.param(f"{SOURCE}/tracking/journal.py", [], id="the tracking"),
        pytest.param(
            f"{SOURCE}/data/tfrecord.py", ["preprocess", "train", "evaluate"], id="the decoder"
        ),
        # Clipping is a rule of it. Evaluate follows where the model has changed.
        pytest.param(f"{SOURCE}/training/optimization.py", ["train"], id="the optimizer's rules"),
        pytest.param("src/convforge/models/build.py", ["train", "evaluate"], id="the net"),
        pytest.param("src/convforge/pipeline/settings/trainer.py", ["compose"], id="the settings"),
    ],
)
def test_an_edit_makes_out_of_date_what_depends_on_it_and_nothing_else(
    clone: Clone, file: str, expected: list[str]
) -> None:
    with (clone.folder / file).open("a", encoding="utf-8") as text:
        text.write("# an edit\n")
    assert clone.changed() == expected


@pytest.mark.usefixtures("edited")
@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        pytest.param(
            ("conf/optimizer/momentum_sgd.yaml", "name:", "# why\nname:"), [], id="comment"
        ),
        pytest.param(
            ("conf/tracking/mlflow.yaml", "run_name: null", "run_name: mine"), [], id="tracking"
        ),
        pytest.param(MOMENTUM, ["train"], id="momentum"),
        pytest.param(
            ("conf/config.yaml", "model: maxout_cnn", "model: softmax_linear"),
            ["train"],
            id="group",
        ),
        pytest.param(
            ("conf/data/mnist5k.yaml", "validation: 400", "validation: 300"),
            ["preprocess"],
            id="split",
        ),
    ],
)
def test_an_edit_of_the_config_composes_it_and_makes_out_of_date_what_reads_the_key(
    clone: Clone, edit: tuple[str, str, str], expected: list[str]
) -> None:
    clone.edit(*edit)
    assert clone.changed() == ["compose"]
    clone.run("dvc", "repro", "compose")
    assert clone.changed() == expected


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert clone.repro() == STAGES
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


# DVC's experiments: in this file, so that they share the one clone, which takes a minute to make.


def experiment_runs(clone: Clone) -> dict[str, mlflow.entities.Run]:
    client = mlflow.MlflowClient(f"sqlite:///{clone.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("convforge")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return {
        run.data.tags["dvc.experiment"]: run for run in found if "dvc.experiment" in run.data.tags
    }


@pytest.mark.usefixtures("pristine")
def test_an_experiment_runs_what_its_overrides_make_out_of_date(
    clone: Clone,
) -> None:
    """The overrides reach the training, and show in `compose --check`."""
    done = clone.run("dvc", "exp", "run", "-n", "lower", "-S", "optimizer.learning_rate=0.003")
    assert stages_run(done.stdout) == ["compose", "train", "evaluate"]
    params = OmegaConf.load(clone.folder / "params.yaml")
    assert params.optimizer.learning_rate == 0.003
    assert experiment_runs(clone)["lower"].data.params["optimizer.learning_rate"] == "0.003"
    check = clone.run("convforge", "compose", "--check", check=False)
    assert check.returncode == 1
    assert "-  learning_rate: 0.003" in check.stdout
    shown = clone.run("dvc", "params", "diff").stdout
    assert "optimizer.learning_rate" in shown
    compared = json.loads(clone.run("dvc", "metrics", "diff", "--all", "--json").stdout)
    accuracy = compared["build/metrics.json"]["test_accuracy"]
    assert isinstance(accuracy["old"], float)
    assert isinstance(accuracy["new"], float)


@pytest.mark.usefixtures("pristine")
@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optimizer.learning_rate=abc", "optimizer.learning_rate='abc'"),
        ("optimizer.learnin_rate=1", "learnin_rate"),
        ("model=maxot_cnn", "maxot_cnn"),
        ("model.layers.conv1.padding=-1", "model.layers.conv1.padding=-1"),
    ],
)
def test_a_wrong_override_is_refused_before_anything_runs(
    clone: Clone, override: str, expected: str
) -> None:
    result = clone.run("dvc", "exp", "run", "-S", override, check=False)
    assert result.returncode != 0
    assert expected in result.stderr
    assert "Running stage" not in result.stdout


@pytest.mark.usefixtures("pristine")
@pytest.mark.slow
def test_queued_experiments_run_their_snapshot_and_keep_their_mlflow_runs(clone: Clone) -> None:
    queue = ("dvc", "exp", "run", "--queue")
    clone.run(*queue, "-n", "queued", "-S", "optimizer.learning_rate=0.004")
    # The snapshot's code runs, not the workspace's: this change comes too late for it.
    clone.edit(
        "src/convforge/pipeline/stages/train.py",
        "def train(",
        "raise SystemExit(3)\n\n\ndef train(",
    )
    clone.run("dvc", "queue", "start")
    for _ in range(240):
        status = clone.run("dvc", "queue", "status").stdout
        if "Success" in status or "Failed" in status:
            break
        time.sleep(1)
    assert "Success" in status, clone.run("dvc", "queue", "logs", "queued", check=False).stdout
    run = experiment_runs(clone)["queued"]
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer.learning_rate"] == "0.004"
    assert str(clone.folder / "mlartifacts") in run.info.artifact_uri


@pytest.mark.usefixtures("pristine")
def test_metrics_and_plots_are_there_to_compare(clone: Clone) -> None:
    assert "test_accuracy" in clone.run("dvc", "metrics", "show").stdout
    clone.run("dvc", "plots", "show", "-o", "dvc_plots")
    page = (clone.folder / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    for plot in ("Loss on training", "Confusion matrix", "Learning rate"):
        assert plot in page
