"""DVC experiments: overrides reach the run, wrong ones are refused, queued ones keep their runs."""

from __future__ import annotations

import time

import mlflow
import pytest
from clone import Clone
from omegaconf import OmegaConf

pytestmark = pytest.mark.usefixtures("pristine")


def experiment_runs(clone: Clone) -> dict[str, mlflow.entities.Run]:
    client = mlflow.MlflowClient(f"sqlite:///{clone.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("convforge")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return {
        run.data.tags["dvc.experiment"]: run for run in found if "dvc.experiment" in run.data.tags
    }


def test_an_experiments_overrides_reach_its_training_and_show_in_compose_check(
    clone: Clone,
) -> None:
    clone.run("dvc", "exp", "run", "-n", "lower", "-S", "optimizer.learning_rate=0.003")
    params = OmegaConf.load(clone.folder / "params.yaml")
    assert params.optimizer.learning_rate == 0.003
    assert experiment_runs(clone)["lower"].data.params["optimizer.learning_rate"] == "0.003"
    check = clone.run("convforge", "compose", "--check", check=False)
    assert check.returncode == 1
    assert "-  learning_rate: 0.003" in check.stdout
    shown = clone.run("dvc", "params", "diff").stdout
    assert "optimizer.learning_rate" in shown


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


def test_metrics_and_plots_are_there_to_compare(clone: Clone) -> None:
    assert "test_accuracy" in clone.run("dvc", "metrics", "show").stdout
    clone.run("dvc", "plots", "show", "-o", "dvc_plots")
    page = (clone.folder / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    for plot in ("Loss on training", "Confusion matrix", "Learning rate"):
        assert plot in page
