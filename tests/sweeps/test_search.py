"""`convforge train -m hydra/sweeper=optuna`: trials, pruned and whole, as children of one run."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from convforge.pipeline import cli
from convforge.pipeline.tracking.mlflow_client import open_client

optuna = pytest.importorskip("optuna", reason="not installed: pip install 'convforge[sweep]'")

SEARCH = (
    "train",
    "-m",
    "hydra/sweeper=optuna",
    "hydra.sweeper.n_trials=2",
    "hydra.sweeper.pruner.n_startup_trials=1",
    "hydra.sweeper.seed=7",
    "optimizer.learning_rate=tag(log, interval(0.000001, 0.1))",
    "data.split.validation=50",
    "data.split.test=100",
    "augment=none",
    "model=softmax_linear",
)


def _trials(project: Path) -> list[Any]:
    (file,) = (project / "outputs" / "sweeps").glob("*/optuna.journal")
    backend = optuna.storages.journal.JournalFileBackend(str(file))
    storage = optuna.storages.JournalStorage(backend)
    return list(optuna.load_study(study_name="search", storage=storage).trials)


def _runs(project: Path) -> tuple[Any, list[Any]]:
    """The parent and its children, in the order in which they began."""
    client = open_client(f"sqlite:///{project}/mlflow.db", print)
    experiment = client.get_experiment_by_name("convforge")
    runs = client.search_runs([experiment.experiment_id], order_by=["start_time"])
    parent, *children = runs
    parents = {child.data.tags["mlflow.parentRunId"] for child in children}
    assert parents == {parent.info.run_id}
    return parent, children


SHORT = ("trainer.epochs=2", "trainer.limit_steps=2")


def _rows(project: Path) -> list[dict[str, str]]:
    with next((project / "outputs" / "sweeps").glob("*/jobs.csv")).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.integration
def test_a_bad_trial_is_pruned_and_the_best_is_said_with_its_command(
    project: Path, train_in_process: None, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*SEARCH, *SHORT, "tracking=none"]) == 0
    said = capfd.readouterr().err
    trials = _trials(project)
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED"], "as the seed draws"
    rows = _rows(project)
    assert [(row["status"], row["epochs"]) for row in rows] == [("FINISHED", "2"), ("PRUNED", "1")]
    for row, trial in zip(rows, trials, strict=True):
        rate = trial.params["optimizer.learning_rate"]
        assert float(row["optimizer.learning_rate"]) == pytest.approx(rate, rel=1e-5)
        assert float(row["val_loss"]) == pytest.approx(trial.intermediate_values[trial.last_step])
    (command,) = [line for line in said.splitlines() if line.startswith("train: convforge train ")]
    assert command.endswith(f" optimizer.learning_rate={rows[0]['optimizer.learning_rate']}")
    assert "search: 2 trials: 1 finished, 1 pruned" in said
    assert not list((project / "outputs" / "unfinished").glob("*/run.json"))


@pytest.mark.slow
def test_trials_are_children_of_one_run_which_names_the_best(
    project: Path, train_in_process: None
) -> None:
    assert cli.main([*SEARCH, *SHORT, "evaluate=true"]) == 0
    trials = _trials(project)
    states = [trial.state.name for trial in trials]
    assert states == ["COMPLETE", "PRUNED"], "as the seed draws them"

    parent, children = _runs(project)
    assert parent.info.status == "FINISHED"
    expected = {"COMPLETE": "FINISHED", "PRUNED": "KILLED"}
    assert [child.info.status for child in children] == [expected[state] for state in states]
    for trial, child in zip(trials, children, strict=True):
        assert child.data.params["trainer.epochs"] == "2"
        rate = float(child.data.params["optimizer.learning_rate"])
        assert rate == pytest.approx(trial.params["optimizer.learning_rate"], rel=1e-5)
        assert ("convforge.pruned" in child.data.tags) == (trial.state.name == "PRUNED")
        assert ("test_accuracy" in child.data.metrics) == (trial.state.name == "COMPLETE")
        last = trial.intermediate_values[trial.last_step]
        assert child.data.metrics["val_loss"] == pytest.approx(last)

    best = min((trial for trial in trials if trial.value is not None), key=_value_of)
    assert parent.data.tags["best_run_id"] == children[best.number].info.run_id
    assert parent.data.metrics == {"best_val_loss": pytest.approx(best.value)}
    assert parent.data.params == {"optimizer.learning_rate": "tag(log, interval(0.000001, 0.1))"}
    rows = _rows(project)
    assert [row["status"] for row in rows] == ["FINISHED", "PRUNED"]
    tested = {child.info.run_id: child.data.metrics.get("test_accuracy") for child in children}
    for row in rows:
        assert row["test_accuracy"] == str(tested[row["run_id"]] or "")


def _value_of(trial: Any) -> float:
    return float(trial.value) if trial.state.name == "COMPLETE" else float("inf")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [(), ("hydra/launcher=joblib", "hydra.sweeper.n_jobs=2")])
def test_a_search_that_was_killed_goes_on_by_the_same_command(
    project: Path, launcher: tuple[str, ...]
) -> None:
    overrides = ("hydra.sweeper.n_trials=5", "trainer.epochs=30", "trainer.checkpoint.seconds=0")
    command = [sys.executable, "-m", "convforge.pipeline.cli", *SEARCH, *overrides, *launcher]
    with subprocess.Popen(command, cwd=project, start_new_session=True) as running:
        end = time.monotonic() + 240
        while time.monotonic() < end and not _is_in_mid_trial(project):
            assert running.poll() is None, "it ended before it could be killed"
            time.sleep(0.05)
        # The workers too, as when a machine goes down.
        os.killpg(running.pid, signal.SIGKILL)
    before = _trials(project)
    finished = [trial for trial in before if trial.state.is_finished()]
    assert finished
    assert len(finished) < len(before)

    subprocess.run(command, cwd=project, check=True)
    after = _trials(project)
    assert len(after) == 5
    assert all(trial.state.is_finished() for trial in after)
    for trial in finished:
        same = after[trial.number]
        assert (same.params, same.value, same.datetime_complete) == (
            trial.params, trial.value, trial.datetime_complete,
        )  # fmt: skip
    parent, children = _runs(project)
    assert parent.info.status == "FINISHED"
    assert len(children) == 5
    assert {child.info.status for child in children} <= {"FINISHED", "KILLED"}
    killed = [child for child in children if child.info.status == "KILLED"]
    assert all("convforge.pruned" in child.data.tags for child in killed)
    print(f"\nkilled after {len(finished)} of 5 trials; {len(killed)} were pruned")


def _is_in_mid_trial(project: Path) -> bool:
    """Whether one trial has ended and another has told of an epoch."""
    if not list((project / "outputs" / "sweeps").glob("*/optuna.journal")):
        return False
    trials = _trials(project)
    ended = any(trial.state.is_finished() for trial in trials)
    return ended and any(
        not trial.state.is_finished() and trial.intermediate_values for trial in trials
    )
