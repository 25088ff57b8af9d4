"""`convforge train -m` on Ray and by submitit: a lost job costs one job and is told of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from own_network import run_alone, unavailable
from victims import in_mid_training, kill_when

from convforge.pipeline.tracking.mlflow_client import open_client

pytestmark = pytest.mark.slow
_WHY_NOT = unavailable()
needs_ray = pytest.mark.skipif(_WHY_NOT is not None, reason=str(_WHY_NOT))
needs_submitit = pytest.mark.skipif(
    find_spec("submitit") is None,
    reason="submitit is not installed: pip install 'convforge[sweep]'",
)
HERE = Path(__file__).parent
SEEDS = ("0", "1", "2", "3")
SHORT = (
    "data.split.validation=50",
    "data.split.test=100",
    "augment=none",
    "model=softmax_linear",
    "trainer.epochs=40",
    "tracking.patience=1",
)


def _runs(database: Path) -> tuple[Any, list[Any]]:
    """The parent and its children."""
    client = open_client(f"sqlite:///{database}", print)
    experiment = client.get_experiment_by_name("convforge")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    return parent, children


def _seeds(children: list[Any], status: str) -> list[str]:
    return sorted(run.data.params["seed"] for run in children if run.info.status == status)


def _sweep_with_a_killed_worker(
    project: Path, *arguments: str, **environment: str
) -> tuple[int, str]:
    command = [sys.executable, str(HERE / "lose_a_job.py"), str(project)]
    sweep = ["seed=" + ",".join(SEEDS), *SHORT, *arguments]
    done = run_alone([*command, *sweep], HERE, timeout=540, **environment)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    return result["status"], result["said"]


@needs_ray
def test_a_job_whose_worker_is_killed_is_done_again_and_what_waits_is_delivered(
    project: Path,
) -> None:
    """No server answers at the address that the jobs have from the environment of the sweep."""
    down = "http://127.0.0.1:9"
    status, said = _sweep_with_a_killed_worker(project, MLFLOW_TRACKING_URI=down)
    assert status == 0, said
    waiting = list((project / "outputs" / "undelivered").glob("train-*/journal.jsonl"))
    assert len(waiting) >= 4, "the workers' journals are in the project"
    assert all(f'"{down}"' in path.read_text().splitlines()[0] for path in waiting)

    command = [
        sys.executable,
        "-m",
        "convforge.pipeline.cli",
        "sync",
        "--uri",
        "sqlite:///there.db",
    ]
    # It fails where anything is left to deliver.
    subprocess.run(command, cwd=project, check=True)
    parent, children = _runs(project / "there.db")
    assert parent.info.status == "FINISHED"
    assert _seeds(children, "FINISHED") == list(SEEDS)
    assert _seeds(children, "RUNNING") == []
    counts = Counter(run.info.status for run in children)
    print(f"\n1 worker of 2 killed, 4 jobs: {dict(counts)}, parent {parent.info.status}")


@needs_ray
def test_a_job_that_is_lost_for_good_is_told_of_and_the_others_finish(project: Path) -> None:
    store = f"sqlite:///{project}/there.db"
    retries = "hydra.launcher.retries=0"
    status, said = _sweep_with_a_killed_worker(project, retries, MLFLOW_TRACKING_URI=store)
    assert status == 2, said
    assert "was lost" in said
    assert "Traceback" not in said
    subprocess.run(
        [sys.executable, "-m", "convforge.pipeline.cli", "sync"], cwd=project, check=True
    )
    parent, children = _runs(project / "there.db")
    assert parent.info.status == "FAILED"
    finished, killed = _seeds(children, "FINISHED"), _seeds(children, "KILLED")
    assert len(finished) == 3
    assert sorted([*finished, *killed]) == list(SEEDS)
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert f"seed={killed[0]}" in line
    print(f"\n1 worker of 2 killed without retries: 3 jobs of 4 finished; told: {line}")


def _submitit(project: Path, *overrides: str) -> subprocess.Popen[str]:
    """A sweep of two jobs that have the address of their store from its environment."""
    command = [sys.executable, "-m", "convforge.pipeline.cli", "train", "-m"]
    return subprocess.Popen(
        [*command, "hydra/launcher=submitit_local", "seed=0,1", *SHORT, *overrides],
        cwd=project,
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{project}/there.db"},
        stderr=subprocess.PIPE,
        text=True,
    )


@needs_submitit
def test_submitit_runs_the_jobs_with_the_environment_of_the_sweep(project: Path) -> None:
    with _submitit(project) as sweep:
        _, said = sweep.communicate()
    assert sweep.returncode == 0, said
    parent, children = _runs(project / "there.db")
    assert parent.info.status == "FINISHED"
    assert _seeds(children, "FINISHED") == ["0", "1"]
    names = sorted(run.info.run_name for run in children)
    assert names == ["seed=0", "seed=1"], "the jobs know which keys set them apart"
    (sweep_folder,) = (project / "outputs" / "sweeps").iterdir()
    logs = [path.read_text() for path in sweep_folder.glob(".submitit/*/*_log.err")]
    assert sum("epoch  40/40" in log for log in logs) == 2


@needs_submitit
def test_a_job_of_submitit_that_is_killed_is_told_of(project: Path) -> None:
    with _submitit(project, "trainer.epochs=300") as sweep:
        kill_when(lambda: in_mid_training(project, "submitit.core._submit", "seed=1"), sweep)
        _, said = sweep.communicate()
    assert sweep.returncode == 2, said
    assert "error: a job of the sweep was killed" in said
    assert "Traceback" not in said
    subprocess.run(
        [sys.executable, "-m", "convforge.pipeline.cli", "sync"], cwd=project, check=True
    )
    parent, children = _runs(project / "there.db")
    assert parent.info.status == "FAILED"
    assert _seeds(children, "FINISHED") == ["0"]
    assert _seeds(children, "KILLED") == ["1"]
    print("\nsubmitit: 1 job of 2 killed, the other finished, none left RUNNING")
