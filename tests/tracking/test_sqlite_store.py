"""MLflow's SQLite store is there whole or not at all, whenever its maker is killed."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from recorded import differences, whole_run

from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.tracking.mlflow_client import open_client
from convforge.pipeline.tracking.sqlite_store import is_half_made, make_store

MAKE = """
import sys
from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.tracking.mlflow_client import open_client
print("imported", flush=True)
open_client(sys.argv[1], print)
"""


def warned(lines: list[str]) -> list[str]:
    """The lines without the path."""
    return [line.partition(" was ")[2] for line in lines]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that MLflow itself has made."""
    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{database}").search_experiments()
    return database


def without(store: Path, database: Path, *statements: str) -> Path:
    """A copy of the store from which the last things that MLflow makes are missing."""
    database.write_bytes(store.read_bytes())
    with closing(sqlite3.connect(database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    os.utime(database, (0, 0))  # Nobody is making it any more.
    return database


def test_a_store_that_is_made_is_one_that_mlflow_takes(tmp_path: Path) -> None:
    database = tmp_path / "below" / "mlflow.db"
    client = open_client(f"sqlite:///{database}", pytest.fail)
    experiment = client.create_experiment("digits")
    run = client.create_run(experiment)
    client.log_metric(run.info.run_id, "loss", 0.5)
    again = MlflowClient(f"sqlite:///{database}").get_run(run.info.run_id)
    assert again.data.metrics == {"loss": 0.5}
    assert not list(database.parent.glob("*.new*"))


@pytest.mark.parametrize(
    "statements",
    [
        ("DELETE FROM experiments",),
        ("DROP TABLE experiments", "DROP TABLE alembic_version"),
    ],
    ids=["no experiment", "no tables after the first"],
)
def test_a_half_made_store_is_put_aside_and_said_so(
    store: Path, tmp_path: Path, statements: tuple[str, ...]
) -> None:
    database = without(store, tmp_path / "mlflow.db", *statements)
    assert is_half_made(database)
    lines: list[str] = []
    client = open_client(f"sqlite:///{database}", lines.append)
    client.create_run(client.create_experiment("digits"))
    (aside,) = tmp_path.glob("mlflow.db.half-made-*")
    assert warned(lines) == [f"left half made by a process that was killed: now {aside.name}"]
    assert is_half_made(aside)


def test_a_run_that_finds_a_half_made_store_is_delivered(store: Path, tmp_path: Path) -> None:
    database = without(store, tmp_path / "mlflow.db", "DELETE FROM experiments")
    uri = f"sqlite:///{database}"
    _, said = whole_run(tmp_path, "run", uri, epochs=2)
    (warning,) = said.warnings
    assert "was left half made by a process that was killed" in warning
    events = list(Journal(tmp_path / "runs" / "run").events())
    assert differences(uri, tmp_path / "mlartifacts", events) == []


def test_a_store_of_models_alone_is_whole(store: Path, tmp_path: Path) -> None:
    database = without(store, tmp_path / "mlflow.db", "DELETE FROM experiments")
    assert is_half_made(database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO registered_models (name) VALUES ('digits')")
    assert not is_half_made(database)


def test_the_tables_of_an_older_mlflow_are_told_with_the_command(
    store: Path, tmp_path: Path
) -> None:
    database = without(
        store, tmp_path / "mlflow.db", "UPDATE alembic_version SET version_num = '451aebb31d03'"
    )
    _, said = whole_run(tmp_path, "run", f"sqlite:///{database}", epochs=1, patience=1)
    assert any("run `mlflow db upgrade` on this address" in line for line in said.warnings)
    assert not list(tmp_path.glob("mlflow.db.half-made-*"))


def test_a_store_with_runs_an_empty_file_and_what_is_no_store_are_left_alone(
    store: Path, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign.db"
    with closing(sqlite3.connect(foreign)) as connection, connection:
        connection.execute("CREATE TABLE pictures (name TEXT)")
    for database in (store, foreign, *(tmp_path / name for name in ("empty.db", "text.db"))):
        if database.name == "text.db":
            database.write_text("no database")
        before = database.read_bytes() if database.exists() else b""
        database.touch()
        make_store(database, str(tmp_path), pytest.fail)
        assert database.read_bytes() == before


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_makes_the_store_leaves_one_that_works(
    tmp_path: Path,
) -> None:
    chance, kills = random.Random(3), 0
    started = time.monotonic()
    open_client(f"sqlite:///{tmp_path / 'undisturbed' / 'mlflow.db'}", pytest.fail)
    seconds = time.monotonic() - started
    for number in range(20):
        database = tmp_path / str(number) / "mlflow.db"
        uri = f"sqlite:///{database}"
        process = subprocess.Popen(
            [sys.executable, "-c", MAKE, uri], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "imported\n"
        time.sleep(chance.uniform(0, seconds))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        process.stdout.close()
        client = open_client(uri, pytest.fail)
        client.create_run(client.create_experiment("digits"))
    print(f"\n{kills} kills while the store was made, {kills} stores that work")
    assert kills >= 10
