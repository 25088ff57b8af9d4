"""A password in a store's address works, and is nowhere but in the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow_server import Proxy, Server, free_port, running_server
from recorded import Said, whole_run
from secrets_sought import (
    ENCODED,
    PASSWORD,
    USER,
    files_with_secret,
    holds_secret,
    watched_titles,
)

from convforge.pipeline import cli
from convforge.pipeline.credentials import (
    VARIABLES,
    redacted,
    redacted_uri,
    separate,
    take_credentials,
)
from convforge.pipeline.ray_cluster import carried_credentials, carried_environment
from convforge.pipeline.settings.tracking import MLflowTracking
from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.tracking.mlflow_client import KEY_TAG, open_client
from convforge.pipeline.tracking.outbox import outbox, sync
from convforge.pipeline.tracking.replay import State
from convforge.pipeline.tracking.tracker import Tracker

WEB = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test puts into the environment ends with it."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def asking(server: Server) -> Iterator[Proxy]:
    """Before the server: it lets nobody through who does not name himself."""
    proxy = Proxy(server.port, seed=0, timeout=10)
    proxy.is_honest, proxy.demanded = True, f"{USER}:{PASSWORD}"
    yield proxy
    proxy.shutdown()
    proxy.server_close()


def with_credentials(uri: str) -> str:
    return uri.replace("://", f"://{USER}:{ENCODED}@")


@pytest.mark.parametrize(
    ("given", "clean", "variables"),
    [
        (f"http://{USER}:{ENCODED}@host:5000/at", "http://host:5000/at", WEB),
        (f"HTTPS://{USER}:{ENCODED}@[::1]:5000", "HTTPS://[::1]:5000", WEB),
        ("http://ada:p@ss@host", "http://host", {**WEB, "MLFLOW_TRACKING_PASSWORD": "p@ss"}),
        (
            f"postgresql://ada:{ENCODED}@host/runs",
            "postgresql://ada@host/runs",
            {"PGPASSWORD": PASSWORD},
        ),
        (
            f"postgresql+psycopg2:///runs?host=/run&password={ENCODED}&user=ada",
            "postgresql+psycopg2:///runs?host=/run&user=ada",
            {"PGPASSWORD": PASSWORD},
        ),
        (f"mysql://ada:{ENCODED}@host/runs", "mysql://ada@host/runs", {"MYSQL_PWD": PASSWORD}),
        (f"mysql://host/runs?passwd={ENCODED}", "mysql://host/runs", {"MYSQL_PWD": PASSWORD}),
        ("postgresql://ada@host/runs?host=/r@n", "postgresql://ada@host/runs?host=/r@n", {}),
        ("postgresql://ada:@host/runs", "postgresql://ada@host/runs", {}),
        ("sqlite:////home/a:b@c/runs.db", "sqlite:////home/a:b@c/runs.db", {}),
        ("databricks://scope:prefix", "databricks://scope:prefix", {}),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000", {}),
    ],
)
def test_an_address_loses_its_credentials_to_the_variables_that_its_driver_reads(
    given: str, clean: str, variables: dict[str, str]
) -> None:
    separated = separate(given)
    assert (separated.uri, dict(separated.variables)) == (clean, variables)
    assert separated.problem == ""
    assert not holds_secret(repr(separated).encode())
    assert take_credentials(given, "it") == clean
    assert {name: os.environ[name] for name in variables} == variables
    assert take_credentials(clean, "it") == clean


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (f"mysql+pymysql://ada:{ENCODED}@host/runs", "read_default_file=FILE"),
        (f"mssql+pyodbc://ada:{ENCODED}@host/runs", "no variable"),
        (f"mssql+pyodbc:///?odbc_connect=UID%3Dada%3BPWD%3D{ENCODED}", "no variable"),
        (f"postgresql+pg8000://ada:{ENCODED}@host/runs", "no variable"),
        (f"postgresql://host/runs?sslpassword={ENCODED}", "no variable"),
        (f"http://host:5000?token={ENCODED}", "no variable"),
        (f"http://{ENCODED}@host", "MLFLOW_TRACKING_TOKEN"),
        (f"http://:{ENCODED}@host", "a user with a password"),
        (f"http://ada:/{ENCODED}@host", "/ as %2F"),
        (f"http://ada:#{ENCODED}@host", "# as %23"),
        (f"postgresql://ada:a?{ENCODED}@host/runs", "? as %3F"),
        (f"postgresql://ada:{ENCODED}%00@host/runs", "%00"),
        # Not addresses of a store at all.
        (f"ftp://ada:{ENCODED}@host", "no variable"),
        (f"ada:{ENCODED}@host:5000", "sqlite:///FILE"),
        (f"sqlite://ada:{ENCODED}@host", "no variable"),
        (f"http://ada:{ENCODED}@", "sqlite:///FILE"),
        (f"http://ada:{ENCODED} x@host:no", "sqlite:///FILE"),
    ],
)
def test_what_no_driver_would_find_is_refused_without_showing_it(
    project: Path,
    given: str,
    why: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    assert cli.main(["ui"]) == 2
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert cli.main(["sync", "--uri", given]) == 2
    assert cli.main(["ui", f"tracking.uri='{given}'"]) == 2
    said = capfd.readouterr()
    by_variable, by_option, by_config = said.err.splitlines()
    assert by_variable.startswith("error: MLFLOW_TRACKING_URI='")
    assert by_option.startswith("error: --uri='")
    assert by_config.startswith("error: tracking.uri='")
    for line in (by_variable, by_option):
        assert "is not allowed: " in line
        assert why in line
    assert not holds_secret(f"{said.out}{said.err}".encode())
    assert not holds_secret(redacted_uri(given).encode())


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("compose tracking.uri={web}", "MLFLOW_TRACKING_PASSWORD and MLFLOW_TRACKING_USERNAME"),
        ("train tracking.uri={web}", "MLFLOW_TRACKING_PASSWORD"),
        ("train -m seed=1,2 tracking.uri={database}", "in the environment PGPASSWORD"),
        ("ui tracking.uri={database}", "PGPASSWORD"),
        ("compose tracking.url={web}", "tracking.url is not a key"),
        ("compose tracking={web}", "there is no such config"),
        ("compose tracking.uri={web}]", "cannot read the override"),
        ("train seed=1 --uri {web}", "unrecognized arguments"),
    ],
)
def test_a_config_with_a_password_is_refused_with_the_way_to_do_it(
    project: Path, words: str, names: str, capfd: pytest.CaptureFixture[str]
) -> None:
    web = f"http://{USER}:{ENCODED}@host:5000"
    database = f"postgresql://{USER}:{ENCODED}@host/runs"
    command = words.format(web=web, database=database).split()
    with pytest.raises(SystemExit, match="2"):  # Which argparse raises by itself.
        raise SystemExit(cli.main(command))
    said = capfd.readouterr()
    assert names in said.err
    assert "Traceback" not in said.err
    assert not holds_secret(f"{said.out}{said.err}".encode())
    assert files_with_secret(project) == []


def test_texts_of_others_lose_the_credentials_of_addresses_in_them() -> None:
    text = f"HTTPSConnectionPool: http://{USER}:{ENCODED}@host:5000/api and ?password={ENCODED}&x=1"
    assert redacted(text) == "HTTPSConnectionPool: http://***@host:5000/api and ?password=***&x=1"
    kept = "sqlite:////home/a@b/runs.db, mail@host, http://host/?keep_tokens=1"
    assert redacted(kept) == kept


@pytest.mark.integration
def test_a_run_is_delivered_with_the_password_of_the_address_and_keeps_it_nowhere(
    tmp_path: Path, server: Server, asking: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", with_credentials(asking.uri))
    said = Said()
    settings = MLflowTracking(
        name="mlflow", uri=None, experiment="asked", run_name=None, parent_run=None, patience=20
    )
    folder = tmp_path / "run"
    folder.mkdir()
    tracker = Tracker(settings, folder, tmp_path, said, kind="train")
    journal = tracker.journal
    journal.begin(name="run", tags={}, params={}, key=tracker.key, store=tracker.store)
    (folder / "history.csv").write_text("epoch,loss\n")
    journal.artifact(folder / "history.csv")
    tracker.start()
    journal.end("FINISHED")
    tracker.finish()
    assert said.warnings == []
    assert State.read(folder).tracking_uri == asking.uri
    assert os.environ["MLFLOW_TRACKING_URI"] == asking.uri
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == PASSWORD
    client = open_client(server.uri, print)
    (found,) = client.search_runs([client.get_experiment_by_name("asked").experiment_id])
    assert found.info.status == "FINISHED"
    assert [item.path for item in client.list_artifacts(found.info.run_id)] == ["history.csv"]
    assert files_with_secret(tmp_path, server.folder) == []


@pytest.mark.integration
def test_a_wrong_password_is_not_shown_either(
    tmp_path: Path, asking: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking.demanded = "ada:another"
    take_credentials(with_credentials(asking.uri), "it")
    _, said = whole_run(tmp_path, "run", asking.uri, epochs=1, patience=1)
    down, wait = said.warnings
    assert f"{asking.uri} cannot be reached" in down
    assert "events wait" in wait
    assert not holds_secret("".join(said.lines).encode())
    left = sync(tmp_path, [], said)
    assert list(left) == [asking.uri]
    assert files_with_secret(tmp_path) == []


@pytest.mark.integration
@pytest.mark.parametrize("newer", [False, True])
def test_journals_from_before_are_delivered_and_lose_the_password_that_they_hold(
    tmp_path: Path, server: Server, asking: Proxy, newer: bool
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    key, _ = whole_run(tmp_path, "run", nobody, epochs=1, patience=0)
    (waits,) = outbox(tmp_path).iterdir()
    old = with_credentials(asking.uri)
    for path in (waits / "journal.jsonl", waits / "run.json"):
        path.write_text(path.read_text().replace(nobody, old))
    lines = (waits / "journal.jsonl").read_text().splitlines()
    begin = json.loads(lines[0])
    begin["params"]["tracking.uri"] = old
    (waits / "journal.jsonl").write_text("\n".join([json.dumps(begin), *lines[1:]]) + "\n")
    (waits / "config.yaml").write_text(f"tracking:\n  uri: {old}\n")
    assert len(files_with_secret(waits)) == 3
    if newer:  # What the environment says is not replaced by what an old file says.
        asking.demanded = "ada:newer"
        os.environ |= {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "newer"}

    said = Said()
    assert sync(tmp_path, [], said) == {}, said.lines
    assert said.warnings == []
    client = open_client(server.uri, print)
    experiment = client.get_experiment_by_name("outages").experiment_id
    (found,) = client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{key}'")
    assert found.info.status == "FINISHED"
    assert found.data.params["tracking.uri"] == asking.uri
    assert State.read(tmp_path / "runs" / "run").tracking_uri == asking.uri
    first = Journal(tmp_path / "runs" / "run").first
    assert first is not None
    assert first.content["uri"] == asking.uri
    assert files_with_secret(tmp_path, server.folder) == []


def test_a_state_from_before_is_read_without_its_password(tmp_path: Path) -> None:
    State(key="k", tracking_uri=with_credentials("http://host:5000")).write(tmp_path)
    assert State.read(tmp_path).tracking_uri == "http://host:5000"


def test_ray_shows_a_tasks_environment_so_credentials_go_among_its_arguments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, PASSWORD)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    shown = carried_environment()
    assert shown["MLFLOW_TRACKING_URI"] == "http://host:5000"
    assert not holds_secret(repr(shown).encode())
    assert set(carried_credentials()) == set(VARIABLES)


@pytest.mark.integration
def test_sync_leaves_no_password_among_its_arguments(
    project: Path, tmp_path: Path, server: Server, asking: Proxy
) -> None:
    whole_run(project, "run", f"http://127.0.0.1:{free_port()}", epochs=1, patience=0)
    given = with_credentials(asking.uri)
    command = [sys.executable, "-m", "convforge.pipeline.cli", "sync", "--uri", given]
    with watched_titles() as titles:
        done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert titles.last_with_secret() == []
    (shown,) = {line for lines in titles.seen.values() for line in lines if b"--uri" in line} - {
        "\0".join([*command, ""]).encode()
    }
    assert asking.uri.encode() in shown
    assert not holds_secret(f"{done.stdout}{done.stderr}".encode())
    assert list(outbox(project).iterdir()) == []
    assert files_with_secret(project, server.folder) == []
