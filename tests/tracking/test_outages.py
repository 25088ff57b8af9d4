"""Servers that are down, die, lie or are slow, and senders that are killed: nothing is lost."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import Proxy, Server, free_port, running_server
from recorded import Said, differences, end_run, start_run, tracking, whole_run, write_epochs

from convforge.errors import InputError
from convforge.pipeline import cli
from convforge.pipeline.tracking.clients import Clients
from convforge.pipeline.tracking.journal import PARENT_TAG, Event, Journal
from convforge.pipeline.tracking.mlflow_client import open_client
from convforge.pipeline.tracking.outbox import deliveries, outbox, sync, waiting
from convforge.pipeline.tracking.queue import Queue
from convforge.pipeline.tracking.replay import State
from convforge.pipeline.tracking.store import store_of
from convforge.pipeline.tracking.tracker import Tracker

_TIMEOUT = 2
# A run that ends tries a store that has never answered once more, and no more; the client's own
# settings would try seven times, with pauses of minutes.
_MOST_TRIES = 3


@pytest.fixture(autouse=True)
def quick_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that gets no answer is given up after 2 s instead of 10."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(_TIMEOUT))
    monkeypatch.setenv("MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT", str(_TIMEOUT))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """For the tests that do not kill it."""
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The store that gave no answer, for each time that one was asked in vain."""
    noted: list[str] = []
    pause = Queue._pause

    def counting(queue: Queue, uri: str, why: str) -> None:
        noted.append(uri)
        pause(queue, uri, why)

    monkeypatch.setattr(Queue, "_pause", counting)
    return noted


def _events(folder: Path) -> list[Event]:
    return list(Journal(folder).events())


def _server_differences(server: Server, *runs: Path) -> list[str]:
    artifacts = server.folder / "artifacts"
    return [line for run in runs for line in differences(server.database, artifacts, _events(run))]


def _sync_all(root: Path) -> None:
    end = time.monotonic() + 60
    while sync(root, [], Said()) and time.monotonic() < end:
        time.sleep(0.5)
    assert list(outbox(root).iterdir()) == []


@pytest.mark.integration
def test_a_server_that_is_down_at_the_start_and_up_later_gets_it_all_with_the_next_run(
    tmp_path: Path, tries: list[str]
) -> None:
    server = Server(tmp_path)
    start = time.monotonic()
    _, said = whole_run(tmp_path, "first", server.uri)
    seconds = time.monotonic() - start
    print(f"server down: {seconds:.1f} s for a run of no work, of which 2 s of patience")
    assert 1 <= len(tries) <= _MOST_TRIES
    down, wait = said.warnings
    assert server.uri in down
    assert "connection refused" in down
    assert "37 of this run's events wait" in wait
    assert "convforge sync" in wait
    try:
        server.start()
        _, said = whole_run(tmp_path, "second", server.uri, patience=10)
        assert said.warnings == []
        assert list(outbox(tmp_path).iterdir()) == []
        runs = [tmp_path / "runs" / name for name in ("first", "second")]
        assert _server_differences(server, *runs) == []
    finally:
        server.kill()
    print("1 outages, 1 recovered, 0 differences")


def test_a_server_that_takes_connections_and_never_answers_costs_the_patience_and_no_more(
    tmp_path: Path,
) -> None:
    """Each connection that it gets is one wait of `_TIMEOUT` seconds."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        _, said = whole_run(tmp_path, "run", uri, patience=1)
        seconds = time.monotonic() - start
        assert "37 of this run's events wait" in said.warnings[-1]
        assert 1 <= _connections(silent) <= _MOST_TRIES
    print(f"server silent: {seconds:.1f} s for a run of no work, with 1 s of patience")


def _connections(silent: socket.socket) -> int:
    """How many have been made to a socket that listens and accepts none."""
    silent.settimeout(0.1)
    for number in count():
        try:
            silent.accept()[0].close()
        except TimeoutError:
            return number
    raise AssertionError


def _survive_kills(root: Path, kills: int, seed: int) -> None:
    """Kill and restart the server at random moments while a run writes."""
    draw = random.Random(seed)
    server = Server(root)
    said = Said()
    stop = threading.Event()
    tracker = start_run(root, "run", server.uri, said, patience=20)

    def outages() -> None:
        for _ in range(kills):
            server.start()
            time.sleep(draw.uniform(0.0, 1.5))
            server.kill()
        server.start()
        stop.set()

    thread = threading.Thread(target=outages)
    thread.start()
    try:
        epochs = 0
        slowest = 0.0
        while not stop.is_set():
            epochs += 1
            start = time.monotonic()
            tracker.journal.metrics({"loss": 1 / epochs, "accuracy": draw.random()}, epochs)
            tracker.wake()
            slowest = max(slowest, time.monotonic() - start)
            time.sleep(0.01)
        end_run(tracker, root / "runs" / "run")
        _sync_all(root)
        found = _server_differences(server, root / "runs" / "run")
        assert found == []
    finally:
        thread.join()
        server.kill()
    print(
        f"{kills} outages, {kills} recovered, {len(found)} differences "
        f"in {epochs} epochs, the slowest kept {1000 * slowest:.0f} ms by tracking"
    )


@pytest.mark.slow
def test_a_server_killed_at_random_moments_has_every_figure_once(tmp_path: Path) -> None:
    _survive_kills(tmp_path, kills=2, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_server_killed_many_times_has_every_figure_once(tmp_path: Path, seed: int) -> None:
    _survive_kills(tmp_path, kills=10, seed=seed)


def _survive_proxy(root: Path, server: Server, seed: int, runs: int) -> None:
    """Errors, cuts, answers that are lost or come too late, for about half of all requests."""
    proxy = Proxy(server.port, seed, timeout=_TIMEOUT)
    try:
        keys = []
        longest = 0.0
        for number in range(runs):
            start = time.monotonic()
            keys.append(whole_run(root, f"run{number}", proxy.uri, patience=1)[0])
            longest = max(longest, time.monotonic() - start)
        end = time.monotonic() + 15
        while sync(root, [], Said()) and time.monotonic() < end:
            pass  # As long as it takes, with the faults.
        proxy.is_honest = True
        time.sleep(_TIMEOUT + 1)  # The late ones arrive.
        _sync_all(root)
        found = _server_differences(server, *(root / "runs" / f"run{n}" for n in range(runs)))
        assert found == []
        faults = sum(proxy.faults.values()) - proxy.faults["pass"]
        assert min(proxy.faults.values()) > 0, proxy.faults
    finally:
        proxy.shutdown()
        proxy.server_close()
    print(
        f"{faults} outages, {faults} recovered, {len(found)} differences "
        f"(of {sum(proxy.faults.values())} requests; the longest run took {longest:.1f} s)"
    )


@pytest.mark.slow
def test_a_server_that_errs_lags_and_cuts_connections_has_everything_once(
    tmp_path: Path, server: Server
) -> None:
    _survive_proxy(tmp_path, server, seed=0, runs=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_server_that_errs_through_many_runs_has_everything_once(
    tmp_path: Path, server: Server, seed: int
) -> None:
    _survive_proxy(tmp_path, server, seed, runs=8)


def _processes() -> Any:
    """Processes that have MLflow imported already, and share nothing with this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["mlflow", "mlflow.tracking", "convforge.pipeline.tracking.outbox"]
    )
    return context


def _sync_quietly(root: Path) -> None:
    sync(root, [], Said())


def _survive_own_death(root: Path, uri: str, kills: int, seed: int) -> int:
    """SIGKILL the sender at random moments until `kills` of them hit it; what is left, deliver."""
    draw = random.Random(seed)
    hit = number = 0
    # Nothing is delivered by the runs themselves: what they write waits.
    nobody = f"http://127.0.0.1:{free_port()}"
    while hit < kills and number < 4 * kills:
        number += 1
        whole_run(root, f"run{number}", nobody, epochs=200, patience=0)
        for journal in outbox(root).glob("*/journal.jsonl"):
            journal.write_text(journal.read_text().replace(nobody, uri))
        for state in outbox(root).glob("*/run.json"):
            state.write_text(state.read_text().replace(nobody, uri))
        for _ in range(2):
            process = _processes().Process(target=_sync_quietly, args=(root,))
            process.start()
            process.join(draw.uniform(0.1, 0.9))
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
                hit += 1
            process.join()
    _sync_all(root)
    assert hit >= kills
    return number


@pytest.mark.integration
def test_a_sender_killed_at_random_moments_sends_nothing_twice(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/runs.db"
    runs = _survive_own_death(tmp_path, uri, kills=6, seed=0)
    folders = [tmp_path / "runs" / f"run{number + 1}" for number in range(runs)]
    found = [
        line for run in folders for line in differences(uri, tmp_path / "mlartifacts", _events(run))
    ]
    assert found == []
    print(f"6 kills, {runs} runs recovered, {len(found)} differences")


@pytest.mark.slow
def test_a_sender_killed_often_sends_nothing_twice_to_a_server(
    tmp_path: Path, server: Server
) -> None:
    runs = _survive_own_death(tmp_path, server.uri, kills=20, seed=1)
    found = _server_differences(
        server, *(tmp_path / "runs" / f"run{number + 1}" for number in range(runs))
    )
    assert found == []
    print(f"20 kills, {runs} runs recovered, {len(found)} differences")


def _one_of_four(root: Path, number: int) -> None:
    _, said = whole_run(root, f"job{number}", f"sqlite:///{root}/runs.db", epochs=60)
    (root / f"said{number}.txt").write_text("\n".join(said.lines))


@pytest.mark.slow
def test_four_processes_that_write_to_a_new_sqlite_store_lose_nothing(tmp_path: Path) -> None:
    context = _processes()
    jobs = [context.Process(target=_one_of_four, args=(tmp_path, n)) for n in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(timeout=120)
    assert [job.exitcode for job in jobs] == [0] * 4
    assert [(tmp_path / f"said{n}.txt").read_text() for n in range(4)] == [""] * 4
    uri = f"sqlite:///{tmp_path}/runs.db"
    found = [
        line
        for n in range(4)
        for line in differences(uri, tmp_path / "mlartifacts", _events(tmp_path / f"runs/job{n}"))
    ]
    assert found == []
    assert list(outbox(tmp_path).iterdir()) == []


def _die_in_the_third_epoch(root: Path, uri: str) -> None:
    tracker = start_run(root, "dead", uri, Said(), patience=1)
    write_epochs(tracker, 3)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.integration
def test_a_run_whose_process_was_killed_does_not_stay_running(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/runs.db"
    process = _processes().Process(target=_die_in_the_third_epoch, args=(tmp_path, uri))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert sync(tmp_path, [], Said()) == {}
    client = open_client(uri, print)
    (run,) = client.search_runs([client.get_experiment_by_name("outages").experiment_id])
    assert run.info.status == "KILLED"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [metric.step for metric in history] == [1, 2, 3]

    # Who goes on with it finds the journal where it was, and the run runs again until it ends.
    journal = Journal(*outbox(tmp_path).iterdir())
    journal.metrics({"loss": 0.5}, 4)
    journal.release()
    journal.end("FINISHED")
    assert sync(tmp_path, [], Said()) == {}
    assert client.get_run(run.info.run_id).info.status == "FINISHED"
    assert [row.step for row in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3, 4]
    assert list(outbox(tmp_path).iterdir()) == []


def test_a_model_whose_card_is_damaged_is_refused_and_stops_nothing(tmp_path: Path) -> None:
    """It stays damaged: asking again would keep the run waiting for ever."""
    said = Said()
    # The reason is told whole, however deep the folder lies.
    root = tmp_path / ("deep-" * 20)
    root.mkdir()
    tracker = start_run(root, "run", f"sqlite:///{root}/runs.db", said, 20)
    folder = root / "runs" / "run" / "model"
    folder.mkdir()
    (folder / "card.json").write_text("{}")
    tracker.journal.model(folder)
    tracker.journal.end("FINISHED")
    tracker.finish()
    state = State.read(root / "runs" / "run")
    assert any("card.json is refused" in line for line in state.refused)
    assert sync(root, [], said) == {}


def test_what_another_sender_has_delivered_meanwhile_is_passed_by(tmp_path: Path) -> None:
    """Between the look for what waits and its delivery."""
    whole_run(tmp_path, "run", f"http://127.0.0.1:{free_port()}", epochs=1, patience=0)
    (journal,) = waiting(tmp_path)
    shutil.rmtree(journal.folder)
    assert deliveries([journal], Clients(print), Said()) == []


def test_what_dvc_deletes_is_delivered_all_the_same(tmp_path: Path) -> None:
    """A stage's folder is emptied before the stage runs again."""
    uri = f"http://127.0.0.1:{free_port()}"
    folder = tmp_path / "build" / "train"
    folder.parent.mkdir()
    (tmp_path / "runs").symlink_to(folder.parent)
    whole_run(tmp_path, "train", uri, patience=0)
    events = _events(folder)
    shutil.rmtree(folder)
    local = f"sqlite:///{tmp_path}/runs.db"
    assert sync(tmp_path, [], Said(), uri=local) == {}
    assert differences(local, tmp_path / "mlartifacts", events) == []
    assert not folder.exists()


def test_an_evaluation_completes_a_run_that_was_not_delivered_yet(tmp_path: Path) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    key, _ = whole_run(tmp_path, "run", uri, patience=0)
    local = f"sqlite:///{tmp_path}/runs.db"
    out = tmp_path / "runs" / "run" / "evaluate"
    out.mkdir()
    for journal in outbox(tmp_path).glob("*/journal.jsonl"):
        journal.write_text(journal.read_text().replace(uri, local))
    said = Said()
    tracker = Tracker(tracking(local), out, tmp_path, said, kind="evaluate", key=key)
    tracker.journal.begin(
        name="n",
        tags={"convforge.evaluated": "yes"},
        params={},
        key=key,
        store=tracker.store,
        completes=key,
    )
    tracker.start()
    tracker.journal.metrics({"test_accuracy": 0.9}, 30)
    tracker.journal.end("FINISHED")
    tracker.finish()
    assert said.lines == []
    client = open_client(local, print)
    (run,) = client.search_runs([client.get_experiment_by_name("outages").experiment_id])
    assert run.info.run_name == "run"
    assert run.data.metrics["test_accuracy"] == 0.9
    assert run.data.tags["convforge.evaluated"] == "yes"
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 30
    assert list(outbox(tmp_path).iterdir()) == []


@pytest.mark.parametrize("parent_first", [True, False])
def test_children_find_their_parent_in_whatever_order_they_arrive(
    tmp_path: Path, parent_first: bool
) -> None:
    uri = f"sqlite:///{tmp_path}/runs.db"
    folders = [tmp_path / name for name in ("parent", "child")]
    for folder in folders:
        folder.mkdir()
    parent, child = (Journal(folder) for folder in folders)
    store = Tracker(tracking(uri), tmp_path / "unused", tmp_path, Said(), kind="x").store
    parent.begin(name="p", tags={"convforge.sweep": "a"}, params={}, key="p" * 8, store=store)
    parent.end("FINISHED")
    child.begin(name="c", tags={PARENT_TAG: "p" * 8}, params={}, key="c" * 8, store=store)
    child.end("FINISHED")
    for folder in folders if parent_first else reversed(folders):
        assert sync(tmp_path, [folder], Said()) == {}
    client = open_client(uri, print)
    runs = client.search_runs([client.get_experiment_by_name("outages").experiment_id])
    by_name = {run.info.run_name: run for run in runs}
    assert len(runs) == 2
    assert by_name["c"].data.tags["mlflow.parentRunId"] == by_name["p"].info.run_id


def _command(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "convforge.pipeline.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=project, timeout=900)


@pytest.mark.slow
def test_training_and_evaluation_end_well_with_no_server_and_sync_delivers_them(
    project: Path, tmp_path: Path
) -> None:
    """By the commands that a person types."""
    nobody = f"http://127.0.0.1:{free_port()}"
    short = ["data.split.validation=50", "data.split.test=100", "augment=none"]
    short += ["model=softmax_linear", "trainer.epochs=2", "trainer.limit_steps=1"]
    start = time.monotonic()
    done = _command(project, "train", *short, f"tracking.uri={nobody}", "tracking.patience=2")
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    down, wait = (line for line in done.stderr.splitlines() if "warning" in line)
    assert f"{nobody} cannot be reached: connection refused" in down
    assert "of this run's events wait" in wait
    (run,) = (project / "outputs" / "train").iterdir()
    print(f"convforge train with no server: {seconds:.1f} s in all")

    done = _command(project, "evaluate", str(run))
    assert done.returncode == 0, done.stderr
    assert len(list(outbox(project).iterdir())) == 2

    done = _command(project, "sync")
    assert done.returncode == 2
    assert "not everything is delivered" in done.stderr
    assert nobody in done.stderr
    assert "Traceback" not in done.stderr

    local = f"sqlite:///{tmp_path}/late.db"
    done = _command(project, "sync", "--uri", local)
    assert done.returncode == 0, done.stderr
    assert list(outbox(project).iterdir()) == []
    client = open_client(local, print)
    (found,) = client.search_runs([client.get_experiment_by_name("convforge").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.tags["convforge.evaluated"] == "yes"
    assert found.data.metrics.keys() >= {"loss", "val_accuracy", "test_accuracy"}
    assert State.read(run).run_id == found.info.run_id


def test_sync_says_what_is_wrong_with_what_it_is_given(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sync"]) == 0
    assert cli.main(["sync", "nowhere"]) == 2
    assert "nowhere is not a folder" in capfd.readouterr().err
    assert cli.main(["sync", "--uri", "mlruns"]) == 2
    assert "--uri='mlruns' is not allowed: give sqlite:///FILE" in capfd.readouterr().err


@pytest.mark.parametrize(
    "uri",
    ["mlruns", "file:///runs", "ftp://host/runs", "http://", "http://host:no", "sqlite://runs.db"],
)
def test_a_store_that_mlflow_does_not_take_is_refused_before_anything_runs(
    project: Path, uri: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["compose", f"tracking.uri='{uri}'"]) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"error: tracking.uri={uri!r} is not allowed: give sqlite:///FILE")
    assert len(said.splitlines()) == 1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(InputError, match="MLFLOW_TRACKING_URI="):
        store_of(tracking("http://x").model_copy(update={"uri": None}), project)


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1:5000", "https://host/path", "sqlite:///a.db", "databricks",
     "postgresql+psycopg2://host/runs", "mysql://host/runs"],
)  # fmt: skip
def test_a_store_that_mlflow_takes_is_allowed(uri: str) -> None:
    assert tracking(uri).uri == uri
