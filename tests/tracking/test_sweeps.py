"""`convforge train -m`: a parent, named children, and nothing of DVC's touched."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import pytest

from convforge.pipeline import cli
from convforge.pipeline.progress import Progress, Verbosity
from convforge.pipeline.settings.tracking import MLflowTracking
from convforge.pipeline.sweeps.parent_run import SweepSummary, sweep_parent
from convforge.pipeline.tracking.journal import PARENT_TAG, Journal
from convforge.pipeline.tracking.mlflow_client import open_client
from convforge.pipeline.training.resume.resumable import ResumableRun

# One step of one epoch of each.
SHORT = (
    "data.split.validation=50",
    "data.split.test=100",
    "augment=none",
    "trainer.epochs=1",
    "trainer.limit_steps=1",
)


def _digests(project: Path) -> dict[str, str]:
    return {
        path.relative_to(project).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(project.rglob("*"))
        if path.is_file()
        and path.relative_to(project).parts[0] not in ("outputs", "mlartifacts")
        # The store is MLflow's.
        and not path.name.startswith("mlflow.db")
    }


def _runs(project: Path) -> tuple[Any, list[Any]]:
    """The parent and its children."""
    client = open_client(f"sqlite:///{project}/mlflow.db", print)
    experiment = client.get_experiment_by_name("convforge")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    parent_ids = {child.data.tags["mlflow.parentRunId"] for child in children}
    assert parent_ids <= {parents[0].info.run_id}
    return parents[0], children


def test_the_best_job_of_a_regression_is_the_one_with_the_smallest_error(tmp_path: Path) -> None:
    settings = MLflowTracking(
        name="mlflow", uri=f"sqlite:///{tmp_path}/runs.db", experiment="turns", run_name=None,
        parent_run=None, patience=5,
    )  # fmt: skip
    quiet = Progress(Verbosity.QUIET)
    swept = {"optimizer.learning_rate": "0.1,0.01"}
    summary = SweepSummary("optimizer.learning_rate=0.1,0.01", "convforge …", swept, count=2)
    sweep = ResumableRun(tmp_path, "parent", has_begun=False)
    with sweep_parent(settings, tmp_path, sweep, tmp_path / "sweep", summary, quiet):
        for name, error in (("far", 20.0), ("near", 5.0)):
            (tmp_path / "sweep" / name).mkdir()
            child = Journal(tmp_path / "sweep" / name)
            child.begin(name=name, tags={PARENT_TAG: "parent"}, params={}, key=name)
            child.metrics({"val_mae": 2 * error}, step=1)
            child.metrics({"val_mae": error}, step=2)
            child.end("FINISHED")
    client = open_client(str(settings.uri), print)
    experiment = client.get_experiment_by_name("turns").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED"
    assert run.data.tags["best_run"] == "near"
    assert run.data.metrics == {"best_val_mae": 5.0}


@pytest.mark.integration
def test_a_sweep_is_a_parent_with_named_children_and_touches_no_file_of_dvcs(
    project: Path, train_in_process: None, capfd: pytest.CaptureFixture[str]
) -> None:
    (project / "build" / "train").mkdir(parents=True)
    for name in ("params.yaml", "dvc.lock", "dvc.yaml", "build/train/history.csv"):
        (project / name).write_text(f"DVC's own {name}\n")
    before = _digests(project)
    choices = ["optimizer=momentum_sgd,sgd", "optimizer.learning_rate=0.1,0.01"]
    assert cli.main(["train", "-m", "model=softmax_linear", *choices, *SHORT]) == 0
    assert _digests(project) == before

    parent, children = _runs(project)
    assert parent.info.status == "FINISHED"
    assert [child.info.status for child in children] == ["FINISHED"] * 4
    assert len({child.info.run_name for child in children}) == 4
    for child in children:
        assert child.data.params["optimizer.name"] in child.info.run_name
        assert child.data.params["optimizer.learning_rate"] in child.info.run_name
        assert "val_accuracy" in child.data.metrics
    best = max(child.data.metrics["val_accuracy"] for child in children)
    assert parent.data.metrics["best_val_accuracy"] == best
    by_name = {child.info.run_name: child for child in children}
    assert by_name[parent.data.tags["best_run"]].data.metrics["val_accuracy"] == best
    assert parent.data.tags["best_run_id"] == by_name[parent.data.tags["best_run"]].info.run_id
    assert parent.data.params == dict(choice.split("=") for choice in choices)

    (sweep,) = (project / "outputs" / "sweeps").iterdir()
    assert len(list(sweep.glob("*/model/model.keras"))) == 4
    _assert_its_table_is_that_of(children, parent, sweep)
    assert "Traceback" not in capfd.readouterr().err


def _assert_its_table_is_that_of(children: list[Any], parent: Any, sweep: Path) -> None:
    """A row for each job, the best first, and in the parent's files."""
    with (sweep / "jobs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["val_accuracy"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    runs = {child.info.run_id: child for child in children}
    assert {row["run_id"] for row in rows} == set(runs)
    for row in rows:
        run = runs[row["run_id"]]
        assert row["status"] == "FINISHED"
        assert row["optimizer"] == run.data.params["optimizer.name"]
        assert row["optimizer.learning_rate"] == run.data.params["optimizer.learning_rate"]
        assert float(row["val_loss"]) == run.data.metrics["val_loss"]
        assert 0 < float(row["seconds"]) < 600
    page = (sweep / "jobs.md").read_text()
    assert f"    {parent.data.tags['convforge.command']}\n" in page
    assert parent.data.tags["convforge.command"].startswith("convforge train -m model=softmax_lin")
    assert all(row["run_id"] in page for row in rows)
    client = open_client(f"sqlite:///{sweep.parents[2]}/mlflow.db", print)
    names = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert names == {"jobs.csv", "jobs.md", "jobs.png"}


@pytest.mark.integration
def test_a_sweep_whose_jobs_fail_ends_its_parent_and_them_as_failed(
    project: Path,
    train_in_process: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from convforge.pipeline.training.trainer import Trainer

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Trainer, "run", broken)
    with pytest.raises(Exception, match="a bug"):
        cli.main(["train", "-m", "seed=0,1", *SHORT])
    assert "seed=1 failed" in capfd.readouterr().err, "a job's failure is told when it happens"
    parent, children = _runs(project)
    assert [run.info.status for run in (parent, *children)] == ["FAILED"] * 3


def test_a_sweep_with_a_net_that_does_not_fit_the_data_starts_nothing(
    project: Path, train_in_process: None, capfd: pytest.CaptureFixture[str]
) -> None:
    # 50 is larger than the padded image, which shows once the data are known.
    overrides = ["model=lecture_cnn", "model.layers.conv1.kernel_size=3,50", *SHORT]
    assert cli.main(["train", "-m", *overrides]) == 2
    said = capfd.readouterr().err
    assert "error: model.layers.conv1: kernel_size=(50, 50) is not allowed" in said
    assert "Traceback" not in said
    assert not (project / "mlflow.db").exists()


def test_a_sweep_with_a_wrong_combination_starts_nothing(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "-m", "model=softmax_linear,prelu_cn", *SHORT]) == 2
    said = capfd.readouterr().err.splitlines()
    assert said == ["error: model=prelu_cn: there is no such config; did you mean prelu_cnn?"]
    assert not (project / "mlflow.db").exists()
    assert not (project / "outputs").exists()
