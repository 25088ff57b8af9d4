"""The whole pipeline with a password in MLFLOW_TRACKING_URI: it works, and is seen nowhere."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from clone import Clone, make_clone
from mlflow_server import Proxy, free_port, running_server
from postgresql import running_postgresql
from secrets_sought import (
    ENCODED,
    PASSWORD,
    USER,
    files_with_secret,
    holds_secret,
    watched_titles,
)

pytestmark = pytest.mark.slow
_SHORT = ("model=softmax_linear", "augment=none", "trainer.epochs=1", "trainer.limit_steps=1")


def _in_order(clone: Clone, *command: str, **environment: str) -> bytes:
    done = clone.run(*command, **environment)
    return f"{done.stdout}{done.stderr}".encode()


def test_repro_sweep_and_sync_show_a_servers_password_to_nobody(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "convforge")
    clone.run("dvc", "pull", "data.dvc")
    (tmp_path / "server").mkdir()
    (tmp_path / "temporary").mkdir()
    with running_server(tmp_path / "server") as server, watched_titles() as titles:
        proxy = Proxy(server.port, seed=0, timeout=10)
        proxy.is_honest, proxy.demanded = True, f"{USER}:{PASSWORD}"
        uri = f"http://{USER}:{ENCODED}@127.0.0.1:{proxy.server_address[1]}"
        nobody = f"http://{USER}:{ENCODED}@127.0.0.1:{free_port()}"
        own = {"TMPDIR": str(tmp_path / "temporary"), "MLFLOW_TRACKING_URI": uri}
        sweep = ("convforge", "train", "-m", "seed=1,2", *_SHORT)
        joblib = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
        said = _in_order(clone, "dvc", "repro", **own)
        said += _in_order(clone, "convforge", "results", **own)
        said += _in_order(clone, *sweep, *joblib, **own)
        away = _in_order(clone, *sweep, **{**own, "MLFLOW_TRACKING_URI": nobody})
        said += away + _in_order(clone, "convforge", "sync", "--uri", uri, **own)
        said += _in_order(clone, "convforge", "ui", **own)
        refused = clone.run("dvc", "exp", "run", "-S", f"tracking.uri='{uri}'", check=False, **own)
        assert refused.returncode != 0
        said += f"{refused.stdout}{refused.stderr}".encode()
        proxy.shutdown()
        proxy.server_close()
    assert b"cannot be reached" in away
    assert b"MLFLOW_TRACKING_PASSWORD" in said
    assert not holds_secret(said)
    # Those of `dvc exp run` and `sync` were given it by the person who typed them; `sync` went on
    # without.
    given = {line for line in titles.with_secret() if b"tracking.uri=" not in line}
    assert [line for line in given if b"sync\0--uri" not in line] == []
    assert not [line for line in titles.last_with_secret() if b"sync\0--uri" in line]
    assert files_with_secret(tmp_path) == []
    import mlflow

    client = mlflow.MlflowClient(server.database)
    (experiment,) = client.search_experiments(filter_string="name = 'convforge'")
    runs = client.search_runs([experiment.experiment_id])
    # One of `dvc repro`, and two sweeps of two jobs.
    assert [run.info.status for run in runs] == ["FINISHED"] * 7
    print(f"\npassword sought in {titles.looks} looks at {len(titles.seen)} processes: nowhere")


def test_ui_and_training_show_a_databases_password_to_nobody(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "convforge")
    clone.run("dvc", "pull", "data.dvc")
    port = free_port()
    with running_postgresql() as database:
        connection = database.connection()
        with connection.cursor() as cursor:
            cursor.execute("ALTER USER convforge PASSWORD %s", (PASSWORD,))
        connection.commit()
        connection.close()
        access = database.folder / "data" / "pg_hba.conf"
        access.write_text("local all all scram-sha-256\n")
        database.kill()
        uri = f"postgresql+psycopg2://convforge:{ENCODED}@/postgres?host={database.folder}"
        own = {"MLFLOW_TRACKING_URI": uri}
        database.start(password=PASSWORD)
        with watched_titles() as titles:
            said = _in_order(clone, "convforge", "train", *_SHORT, **own)
            ui = subprocess.Popen(
                ["convforge", "ui", "--port", str(port)],
                cwd=clone.folder,
                env={**clone.environment, **own},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            end = time.monotonic() + 300
            assert ui.stdout is not None
            while b"http://" not in said and time.monotonic() < end:
                said += ui.stdout.readline()
            ui.terminate()
            said += ui.communicate()[0]
    assert f"http://127.0.0.1:{port}/#/experiments/".encode() in said
    assert b"wait for" not in said
    assert not holds_secret(said)
    assert titles.with_secret() == []
    servers = [line for lines in titles.seen.values() for line in lines if b"store-uri" in line]
    assert any(b"postgresql+psycopg2://convforge@/postgres" in line for line in servers)
    assert files_with_secret(clone.folder) == []
