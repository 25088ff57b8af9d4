"""MLflow on a real PostgreSQL: a sweep's jobs write at once, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow_server import Server, running_server
from postgresql import PostgreSQL, running_postgresql, unavailable
from recorded import Said, differences, end_run, start_run, write_epochs

from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.tracking.outbox import sync

_WHY_NOT = unavailable()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(_WHY_NOT is not None, reason=str(_WHY_NOT)),
]
SHORT = ("data.split.validation=50", "data.split.test=100", "model=softmax_linear")


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSQL]:
    with running_postgresql() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, database: PostgreSQL) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server"), database.uri) as running:
        yield running


def test_four_jobs_of_a_sweep_at_once_lose_nothing(
    project: Path, database: PostgreSQL, server: Server
) -> None:
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"]
    sweep = ["seed=0,1,2,3", "trainer.epochs=20", "augment=none", *SHORT]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server.uri}
    command = [sys.executable, "-m", "convforge.pipeline.cli", "train", "-m", *launcher, *sweep]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = [sys.executable, "-m", "convforge.pipeline.cli", "sync"]
    subprocess.run(again, cwd=project, env=environment, check=True)

    journals = [Journal(path.parent) for path in project.glob("outputs/sweeps/*/**/journal.jsonl")]
    assert len(journals) == 5
    figures = sorted(
        (str(journal.key), name, event.content["step"], value)
        for journal in journals
        for event in journal.events()
        if event.kind == "metrics"
        for name, value in event.content["values"].items()
    )
    there = database.rows(
        "SELECT tags.value, metrics.key, metrics.step, metrics.value FROM metrics JOIN tags "
        "ON tags.run_uuid = metrics.run_uuid AND tags.key = 'convforge.key'"
    )
    assert sorted(there) == figures
    assert len(figures) > 4 * 20
    ((runs, finished),) = database.rows(
        "SELECT COUNT(*), COUNT(*) FILTER (WHERE status = 'FINISHED') FROM runs"
    )
    assert (runs, finished) == (5, 5)
    ((children,),) = database.rows("SELECT COUNT(*) FROM tags WHERE key = 'mlflow.parentRunId'")
    assert children == 4
    print(f"\nPostgreSQL: {runs} runs, {len(figures)} figures of 4 jobs at once, 0 differences")


def test_a_database_killed_in_mid_run_gets_everything_once_it_is_back(
    tmp_path: Path, database: PostgreSQL, server: Server
) -> None:
    said = Said()
    tracker = start_run(tmp_path, "run", server.uri, said, patience=1.0)
    epochs = iter(range(30))
    try:
        write_epochs(tracker, 30, lambda: database.kill() if next(epochs) == 15 else None)
        end_run(tracker, tmp_path / "runs" / "run")
        assert any("wait for" in line for line in said.warnings)
    finally:
        database.start()
    assert sync(tmp_path, [], said) == {}
    events = list(Journal(tmp_path / "runs" / "run").events())
    assert differences(server.uri, server.folder / "artifacts", events) == []
    print("\nPostgreSQL killed in mid-run and started again: 0 differences")
