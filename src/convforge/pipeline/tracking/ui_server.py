"""MLflow's pages on a database, for as long as the command that shows them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from convforge.errors import InputError
from convforge.pipeline.progress import Progress
from convforge.pipeline.tracking.client import RefusedError, UnreachableError
from convforge.pipeline.tracking.experiment_view import page
from convforge.pipeline.tracking.mlflow_client import answers, experiment_id, open_client
from convforge.pipeline.tracking.store import Store, artifact_location, database_file
from convforge.pipeline.tracking.ui_app import ENTRY

_HOST = "127.0.0.1"
_PAGE = "http://{host}:{port}/{entry}/{experiment}"
# What brings the driver that SQLAlchemy asks for, where it is not the module's name.
_PACKAGES = {
    "psycopg": "'psycopg[binary]', or give postgresql+psycopg2:// where that is installed",
    "psycopg2": "'convforge[postgresql]'",
    "MySQLdb": "mysqlclient",
}
# Ends its whole process group when its standard input ends, which is when this process has: in
# order, by a signal or by SIGKILL.
_GUARD = "import os, signal, sys; sys.stdin.buffer.read(); os.killpg(0, signal.SIGKILL)"
_POLL_SECONDS = 0.2
_CONNECT_SECONDS = 10


def serve(store: Store, port: int, root: Path, progress: Progress) -> None:
    """Show the pages on `port` until the process is interrupted.

    Raises:
        InputError: the port is taken, the database cannot be reached, or the server ended.
    """
    _check_port(port)
    progress.say(f"MLflow opens {store.uri} …")
    _check_database(store.uri)
    client = open_client(store.uri, progress.warn)
    experiment = experiment_id(client, store.experiment, store.uri)
    with tempfile.TemporaryFile() as log, _server(store.uri, port, root, log) as server:
        while not _answers(port):
            _check_runs(server, log)
            time.sleep(_POLL_SECONDS)
        entry = _PAGE.format(host=_HOST, port=port, entry=ENTRY, experiment=experiment)
        print(f"MLflow: {entry}  (Ctrl-C ends it)", flush=True)
        server.wait()
        _check_runs(server, log)


def view_address(store: Store, progress: Progress) -> str | None:
    """The address of the experiment's view on an MLflow server; None where it does not answer."""
    try:
        with answers():
            client = open_client(store.uri, progress.warn)
            experiment = experiment_id(client, store.experiment, store.uri)
    except (RefusedError, UnreachableError):
        return None
    return f"{store.uri.rstrip('/')}/{page(experiment)}"


def _check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise InputError(f"--port={port} is not allowed: give a number from 1 to 65535")
    with socket.socket() as probe, socket.socket() as other:
        # As the server does: an address that was in use a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except PermissionError:
            raise InputError(f"--port={port} is not allowed: give a number from 1024") from None
        except OSError:
            other.bind((_HOST, 0))
            free = other.getsockname()[1]
            raise InputError(
                f"--port={port} is taken: end what listens there, or give another, as --port {free}"
            ) from None


def _check_database(uri: str) -> None:
    """Ask a database server once: MLflow tries it for minutes, and then shows a traceback."""
    if database_file(uri) is not None:
        return
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        # Drivers differ in the name of their time limit; libpq has a variable.
        os.environ.setdefault("PGCONNECT_TIMEOUT", str(_CONNECT_SECONDS))
        create_engine(uri).connect().close()
    except ModuleNotFoundError as error:
        package = _PACKAGES.get(str(error.name), error.name)
        raise InputError(
            f"{uri} needs the driver {error.name}, which is not installed: pip install {package}"
        ) from error
    except SQLAlchemyError as error:
        why = str(getattr(error, "orig", None) or error)
        raise InputError(f"{uri} cannot be opened: {' '.join(why.split())}") from error


@contextmanager
def _server(uri: str, port: int, root: Path, log: IO[bytes]) -> Iterator[subprocess.Popen[Any]]:
    """The server's process, in a group that ends with the block, or with this process."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    location = artifact_location(uri)
    if location is not None:
        command += ["--default-artifact-root", location]
    command += ["--host", _HOST, "--port", str(port), "--workers", "1", "--app-name", ENTRY]
    # Its job runner starts a dozen processes and gigabytes for features that are not used here.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _GUARD], stdin=subprocess.PIPE, process_group=0
    )
    server = None
    try:
        # Not in our own group either: there Ctrl-C would reach it, and it would show tracebacks.
        server = subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=guard.pid,
        )
        yield server
    finally:
        os.killpg(guard.pid, signal.SIGKILL)
        guard.communicate()
        if server is not None:
            server.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{_HOST}:{port}/health", timeout=5):
            return True
    except OSError:
        return False


def _check_runs(server: subprocess.Popen[Any], log: IO[bytes]) -> None:
    if server.poll() is None:
        return
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    last = lines[-1] if lines else "it said nothing"
    raise InputError(f"MLflow's server ended with status {server.returncode}: {last}")
