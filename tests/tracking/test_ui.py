"""`convforge ui`: it answers when it says so, ends whatever ends it, and fails in one line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from mlflow_server import free_port

from convforge.pipeline import cli

_START_SECONDS = 180.0


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def processes_with(word: str) -> list[str]:
    """The command lines on this machine that have `word` in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # It has ended.
            title = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if word in title:
                found.append(title)
    return found


def wait_until(happens: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _START_SECONDS
    while not happens():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@contextmanager
def running_ui(project: Path, port: int, *overrides: str) -> Iterator[subprocess.Popen[str]]:
    """The command, in a group of its own, as a terminal starts it."""
    command = [sys.executable, "-m", "convforge.pipeline.cli", "ui", "--port", str(port)]
    command += overrides
    with (project / "out").open("w") as out, (project / "err").open("w") as err:
        process = subprocess.Popen(
            command, cwd=project, stdout=out, stderr=err, text=True, start_new_session=True
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    "ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL], ids=lambda it: it.name
)
def test_it_answers_when_it_says_so_and_its_server_ends_with_it(
    project: Path, ending: signal.Signals
) -> None:
    port = free_port()
    with running_ui(project, port) as process:
        wait_until(lambda: "http://" in (project / "out").read_text(), "no address")
        (address,) = (project / "out").read_text().splitlines()
        page = address.removeprefix("MLflow: ").partition(" ")[0]
        assert page == f"http://127.0.0.1:{port}/convforge/1"
        with urllib.request.urlopen(page, timeout=60) as answer:
            assert answer.status == 200
        # Ctrl-C reaches the whole group in front of the terminal.
        os.killpg(process.pid, ending)
        process.wait()
        wait_until(lambda: not processes_with(f"--port {port}"), "the server lives")
        # Linux takes a dying process's title before it closes what it listens on.
        wait_until(lambda: not is_taken(port), "something listens")
        said = (project / "err").read_text()
        last = "" if ending == signal.SIGKILL else "interrupted\n"
        assert said == f"MLflow opens sqlite:///{project}/mlflow.db …\n{last}"
        assert process.returncode == (-ending if ending == signal.SIGKILL else 130)


@pytest.mark.integration
def test_a_command_that_is_ended_before_its_server_answers_leaves_none(project: Path) -> None:
    port = free_port()
    with running_ui(project, port) as process:
        # From here the server's process is there, and does not listen yet.
        wait_until(lambda: len(processes_with(f"--port {port}")) > 1, "no server")
        process.send_signal(signal.SIGTERM)
        process.wait()
        wait_until(lambda: not processes_with(f"--port {port}"), "the server lives")
        assert (project / "err").read_text().splitlines()[1:] == ["interrupted"]
        assert (project / "out").read_text() == ""


def test_a_port_that_is_taken_is_told_in_a_line(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert cli.main(["ui", "--port", str(port)]) == 2
    said = capfd.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith(f"error: --port={port} is taken: end what listens there, or give")
    assert said.out == ""
    for wrong in ("0", "65536", "-1"):
        assert cli.main(["ui", f"--port={wrong}"]) == 2
        allowed = f"error: --port={wrong} is not allowed: give a number from 1 to 65535\n"
        assert capfd.readouterr().err == allowed


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        (
            "mysql+pymysql://host/runs",
            "needs the driver pymysql, which is not installed: pip install pymysql",
        ),
        (
            "postgresql+psycopg2://ada@127.0.0.1:{free}/runs",
            "cannot be opened: connection to server at",
        ),
        ("mysql+nosuch://host/runs", "cannot be opened: Can't load plugin"),
    ],
)
def test_a_database_that_cannot_be_opened_is_told_in_a_line(
    project: Path, uri: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    uri = uri.format(free=free_port())
    assert cli.main(["ui", f"tracking.uri='{uri}'"]) == 2
    said = capfd.readouterr()
    opens, line = said.err.splitlines()
    assert opens == f"MLflow opens {uri} …"
    assert line.startswith(f"error: {uri} {says}")


def test_of_an_mlflow_server_it_gives_the_address(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    assert cli.main(["ui", f"tracking.uri={uri}"]) == 0
    assert capfd.readouterr().out == f"the runs are at {uri}\n"
